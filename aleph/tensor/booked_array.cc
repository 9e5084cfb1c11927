#include "aleph/tensor/booked_array.h"

#include <algorithm>

#include "aleph/base/round_up.h"

namespace aleph {
namespace {

constexpr int64_t kPage = 4096, kLeastGrowth = int64_t{64} << 10;

std::string name_of(const std::shared_ptr<const std::string>& what) {
  return what == nullptr ? "an array" : *what;
}

int64_t whole_pages(int64_t bytes) { return round_up(bytes, kPage); }

}  // namespace

std::byte* BookedPages::grow(int64_t more) {
  require(used_ + more);
  used_ += more;
  return data_ + used_ - more;
}

void BookedPages::erase_front(int64_t bytes) {
  std::memmove(data_, data_ + bytes, static_cast<size_t>(used_ - bytes));
  used_ -= bytes;
}

void BookedPages::swap(BookedPages& other) noexcept {
  std::swap(ledger_, other.ledger_);
  std::swap(what_, other.what_);
  std::swap(data_, other.data_);
  std::swap(booked_, other.booked_);
  std::swap(used_, other.used_);
}

void BookedPages::require(int64_t bytes) {
  if (bytes <= booked_) return;
  const int64_t least = whole_pages(bytes);
  int64_t wanted = std::max(least, whole_pages(booked_ + booked_ / 8 + kLeastGrowth));
  if (ledger_ != nullptr && ledger_->budget() > 0) {
    const int64_t room = ledger_->budget() - ledger_->live();
    if (least - booked_ > room)
      throw Error(fmt::format("--{}-memory", memory_tier_name(ledger_->tier())),
                  format_bytes(ledger_->budget()),
                  fmt::format("more: with {} it takes at least {}", name_of(what_),
                              format_bytes(ledger_->live() + least - booked_)));
    wanted = std::clamp(wanted, least, booked_ + room / kPage * kPage);
  }
  resize(wanted);
}

void BookedPages::resize(int64_t bytes) {
  const int64_t pages = whole_pages(bytes);
  if (pages == booked_) return;
  if (ledger_ != nullptr && pages > booked_) ledger_->add(pages - booked_, MemoryTag::kWorkspace);
  void* data = nullptr;
  if (pages == 0) {
    ::munmap(data_, static_cast<size_t>(booked_));
  } else if (data_ == nullptr) {
    data = ::mmap(nullptr, static_cast<size_t>(pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
  } else {
    data = ::mremap(data_, static_cast<size_t>(booked_), static_cast<size_t>(pages), MREMAP_MAYMOVE);
  }
  if (data == MAP_FAILED) {
    if (ledger_ != nullptr) ledger_->remove(pages - booked_, MemoryTag::kWorkspace);
    throw Error("memory", fmt::format("the system refusing {} for {}", format_bytes(pages), name_of(what_)),
                "enough free memory");
  }
  if (ledger_ != nullptr && pages < booked_) ledger_->remove(booked_ - pages, MemoryTag::kWorkspace);
  data_ = static_cast<std::byte*>(data);
  booked_ = pages;
}

}  // namespace aleph
