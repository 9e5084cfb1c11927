#include "aleph/io/block_queue.h"

#ifdef ALEPH_HAVE_IO_URING

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "aleph/base/error.h"

namespace aleph::io {
namespace {

constexpr uint64_t kWakeUp = 0;  // user data of the poll on the event descriptor; blocks have slot + 1

/// One thread that owns the ring: it alone submits and reaps, because the kernel cancels requests of a thread
/// that ends. Callers wake it through an event descriptor that the ring polls.
class IoUringBackend final : public Backend {
 public:
  static std::unique_ptr<Backend> make(BlockQueue& blocks, int depth, SystemCalls& calls) {
    std::unique_ptr<IoUringBackend> backend(new IoUringBackend(blocks, depth, calls));
    if (!backend->open()) return nullptr;
    backend->thread_ = std::thread([&self = *backend] { self.run(); });
    return backend;
  }
  ~IoUringBackend() override {
    if (thread_.joinable()) thread_.join();
    if (ring_open_) io_uring_queue_exit(&ring_);
    if (event_ >= 0) ::close(event_);
  }
  std::string_view name() const override { return "io_uring"; }
  void notify() override {
    const uint64_t one = 1;
    ssize_t written = -1;
    do {
      written = ::write(event_, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    // EAGAIN: the counter is full, so the thread is being woken anyway.
    ALEPH_CHECK(written > 0 || errno == EAGAIN, "event descriptor: errno {}", errno);
  }

 private:
  IoUringBackend(BlockQueue& blocks, int depth, SystemCalls& calls)
      : blocks_(blocks), calls_(calls), slots_(static_cast<size_t>(depth)) {
    for (size_t slot = 0; slot < slots_.size(); ++slot) free_slots_.push_back(slot);
  }

  bool open() {
    event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    // One entry for each slot and one for the poll: the submission ring can never be full.
    ring_open_ = event_ >= 0 && io_uring_queue_init(static_cast<unsigned>(slots_.size()) + 1, &ring_, 0) == 0;
    return ring_open_ && supported();
  }

  bool supported() {
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    if (probe == nullptr) return false;
    const bool all = io_uring_opcode_supported(probe, IORING_OP_READ) != 0 &&
                     io_uring_opcode_supported(probe, IORING_OP_WRITE) != 0 &&
                     io_uring_opcode_supported(probe, IORING_OP_POLL_ADD) != 0;
    io_uring_free_probe(probe);
    return all;
  }

  void run() {
    try {
      serve();
    } catch (...) {
      fail_blocks(std::current_exception());
    }
  }

  void serve() {
    poll_event();
    while (true) {
      start_blocks();
      if (free_slots_.size() == slots_.size() && blocks_.stopped()) return;
      const int error = submit_and_wait();
      ALEPH_CHECK(error == 0, "io_uring_enter: errno {}", error);
      reap();
    }
  }

  /// After a bug or without memory: no block is moved any more, and whoever waits for one learns why.
  void fail_blocks(const std::exception_ptr& failure) {
    drain();
    for (const std::optional<Block>& block : slots_)
      if (block) blocks_.finish(*block, failure);
    while (const std::optional<Block> block = blocks_.next()) blocks_.finish(*block, failure);
  }

  /// Waits until the kernel uses no memory of a block any more, as far as the ring still tells.
  void drain() {
    io_uring_cqe* completion = nullptr;
    while (in_kernel_ > 0 && submit_and_wait() == 0)
      while (io_uring_peek_cqe(&ring_, &completion) == 0) take(*completion);
  }

  /// Fills the free slots. A block that fails at once frees its slot again.
  void start_blocks() {
    while (!free_slots_.empty()) {
      std::optional<Block> block = blocks_.try_next();
      if (!block) return;
      const size_t slot = free_slots_.back();
      free_slots_.pop_back();
      slots_[slot] = std::move(block);
      submit(slot);
    }
  }

  void submit(size_t slot) {
    while (slots_[slot]) {
      const Transfer& transfer = slots_[slot]->transfer;
      const SystemCalls::Verdict verdict =
          calls_.before_transfer({transfer.direction(), transfer.fd(), transfer.offset(), transfer.bytes()});
      if (verdict.error == 0) return prepare(slot, transfer, verdict.bytes);
      accept(slot, -verdict.error);
    }
  }

  void prepare(size_t slot, const Transfer& transfer, int64_t bytes) {
    io_uring_sqe* entry = take_entry(slot + 1);
    const auto length = static_cast<unsigned>(bytes);
    const auto offset = static_cast<uint64_t>(transfer.offset());
    if (transfer.direction() == Direction::kRead)
      io_uring_prep_read(entry, transfer.fd(), transfer.data(), length, offset);
    else
      io_uring_prep_write(entry, transfer.fd(), transfer.data(), length, offset);
    entry->user_data = slot + 1;
    ++in_kernel_;
  }

  io_uring_sqe* take_entry(uint64_t user_data) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    ALEPH_CHECK(entry != nullptr, "no entry left for block {}", user_data);
    return entry;
  }

  void poll_event() {
    io_uring_sqe* entry = take_entry(kWakeUp);
    io_uring_prep_poll_add(entry, event_, POLLIN);
    entry->user_data = kWakeUp;
  }

  /// An errno that no call to the ring should give, or 0.
  int submit_and_wait() {
    const int result = io_uring_submit_and_wait(&ring_, 1);
    if (result >= 0 || result == -EINTR) return 0;
    // The kernel is short of something for now; the entries stay in the ring and go with the next call.
    if (result != -EAGAIN && result != -EBUSY && result != -ENOMEM) return -result;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return 0;
  }

  void reap() {
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      const auto [id, result] = take(*completion);
      if (id == kWakeUp) {
        clear_event();
        poll_event();
      } else if (accept(id - 1, result) == Transfer::State::kUnfinished) {
        submit(id - 1);
      }
    }
  }

  struct Completion {
    uint64_t id = kWakeUp;
    int64_t result = 0;
  };
  Completion take(io_uring_cqe& entry) {
    const Completion completion{entry.user_data, entry.res};
    io_uring_cqe_seen(&ring_, &entry);
    if (completion.id != kWakeUp) --in_kernel_;
    return completion;
  }

  void clear_event() {
    uint64_t count = 0;
    while (::read(event_, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
  }

  /// Takes a result; where the block has ended, tells the queue and frees the slot.
  Transfer::State accept(size_t slot, int64_t result) {
    Block& block = *slots_[slot];
    const Transfer::State state = block.transfer.accept(result);
    if (state == Transfer::State::kUnfinished) return state;
    std::exception_ptr failure;
    if (state == Transfer::State::kFailed)
      failure = std::make_exception_ptr(block.transfer.error(block.request->path));
    blocks_.finish(block, failure);
    slots_[slot].reset();
    free_slots_.push_back(slot);
    return state;
  }

  BlockQueue& blocks_;
  SystemCalls& calls_;
  std::vector<std::optional<Block>> slots_;  // blocks in flight; used by the thread alone, as what follows
  std::vector<size_t> free_slots_;
  int64_t in_kernel_ = 0;  // of those in flight, entries given to the ring and not yet come back
  io_uring ring_{};
  bool ring_open_ = false;
  int event_ = -1;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Backend> make_io_uring_backend(BlockQueue& blocks, int depth, SystemCalls& calls) {
  return IoUringBackend::make(blocks, depth, calls);
}

}  // namespace aleph::io

#else

namespace aleph::io {

std::unique_ptr<Backend> make_io_uring_backend(BlockQueue&, int, SystemCalls&) { return nullptr; }

}  // namespace aleph::io

#endif
