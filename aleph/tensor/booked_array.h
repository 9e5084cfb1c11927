// An array that grows, for data whose size is known only when it is there: tokens of a text.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/tensor/memory_pool.h"

namespace aleph {

/// Pages that grow in place of moving their bytes, and are booked in a ledger before they are there. What
/// BookedArray is made of. Moves only.
class BookedPages {
 public:
  BookedPages() = default;
  /// `what` stands in errors: "the tokens". The ledger outlives the pages; nullptr: nothing is booked.
  BookedPages(MemoryLedger* ledger, std::string what) : ledger_(ledger), what_(std::move(what)) {}
  BookedPages(BookedPages&& other) noexcept { swap(other); }
  BookedPages& operator=(BookedPages&& other) noexcept {
    BookedPages(std::move(other)).swap(*this);
    return *this;
  }
  ~BookedPages() { resize(0); }

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  /// Room for `bytes` at least, and some more while the budget has it. Throws Error when it has not.
  void require(int64_t bytes);
  /// Gives back what is over `bytes`.
  void shrink(int64_t bytes) { resize(bytes); }

 private:
  void resize(int64_t bytes);
  void swap(BookedPages& other) noexcept {
    std::swap(ledger_, other.ledger_);
    std::swap(what_, other.what_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  MemoryLedger* ledger_ = nullptr;
  std::string what_ = "an array";
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

/// Elements one after another, of a type that is its bytes. Moves only.
template <typename T>
requires std::is_trivially_copyable_v<T>
class BookedArray {
 public:
  using value_type = T;
  using iterator = T*;
  using const_iterator = T*;

  BookedArray() = default;
  /// As BookedPages.
  BookedArray(MemoryLedger* ledger, std::string what) : pages_(ledger, std::move(what)) {}
  BookedArray(std::initializer_list<T> values) { append(std::span(values.begin(), values.size())); }
  BookedArray(BookedArray&& other) noexcept
      : pages_(std::move(other.pages_)), size_(std::exchange(other.size_, 0)) {}
  BookedArray& operator=(BookedArray&& other) noexcept {
    pages_ = std::move(other.pages_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  void append(std::span<const T> more) {
    if (more.empty()) return;
    std::memcpy(grow(more.size()).data(), more.data(), more.size_bytes());
  }
  /// The new elements, undefined yet.
  std::span<T> grow(size_t more) {
    pages_.require(static_cast<int64_t>((size_ + more) * sizeof(T)));
    size_ += more;
    return {data() + size_ - more, more};
  }
  void erase_front(size_t count) {
    std::memmove(data(), data() + count, (size_ - count) * sizeof(T));
    size_ -= count;
  }
  void clear() { size_ = 0; }
  void shrink_to_fit() { pages_.shrink(static_cast<int64_t>(size_ * sizeof(T))); }

  T* data() const { return reinterpret_cast<T*>(pages_.data()); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() const { return data(); }
  T* end() const { return data() + size_; }
  T& operator[](size_t i) const { return data()[i]; }
  operator std::span<const T>() const { return {data(), size_}; }  // NOLINT(google-explicit-constructor)
  /// That are booked.
  int64_t bytes() const { return pages_.bytes(); }

 private:
  BookedPages pages_;
  size_t size_ = 0;
};

}  // namespace aleph
