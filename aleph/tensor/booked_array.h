// An array that grows, for data whose size is known only when it is there: tokens of a text.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "aleph/base/error.h"
#include "aleph/base/text_util.h"
#include "aleph/tensor/memory_pool.h"

namespace aleph {

/// Bytes on pages that grow in place of being moved, and are booked in a ledger before they are there. What
/// BookedArray is made of. Moves only; what was moved from is empty, and books in the same ledger as before.
class BookedPages {
 public:
  BookedPages() = default;
  /// `what` stands in errors: "the tokens". The ledger outlives the pages; nullptr: nothing is booked.
  BookedPages(MemoryLedger* ledger, std::string what)
      : ledger_(ledger), what_(std::make_shared<const std::string>(std::move(what))) {}
  BookedPages(BookedPages&& other) noexcept
      : ledger_(other.ledger_),
        what_(other.what_),
        data_(std::exchange(other.data_, nullptr)),
        booked_(std::exchange(other.booked_, 0)),
        used_(std::exchange(other.used_, 0)) {}
  BookedPages& operator=(BookedPages&& other) noexcept {
    BookedPages taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~BookedPages() { resize(0); }

  std::byte* data() const { return data_; }
  int64_t used() const { return used_; }
  int64_t booked() const { return booked_; }
  /// `more` bytes at the end, undefined yet, and room for some more while the budget has it. Throws Error
  /// when it has not.
  std::byte* grow(int64_t more);
  void erase_front(int64_t bytes);
  void clear() { used_ = 0; }
  /// Gives back the pages that are not used.
  void shrink() { resize(used_); }

 private:
  void require(int64_t bytes);
  void resize(int64_t bytes);
  void swap(BookedPages& other) noexcept;

  MemoryLedger* ledger_ = nullptr;
  std::shared_ptr<const std::string> what_;  // null: an array
  std::byte* data_ = nullptr;
  int64_t booked_ = 0, used_ = 0;
};

/// Elements one after another, of a type that is its bytes. Moves as BookedPages.
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

  void append(std::span<const T> more) {
    if (more.empty()) return;
    std::memcpy(grow(more.size()).data(), more.data(), more.size_bytes());
  }
  /// The new elements, undefined yet.
  std::span<T> grow(size_t more) {
    return {reinterpret_cast<T*>(pages_.grow(static_cast<int64_t>(more * sizeof(T)))), more};
  }
  void erase_front(size_t count) { pages_.erase_front(static_cast<int64_t>(count * sizeof(T))); }
  void clear() { pages_.clear(); }
  void shrink_to_fit() { pages_.shrink(); }

  T* data() const { return reinterpret_cast<T*>(pages_.data()); }
  size_t size() const { return static_cast<size_t>(pages_.used()) / sizeof(T); }
  bool empty() const { return size() == 0; }
  T* begin() const { return data(); }
  T* end() const { return data() + size(); }
  T& operator[](size_t i) const { return data()[i]; }
  operator std::span<const T>() const { return {data(), size()}; }  // NOLINT(google-explicit-constructor)
  /// That are booked.
  int64_t bytes() const { return pages_.booked(); }

 private:
  BookedPages pages_;
};

}  // namespace aleph
