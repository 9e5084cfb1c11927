#include "aleph/tensor/memory_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"

namespace aleph {
namespace {

constexpr int64_t kPage = 4096, kLine = 64, kHugePage = int64_t{2} << 20;
/// Mapped beyond a request, for those that come: huge pages do not fit between small mappings. Memory that
/// nobody touches costs nothing.
constexpr int64_t kSpare = int64_t{32} << 20;

int64_t round_up(int64_t bytes) {
  const int64_t unit = bytes >= kPage ? kPage : kLine;
  return (bytes + unit - 1) / unit * unit;
}

std::byte* map_pages(int64_t bytes) {
  void* pages =
      ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  ::madvise(pages, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return static_cast<std::byte*>(pages);
}

/// The address a meta buffer shows: aligned, and a fault for whoever touches it.
std::byte* meta_address() { return reinterpret_cast<std::byte*>(kPage); }  // NOLINT

}  // namespace

const char* memory_tier_name(MemoryTier tier) {
  constexpr std::array names = {"device", "host", "nvme"};
  return names.at(static_cast<size_t>(tier));
}

const char* memory_tag_name(MemoryTag tag) {
  constexpr std::array<const char*, kMemoryTags> names = {
      "parameters", "gradients", "optimizer", "activations", "workspace", "io_buffers", "kv_cache"};
  return names.at(static_cast<size_t>(tag));
}

void MemoryLedger::add(int64_t bytes, MemoryTag tag) {
  std::lock_guard lock(mutex_);
  if (budget_ > 0 && live_ + bytes > budget_) {
    throw Error(fmt::format("{} memory", memory_tier_name(tier_)),
                fmt::format("a request for {} of {} with {} in use ({})", format_bytes(bytes),
                            memory_tag_name(tag), format_bytes(live_), largest_users()),
                fmt::format("at most the budget of {} (--{}-memory)", format_bytes(budget_),
                            memory_tier_name(tier_)));
  }
  live_ += bytes;
  peak_ = std::max(peak_, live_);
  int64_t& of_tag = live_by_tag_[static_cast<size_t>(tag)];
  of_tag += bytes;
  peak_by_tag_[static_cast<size_t>(tag)] = std::max(peak_by_tag_[static_cast<size_t>(tag)], of_tag);
}

void MemoryLedger::remove(int64_t bytes, MemoryTag tag) {
  std::lock_guard lock(mutex_);
  live_ -= bytes;
  live_by_tag_[static_cast<size_t>(tag)] -= bytes;
}

int64_t MemoryLedger::live() const {
  std::lock_guard lock(mutex_);
  return live_;
}
int64_t MemoryLedger::peak() const {
  std::lock_guard lock(mutex_);
  return peak_;
}
int64_t MemoryLedger::live(MemoryTag tag) const {
  std::lock_guard lock(mutex_);
  return live_by_tag_[static_cast<size_t>(tag)];
}
int64_t MemoryLedger::peak(MemoryTag tag) const {
  std::lock_guard lock(mutex_);
  return peak_by_tag_[static_cast<size_t>(tag)];
}

std::string MemoryLedger::largest_users() const {
  std::array<size_t, kMemoryTags> order{};
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return live_by_tag_[a] > live_by_tag_[b]; });
  std::string users;
  for (const size_t tag : order) {
    if (live_by_tag_[tag] == 0) break;
    if (!users.empty()) users += ", ";
    users +=
        fmt::format("{} {}", memory_tag_name(static_cast<MemoryTag>(tag)), format_bytes(live_by_tag_[tag]));
  }
  return users.empty() ? "nothing" : users;
}

Buffer::~Buffer() {
  if (data_ != nullptr) pool_->release(data_, bytes_, tag_);
}

void KeptPages::put(std::byte* data, int64_t bytes) {
  bytes_ += bytes;
  const auto next = by_address_.lower_bound(data);
  if (next != by_address_.end() && next->first == data + bytes) {
    bytes += next->second;
    erase(by_size_.find({next->second, next->first}));
  }
  auto before = by_address_.lower_bound(data);
  if (before != by_address_.begin() && (--before, before->first + before->second == data)) {
    data = before->first;
    bytes += before->second;
    erase(by_size_.find({before->second, before->first}));
  }
  insert(data, bytes);
}

std::byte* KeptPages::take(int64_t bytes) {
  const auto fit = by_size_.lower_bound({bytes, nullptr});
  if (fit == by_size_.end()) return nullptr;
  const auto [size, data] = *fit;
  erase(fit);
  if (size > bytes) insert(data + bytes, size - bytes);
  bytes_ -= bytes;
  return data;
}

void KeptPages::shrink(int64_t limit) {
  while (bytes_ > limit) {
    const auto [size, data] = *by_size_.begin();
    const int64_t part = std::min(size, (bytes_ - limit + kPage - 1) / kPage * kPage);
    erase(by_size_.begin());
    if (size > part) insert(data, size - part);
    ::munmap(data + (size - part), static_cast<size_t>(part));
    bytes_ -= part;
  }
}

void KeptPages::insert(std::byte* data, int64_t bytes) {
  by_address_.emplace(data, bytes);
  by_size_.emplace(bytes, data);
}

void KeptPages::erase(BySize::iterator range) {
  by_address_.erase(range->second);
  by_size_.erase(range);
}

MemoryPool::~MemoryPool() { trim(); }

Buffer MemoryPool::allocate(int64_t bytes, MemoryTag tag) {
  ALEPH_CHECK(bytes >= 0, "{} bytes", bytes);
  if (bytes == 0) return {};
  const int64_t rounded = round_up(bytes);
  ledger_.add(rounded, tag);
  std::byte* data = meta() ? meta_address() : take(rounded);
  if (data == nullptr) {
    ledger_.remove(rounded, tag);
    throw Error(fmt::format("{} memory", memory_tier_name(ledger_.tier())),
                fmt::format("the system refusing {} of {}", format_bytes(rounded), memory_tag_name(tag)),
                "enough free memory (a smaller budget or batch)");
  }
  return Buffer(this, data, bytes, tag);
}

std::byte* MemoryPool::take(int64_t bytes) {
  if (bytes < kPage) return static_cast<std::byte*>(std::aligned_alloc(kLine, static_cast<size_t>(bytes)));
  std::lock_guard lock(mutex_);
  if (std::byte* data = kept_.take(bytes)) return data;
  int64_t spare = kSpare;
  if (ledger_.budget() > 0) {
    const int64_t unused = std::max<int64_t>(0, ledger_.budget() - ledger_.live());
    kept_.shrink(unused);
    spare = std::min(spare, unused - kept_.bytes());
  }
  const int64_t mapped = std::max(bytes, (bytes + spare) / kHugePage * kHugePage);
  std::byte* data = map_pages(mapped);
  if (data == nullptr) {
    kept_.shrink(0);
    return map_pages(bytes);
  }
  if (mapped > bytes) kept_.put(data + bytes, mapped - bytes);
  return data;
}

void MemoryPool::release(std::byte* data, int64_t bytes, MemoryTag tag) {
  const int64_t rounded = round_up(bytes);
  if (!meta() && rounded < kPage) {
    std::free(data);
  } else if (!meta()) {
    std::lock_guard lock(mutex_);
    kept_.put(data, rounded);
  }
  ledger_.remove(rounded, tag);
}

void MemoryPool::trim() {
  std::lock_guard lock(mutex_);
  kept_.shrink(0);
}

}  // namespace aleph
