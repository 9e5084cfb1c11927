#include "aleph/zero/home.h"

#include <algorithm>
#include <array>
#include <utility>

#include "aleph/base/clock.h"
#include "aleph/kernels/elementwise/elementwise.h"

namespace aleph::zero {
namespace {

constexpr int64_t kPage = io::kDirectAlignment;

int64_t round_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

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

  Ticket read(const Region& region, int64_t offset, std::span<std::byte> data) override {
    check_range(region, offset, data.size());
    stats_.read_bytes += static_cast<int64_t>(data.size());
    return copy(address(region) + offset, data.data(), data.size());
  }

  Ticket write(const Region& region, int64_t offset, std::span<const std::byte> data) override {
    check_range(region, offset, data.size());
    stats_.written_bytes += static_cast<int64_t>(data.size());
    return copy(data.data(), address(region) + offset, data.size());
  }

  void wait(const Ticket& ticket) override {
    const Stopwatch watch;
    ticket.event.wait();
    stats_.stall_seconds += watch.seconds();
  }

  std::byte* address(const Region& region) override {
    return buffers_[static_cast<size_t>(region.index)].data();
  }

 private:
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

  Ticket read(const Region& region, int64_t offset, std::span<std::byte> data) override {
    stats_.read_bytes += static_cast<int64_t>(data.size());
    Ticket ticket;
    for_each_stripe(region, offset, static_cast<int64_t>(data.size()), [&](const Stripe& stripe) {
      ticket.transfers.push_back(context_.swap->queue().read(
          *stripe.file, stripe.file_offset,
          data.subspan(static_cast<size_t>(stripe.data_offset), static_cast<size_t>(stripe.bytes))));
    });
    return ticket;
  }

  Ticket write(const Region& region, int64_t offset, std::span<const std::byte> data) override {
    stats_.written_bytes += static_cast<int64_t>(data.size());
    Ticket ticket;
    for_each_stripe(region, offset, static_cast<int64_t>(data.size()), [&](const Stripe& stripe) {
      ticket.transfers.push_back(context_.swap->queue().write(
          *stripe.file, stripe.file_offset,
          data.subspan(static_cast<size_t>(stripe.data_offset), static_cast<size_t>(stripe.bytes))));
    });
    return ticket;
  }

  void wait(const Ticket& ticket) override {
    const Stopwatch watch;
    for (const io::Ticket& transfer : ticket.transfers) context_.swap->queue().wait(transfer);
    stats_.stall_seconds += watch.seconds();
  }

  std::byte* address(const Region& /*region*/) override { return nullptr; }

 private:
  struct Stripe {
    const io::File* file;
    int64_t file_offset, data_offset, bytes;
  };

  int64_t stripe_bytes() const { return context_.swap->options().block_bytes; }
  int64_t row_bytes() const { return stripe_bytes() * static_cast<int64_t>(files_.size()); }

  template <typename Body>
  void for_each_stripe(const Region& region, int64_t offset, int64_t bytes, const Body& body) {
    check_range(region, offset, static_cast<size_t>(bytes));
    if (context_.device.meta()) return;
    if (files_.size() == 1) return body({&files_[0], region.offset + offset, 0, bytes});
    for (int64_t done = 0; done < bytes;) {
      const int64_t logical = region.offset + offset + done;
      const int64_t stripe = logical / stripe_bytes(), inside = logical % stripe_bytes();
      const int64_t part = std::min(bytes - done, stripe_bytes() - inside);
      const auto drives = static_cast<int64_t>(files_.size());
      body({&files_[static_cast<size_t>(stripe % drives)], stripe / drives * stripe_bytes() + inside, done,
            part});
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

std::unique_ptr<Home> make_home(const HomeContext& context, MemoryTier tier, StateKind kind) {
  if (tier == MemoryTier::kNvme) return std::make_unique<NvmeHome>(context, kind);
  return std::make_unique<MemoryHome>(context.device, tier, kind);
}

}  // namespace aleph::zero
