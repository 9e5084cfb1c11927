#include <system_error>
#include <thread>

#include "aleph/io/block_queue.h"

namespace aleph::io {
namespace {

/// `depth` threads, each moving one block at a time.
class ThreadBackend final : public Backend {
 public:
  ThreadBackend(BlockQueue& blocks, int depth, SystemCalls& calls) : blocks_(blocks), calls_(calls) {
    threads_.reserve(static_cast<size_t>(depth));
    try {
      for (int i = 0; i < depth; ++i) threads_.emplace_back([this] { run(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) throw;  // fewer do
    }
  }
  ~ThreadBackend() override {
    for (std::thread& thread : threads_) thread.join();
  }
  std::string_view name() const override { return "threads"; }
  void notify() override {}  // the threads wait on the queue itself

 private:
  void run() {
    while (std::optional<Block> block = blocks_.next()) {
      std::exception_ptr failure;
      try {
        run_transfer(block->transfer, block->request->path, calls_);
      } catch (...) {
        failure = std::current_exception();
      }
      blocks_.finish(*block, failure);
    }
  }

  BlockQueue& blocks_;
  SystemCalls& calls_;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Backend> make_thread_backend(BlockQueue& blocks, int depth, SystemCalls& calls) {
  return std::make_unique<ThreadBackend>(blocks, depth, calls);
}

}  // namespace aleph::io
