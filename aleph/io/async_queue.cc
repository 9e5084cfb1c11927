#include "aleph/io/async_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/io/block_queue.h"

namespace aleph::io {
namespace {

std::unique_ptr<Backend> make_backend(const AsyncQueue::Options& options, BlockQueue& blocks) {
  SystemCalls& calls = options.calls != nullptr ? *options.calls : SystemCalls::real();
  std::unique_ptr<Backend> backend;
  if (options.backend != AsyncQueue::BackendKind::kThreads)
    backend = make_io_uring_backend(blocks, options.depth, calls);
  if (backend == nullptr && options.backend == AsyncQueue::BackendKind::kIoUring)
    throw Error("io_uring", "no support in this build or refused by the kernel",
                "io_uring for asynchronous I/O");
  return backend != nullptr ? std::move(backend) : make_thread_backend(blocks, options.depth, calls);
}

}  // namespace

AsyncQueue::AsyncQueue(const Options& options) : options_(options), blocks_(std::make_unique<BlockQueue>()) {
  ALEPH_CHECK(options.depth >= 1 && options.depth <= kMaxDepth, "depth {}", options.depth);
  ALEPH_CHECK(takes_block(options.block_bytes), "blocks of {} bytes", options.block_bytes);
  backend_ = make_backend(options, *blocks_);
}

bool AsyncQueue::takes_block(int64_t bytes) {
  return bytes >= kDirectAlignment && bytes <= int64_t{1} << 30 && bytes % kDirectAlignment == 0;
}

AsyncQueue::~AsyncQueue() {
  blocks_->wait_all();
  blocks_->stop();
  backend_->notify();
}

Ticket AsyncQueue::read(const File& file, int64_t offset, std::span<std::byte> data, Priority priority) {
  return add(Direction::kRead, file, offset, data, priority);
}

Ticket AsyncQueue::write(const File& file, int64_t offset, std::span<const std::byte> data,
                         Priority priority) {
  // A write never changes the memory it is given.
  return add(Direction::kWrite, file, offset, {const_cast<std::byte*>(data.data()), data.size()}, priority);
}

Ticket AsyncQueue::add(Direction direction, const File& file, int64_t offset, std::span<std::byte> data,
                       Priority priority) {
  const auto bytes = static_cast<int64_t>(data.size());
  ALEPH_CHECK(file && offset >= 0, "request at offset {} of '{}'", offset, file.path());
  if (bytes == 0) return {};
  auto request = std::make_shared<Request>();
  request->direction = direction;
  request->bytes = bytes;
  request->path = file.path();
  std::vector<Block> blocks;
  for (int64_t begin = 0; begin < bytes;) {
    // Cut at multiples of the block size in the file, so that an unaligned start costs only the first block.
    const int64_t room = options_.block_bytes - (offset + begin) % options_.block_bytes;
    const int64_t size = std::min(room, bytes - begin);
    blocks.push_back(
        {request, Transfer(direction, file.descriptors(), offset + begin, data.data() + begin, size)});
    begin += size;
  }
  request->open_blocks = static_cast<int64_t>(blocks.size());
  blocks_->add(std::move(blocks), priority);
  backend_->notify();
  return Ticket(std::move(request));
}

void AsyncQueue::wait(const Ticket& ticket) {
  if (ticket.request_ != nullptr) blocks_->wait(*ticket.request_);
}

bool AsyncQueue::done(const Ticket& ticket) const {
  return ticket.request_ == nullptr || blocks_->done(*ticket.request_);
}

void AsyncQueue::drain() { blocks_->drain(); }

std::string_view AsyncQueue::backend() const { return backend_->name(); }

AsyncQueue::Stats AsyncQueue::stats() const { return blocks_->stats(); }

}  // namespace aleph::io
