#include "aleph/tensor/booked_array.h"

#include <algorithm>

#include "aleph/base/round_up.h"

namespace aleph {
namespace {

constexpr int64_t kPage = 4096, kLeastGrowth = int64_t{64} << 10;

int64_t whole_pages(int64_t bytes) { return round_up(bytes, kPage); }

}  // namespace

void BookedPages::require(int64_t bytes) {
  if (bytes <= bytes_) return;
  const int64_t least = whole_pages(bytes);
  int64_t wanted = std::max(least, whole_pages(bytes_ + bytes_ / 8 + kLeastGrowth));
  if (ledger_ != nullptr && ledger_->budget() > 0) {
    const int64_t room = ledger_->budget() - ledger_->live();
    if (least - bytes_ > room)
      throw Error(fmt::format("--{}-memory", memory_tier_name(ledger_->tier())),
                  format_bytes(ledger_->budget()),
                  fmt::format("more: with {} it takes at least {}", what_,
                              format_bytes(ledger_->live() + least - bytes_)));
    wanted = std::clamp(wanted, least, bytes_ + room / kPage * kPage);
  }
  resize(wanted);
}

void BookedPages::resize(int64_t bytes) {
  const int64_t pages = whole_pages(bytes);
  if (pages == bytes_) return;
  if (ledger_ != nullptr && pages > bytes_) ledger_->add(pages - bytes_, MemoryTag::kWorkspace);
  void* data = nullptr;
  if (pages == 0) {
    ::munmap(data_, static_cast<size_t>(bytes_));
  } else if (data_ == nullptr) {
    data = ::mmap(nullptr, static_cast<size_t>(pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
  } else {
    data = ::mremap(data_, static_cast<size_t>(bytes_), static_cast<size_t>(pages), MREMAP_MAYMOVE);
  }
  if (data == MAP_FAILED) {
    if (ledger_ != nullptr) ledger_->remove(pages - bytes_, MemoryTag::kWorkspace);
    throw Error("memory", fmt::format("the system refusing {} for {}", format_bytes(pages), what_),
                "enough free memory");
  }
  if (ledger_ != nullptr && pages < bytes_) ledger_->remove(bytes_ - pages, MemoryTag::kWorkspace);
  data_ = static_cast<std::byte*>(data);
  bytes_ = pages;
}

}  // namespace aleph
