// Memory with a budget and a purpose. Every allocation has a tag; live and peak bytes per tag are always
// known.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace aleph {

enum class MemoryTier : uint8_t { kDevice, kHost, kNvme };
enum class MemoryTag : uint8_t {
  kParameters,
  kGradients,
  kOptimizer,
  kActivations,
  kWorkspace,
  kIoBuffers,
  kKvCache
};
inline constexpr size_t kMemoryTags = 7;

/// "device", "host", "nvme".
const char* memory_tier_name(MemoryTier tier);
/// "parameters", "gradients", "optimizer", "activations", "workspace", "io_buffers", "kv_cache".
const char* memory_tag_name(MemoryTag tag);

/// Live and peak bytes of one tier, by tag. Thread-safe. Also keeps the books of tiers without memory of
/// their own.
class MemoryLedger {
 public:
  /// `budget_bytes` 0 means no limit.
  MemoryLedger(MemoryTier tier, int64_t budget_bytes) : tier_(tier), budget_(budget_bytes) {}

  /// Books `bytes`. Throws Error with the largest users when the budget would be exceeded; then nothing is
  /// booked.
  void add(int64_t bytes, MemoryTag tag);
  void remove(int64_t bytes, MemoryTag tag);

  MemoryTier tier() const { return tier_; }
  int64_t budget() const { return budget_; }
  int64_t live() const;
  int64_t peak() const;
  int64_t live(MemoryTag tag) const;
  int64_t peak(MemoryTag tag) const;

 private:
  std::string largest_users() const;  // requires mutex_

  const MemoryTier tier_;
  const int64_t budget_;
  mutable std::mutex mutex_;
  int64_t live_ = 0, peak_ = 0;                                     // guarded by mutex_
  std::array<int64_t, kMemoryTags> live_by_tag_{}, peak_by_tag_{};  // guarded by mutex_
};

class MemoryPool;

/// Owns a block of a pool; returns it when destroyed. Blocks of 4096 bytes and more are aligned to 4096
/// (direct I/O), smaller ones to 64. Contents start undefined.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  friend class MemoryPool;
  Buffer(MemoryPool* pool, std::byte* data, int64_t bytes, MemoryTag tag)
      : pool_(pool), data_(data), bytes_(bytes), tag_(tag) {}
  void swap(Buffer& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(tag_, other.tag_);
  }

  MemoryPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  MemoryTag tag_ = MemoryTag::kWorkspace;
};

/// Ranges of mapped pages that nobody uses, kept because fresh pages are slow (about 2 GB/s). Neighbours are
/// joined, larger ranges are cut, so pages serve requests of any size. Not thread-safe.
class KeptPages {
 public:
  int64_t bytes() const { return bytes_; }
  void put(std::byte* data, int64_t bytes);
  /// The smallest range that is large enough, cut to `bytes`; null where there is none.
  std::byte* take(int64_t bytes);
  /// Gives pages back to the system until at most `limit` bytes are kept, small ranges first.
  void shrink(int64_t limit);

 private:
  using BySize = std::set<std::pair<int64_t, std::byte*>>;
  void insert(std::byte* data, int64_t bytes);
  void erase(BySize::iterator range);

  std::map<std::byte*, int64_t> by_address_;
  BySize by_size_;
  int64_t bytes_ = 0;
};

/// Memory of the device or of the host. Freed pages are kept, and given back to the system before live and
/// kept bytes together would pass the budget: the process never holds more than the budget. A pool outlives
/// its buffers. Thread-safe.
class MemoryPool {
 public:
  /// Real memory, or addresses only: a meta pool books every request and touches nothing, for planning.
  enum class Backing : uint8_t { kReal, kMeta };

  MemoryPool(MemoryTier tier, int64_t budget_bytes, Backing backing = Backing::kReal)
      : ledger_(tier, budget_bytes), backing_(backing) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Throws Error when the budget or the system refuses. 0 bytes give an empty buffer.
  Buffer allocate(int64_t bytes, MemoryTag tag);

  MemoryLedger& ledger() { return ledger_; }
  const MemoryLedger& ledger() const { return ledger_; }
  bool meta() const { return backing_ == Backing::kMeta; }
  /// Gives kept blocks back to the system.
  void trim();

 private:
  friend class Buffer;
  void release(std::byte* data, int64_t bytes, MemoryTag tag);
  std::byte* take(int64_t bytes);

  MemoryLedger ledger_;
  const Backing backing_;
  std::mutex mutex_;
  KeptPages kept_;  // guarded by mutex_
};

}  // namespace aleph
