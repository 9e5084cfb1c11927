// For tests of the engine: small models, ranks as threads, a home that moves bytes as late as it may.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "aleph/base/random.h"
#include "aleph/base/testing.h"
#include "aleph/io/temporary_directory.h"
#include "aleph/zero/engine.h"

namespace aleph::zero::testing {

inline constexpr int64_t kVocabulary = 37;

inline nn::Model::Options small_model(bool tied = true, float dropout = 0) {
  const nn::BlockSpec block{.hidden_size = 24,
                            .intermediate_size = 40,
                            .heads = 3,
                            .kv_heads = 3,
                            .head_dim = 8,
                            .attention_scale = 0.35f,
                            .residual_dropout = dropout,
                            .attention_dropout = dropout};
  return {.embedding = {.vocab_size = kVocabulary,
                        .hidden_size = 24,
                        .learned_positions = 16,
                        .dropout = dropout},
          .blocks = {block, block},
          .head = {.vocab_size = kVocabulary, .hidden_size = 24, .tied = tied},
          .max_seq = 16};
}

inline std::vector<int32_t> token_ids(int64_t n, uint64_t step) {
  const RandomStream stream({.seed = 4, .purpose = RandomPurpose::kDataOrder, .step = step});
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(stream.below(kVocabulary, 2 * i));
  return ids;
}

/// Ranks as threads of this process. Sums in rank order.
class ThreadGroup {
 public:
  explicit ThreadGroup(int size)
      : size_(size), meeting_(size), arrays_(static_cast<size_t>(size)), values_(static_cast<size_t>(size)) {}

  /// Runs `body(communicator)` on every rank and joins. A rank must not throw while others still meet it.
  void run(const std::function<void(comm::Communicator&)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size_; ++rank) {
      threads.emplace_back([this, rank, &body] {
        Member member(*this, rank);
        body(member);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  class Member final : public comm::Communicator {
   public:
    Member(ThreadGroup& group, int rank) : group_(group), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return group_.size_; }
    void all_gather(const TensorView& all) override {
      publish(all);
      const int64_t part = all.bytes() / size();
      for (int from = 0; from < size(); ++from) {
        if (from == rank_) continue;
        const auto offset = static_cast<size_t>(from * part);
        std::memcpy(all.raw() + offset, theirs(from).raw() + offset, static_cast<size_t>(part));
      }
      barrier();
    }
    void reduce_scatter(const TensorView& all) override {
      publish(all);
      const int64_t part = all.elements() / size();
      std::vector<float> sums(static_cast<size_t>(part), 0.0f);
      for (int from = 0; from < size(); ++from) {
        const float* data = theirs(from).data<float>() + rank_ * part;
        for (size_t i = 0; i < sums.size(); ++i) sums[i] = from == 0 ? data[i] : sums[i] + data[i];
      }
      barrier();
      // The other parts are undefined from here on: make sure that nobody reads them.
      std::fill_n(all.data<float>(), all.elements(), std::numeric_limits<float>::quiet_NaN());
      std::copy(sums.begin(), sums.end(), all.data<float>() + rank_ * part);
    }
    double all_reduce_sum(double value) override {
      double sum = 0;
      for (const double each : exchange(value)) sum += each;
      return sum;
    }
    double all_reduce_max(double value) override {
      const std::vector<double> all = exchange(value);
      return *std::max_element(all.begin(), all.end());
    }
    void barrier() override { group_.meeting_.arrive_and_wait(); }

   private:
    void publish(const TensorView& view) {
      group_.arrays_[static_cast<size_t>(rank_)] = view;
      barrier();
    }
    const TensorView& theirs(int rank) const { return group_.arrays_[static_cast<size_t>(rank)]; }
    std::vector<double> exchange(double value) {
      group_.values_[static_cast<size_t>(rank_)] = value;
      barrier();
      std::vector<double> all = group_.values_;
      barrier();
      return all;
    }

    ThreadGroup& group_;
    int rank_;
  };

  int size_;
  std::barrier<> meeting_;
  std::vector<TensorView> arrays_;
  std::vector<double> values_;
};

/// A home without an address whose reads and writes happen at wait() and not before: whoever uses data early,
/// or changes it late, is found out. Keeps a diary of what it was asked for.
class LateHome final : public Home {
 public:
  ~LateHome() override {
    abandoned_ = true;
    gate_.release(static_cast<ptrdiff_t>(started_.size()));
  }

  MemoryTier tier() const override { return MemoryTier::kNvme; }
  Region reserve(int64_t bytes) override {
    data_.emplace_back(static_cast<size_t>(bytes));
    return {.bytes = bytes, .index = static_cast<int>(data_.size()) - 1};
  }
  void finish(const Ticket& ticket) override {
    while (!ticket.event.done()) {
      gate_.release();
      started_[waited_++].wait();
    }
  }
  bool done(const Ticket& ticket) const override { return ticket.event.done(); }
  std::byte* address(const Region& /*region*/) override { return nullptr; }

  std::vector<std::byte>& data(const Region& region) { return data_[static_cast<size_t>(region.index)]; }
  /// Moves asked for and not waited for.
  size_t open() const { return started_.size() - waited_; }
  size_t most_open() const { return most_open_; }
  /// "read 0 8192+4096": what, region, offset and bytes.
  const std::vector<std::string>& diary() const { return diary_; }
  /// The `nth` move from now on (1: the next) fails.
  void fail(size_t nth) { fails_at_ = started_.size() + nth; }

 private:
  Ticket start_read(const Region& region, int64_t offset, std::span<std::byte> data,
                    io::Priority /*priority*/) override {
    std::memset(data.data(), 0xee, data.size());  // until it is waited for
    return start("read", region, offset, data.size(),
                 [data](std::byte* own) { std::memcpy(data.data(), own, data.size()); });
  }
  Ticket start_write(const Region& region, int64_t offset, std::span<const std::byte> data,
                     io::Priority /*priority*/) override {
    return start("write", region, offset, data.size(),
                 [data](std::byte* own) { std::memcpy(own, data.data(), data.size()); });
  }
  Ticket start(const char* what, const Region& region, int64_t offset, size_t bytes,
               std::function<void(std::byte* own)> move) {
    ALEPH_CHECK(offset >= 0 && offset + static_cast<int64_t>(bytes) <= region.bytes, "{}+{} of {}", offset,
                bytes, region.bytes);
    diary_.push_back(fmt::format("{} {} {}+{}", what, region.index, offset, bytes));
    std::byte* own = data(region).data() + offset;
    const bool fails = started_.size() + 1 == fails_at_;
    const int64_t number = worker_.submit([this, own, fails, move = std::move(move)] {
      gate_.acquire();
      if (abandoned_) return;
      if (fails) throw Error("late home", "a failure", "none");
      move(own);
    });
    started_.emplace_back(worker_, number);
    most_open_ = std::max(most_open_, open());
    return {.event = started_.back(), .transfers = {}};
  }

  std::vector<std::string> diary_;
  std::deque<std::vector<std::byte>> data_;
  std::vector<Event> started_;
  size_t waited_ = 0, most_open_ = 0, fails_at_ = 0;
  std::atomic<bool> abandoned_ = false;
  std::counting_semaphore<> gate_{0};
  Worker worker_;  // last: its tasks use the others
};

}  // namespace aleph::zero::testing
