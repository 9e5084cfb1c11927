#include "aleph/zero/home.h"

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "aleph/base/clock.h"
#include "aleph/base/round_up.h"
#include "aleph/kernels/elementwise/elementwise.h"

namespace aleph::zero {
namespace {

constexpr int64_t kPage = io::kDirectAlignment;

void check_range(const Region& region, int64_t offset, size_t bytes) {
  ALEPH_CHECK(offset >= 0 && static_cast<int64_t>(bytes) <= region.bytes - offset,
              "bytes {}+{} of a region of {}", offset, bytes, region.bytes);
}

/// Device or host memory. A region is a buffer of the pool; moves are copies on the copy stream.
class MemoryHome final : public Home {
 public:
  MemoryHome(DeviceContext& device, MemoryTier tier, StateKind kind)
      : device_(device), tier_(tier), kind_(kind) {}
  /// Moves that nobody waited for are done before their memory goes to others.
  ~MemoryHome() override {
    try {
      device_.copy().synchronize();
    } catch (const std::exception&) {  // whoever needed the move has seen its error at the wait
    }
  }

  MemoryTier tier() const override { return tier_; }

  Region reserve(int64_t bytes) override {
    const int64_t rounded = round_up(bytes, kPage);
    Buffer buffer = pool().allocate(rounded, memory_tag(kind_));
    kernels::zero(device_, TensorView(buffer.data(), {rounded}, DType::kU8));
    buffers_.push_back(std::move(buffer));
    return {.bytes = rounded, .index = static_cast<int>(buffers_.size()) - 1};
  }

  std::byte* address(const Region& region) override {
    return buffers_[static_cast<size_t>(region.index)].data();
  }

  void finish(const Ticket& ticket) override { ticket.event.wait(); }
  bool done(const Ticket& ticket) const override { return ticket.event.done(); }

 private:
  Ticket start_read(const Region& region, int64_t offset, std::span<std::byte> data,
                    io::Priority /*priority*/) override {
    return copy(address(region) + offset, data.data(), data.size());
  }
  Ticket start_write(const Region& region, int64_t offset, std::span<const std::byte> data,
                     io::Priority /*priority*/) override {
    return copy(data.data(), address(region) + offset, data.size());
  }

  MemoryPool& pool() { return tier_ == MemoryTier::kDevice ? device_.memory() : device_.host_memory(); }

  Ticket copy(const std::byte* from, std::byte* to, size_t bytes) {
    if (device_.meta()) return {};
    return {.event = device_.copy().run([from, to, bytes] { std::copy_n(from, bytes, to); }),
            .transfers = {}};
  }

  DeviceContext& device_;
  MemoryTier tier_;
  StateKind kind_;
  std::vector<Buffer> buffers_;
};

/// Files striped over drives: block i of a region lies on drive i mod N.
class NvmeHome final : public Home {
 public:
  NvmeHome(const HomeContext& context, StateKind kind) : context_(context), kind_(kind) {
    if (context.device.meta()) return;
    ALEPH_CHECK(context.swap != nullptr, "NVMe without a swap space");
    for (const auto& folder : context.swap->folders()) {
      files_.push_back(io::File::open_read_write(folder / (std::string(state_kind_name(kind)) + ".swap"),
                                                 io::Direct::kTry, context.swap->options().calls));
    }
  }
  /// Moves that nobody waited for are done before their files are closed.
  ~NvmeHome() override {
    try {
      if (context_.swap != nullptr) context_.swap->queue().drain();
    } catch (const std::exception&) {  // whoever needed the move has seen its error at the wait
    }
    context_.nvme.remove(reserved_, memory_tag(kind_));
  }

  MemoryTier tier() const override { return MemoryTier::kNvme; }

  Region reserve(int64_t bytes) override {
    const int64_t rounded = round_up(bytes, kPage);
    context_.nvme.add(rounded, memory_tag(kind_));
    const Region region{.offset = end_, .bytes = rounded, .index = regions_++};
    reserved_ += rounded;
    // A region starts on a whole row of stripes, so that its stripes are spread evenly.
    end_ += round_up(rounded, files_.size() > 1 ? row_bytes() : kPage);
    for (const io::File& file : files_) file.preallocate(end_ / static_cast<int64_t>(files_.size()));
    return region;
  }

  std::byte* address(const Region& /*region*/) override { return nullptr; }

  void finish(const Ticket& ticket) override {
    std::exception_ptr failure;
    for (const io::Ticket& transfer : ticket.transfers) {
      try {
        context_.swap->queue().wait(transfer);
      } catch (const Error&) {  // the others may use the caller's memory still
        if (!failure) failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
  }

  bool done(const Ticket& ticket) const override {
    return std::all_of(ticket.transfers.begin(), ticket.transfers.end(),
                       [&](const io::Ticket& transfer) { return context_.swap->queue().done(transfer); });
  }

 private:
  Ticket start_read(const Region& region, int64_t offset, std::span<std::byte> data,
                    io::Priority priority) override {
    Ticket ticket;
    for_each_stripe(region, offset, data, [&](const io::File& file, int64_t at, std::span<std::byte> part) {
      ticket.transfers.push_back(context_.swap->queue().read(file, at, part, priority));
    });
    return ticket;
  }

  Ticket start_write(const Region& region, int64_t offset, std::span<const std::byte> data,
                     io::Priority priority) override {
    Ticket ticket;
    for_each_stripe(region, offset, data,
                    [&](const io::File& file, int64_t at, std::span<const std::byte> part) {
                      ticket.transfers.push_back(context_.swap->queue().write(file, at, part, priority));
                    });
    return ticket;
  }

  int64_t stripe_bytes() const { return context_.swap->options().block_bytes; }
  int64_t row_bytes() const { return stripe_bytes() * static_cast<int64_t>(files_.size()); }

  /// Calls `body(file, offset, part)` for each part of `data` that lies in one stripe.
  template <typename Bytes, typename Body>
  void for_each_stripe(const Region& region, int64_t offset, Bytes data, const Body& body) {
    const auto bytes = static_cast<int64_t>(data.size());
    if (context_.device.meta()) return;
    if (files_.size() == 1) return body(files_[0], region.offset + offset, data);
    const auto drives = static_cast<int64_t>(files_.size());
    for (int64_t done = 0; done < bytes;) {
      const int64_t logical = region.offset + offset + done;
      const int64_t stripe = logical / stripe_bytes(), inside = logical % stripe_bytes();
      const int64_t part = std::min(bytes - done, stripe_bytes() - inside);
      body(files_[static_cast<size_t>(stripe % drives)], stripe / drives * stripe_bytes() + inside,
           data.subspan(static_cast<size_t>(done), static_cast<size_t>(part)));
      done += part;
    }
  }

  HomeContext context_;
  StateKind kind_;
  std::vector<io::File> files_;
  int64_t end_ = 0;
  int64_t reserved_ = 0;
  int regions_ = 0;
};

}  // namespace

const char* state_kind_name(StateKind kind) {
  constexpr std::array<const char*, kStateKinds> names = {"parameters", "gradients", "optimizer",
                                                          "activations"};
  return names.at(static_cast<size_t>(kind));
}

MemoryTag memory_tag(StateKind kind) {
  constexpr std::array<MemoryTag, kStateKinds> tags = {MemoryTag::kParameters, MemoryTag::kGradients,
                                                       MemoryTag::kOptimizer, MemoryTag::kActivations};
  return tags.at(static_cast<size_t>(kind));
}

Ticket Home::read(const Region& region, int64_t offset, std::span<std::byte> data, io::Priority priority) {
  check_range(region, offset, data.size());
  {
    std::lock_guard lock(mutex_);
    stats_.read_bytes += static_cast<int64_t>(data.size());
  }
  return start_read(region, offset, data, priority);
}

Ticket Home::write(const Region& region, int64_t offset, std::span<const std::byte> data,
                   io::Priority priority) {
  check_range(region, offset, data.size());
  {
    std::lock_guard lock(mutex_);
    stats_.written_bytes += static_cast<int64_t>(data.size());
  }
  return start_write(region, offset, data, priority);
}

void Home::wait(const Ticket& ticket) {
  const Stopwatch watch;
  finish(ticket);
  add_stall(watch.seconds());
}

void Home::add_stall(double seconds) {
  std::lock_guard lock(mutex_);
  stats_.stall_seconds += seconds;
}

HomeStats Home::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

std::unique_ptr<Home> make_home(const HomeContext& context, MemoryTier tier, StateKind kind) {
  if (tier == MemoryTier::kNvme) return std::make_unique<NvmeHome>(context, kind);
  return std::make_unique<MemoryHome>(context.device, tier, kind);
}

}  // namespace aleph::zero
