#include "aleph/zero/home.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <condition_variable>
#include <fstream>
#include <mutex>

#include "aleph/io/fault_injection.h"
#include "aleph/zero/activation_store.h"
#include "aleph/zero/testing.h"

namespace aleph::zero {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kPage = 4096;

struct HomeCase {
  MemoryTier tier;
  int drives;
  int64_t block_bytes;
};

/// A device, drives, and room for the homes of one test.
class Tiers {
 public:
  explicit Tiers(int drives = 1, int64_t block_bytes = kPage, io::SystemCalls* calls = nullptr,
                 int64_t nvme_budget = 0)
      : nvme_(MemoryTier::kNvme, nvme_budget) {
    std::vector<fs::path> directories;
    for (int i = 0; i < drives; ++i) directories.push_back(directory_ / fmt::format("drive {}", i));
    swap_ = std::make_unique<SwapSpace>(
        SwapSpace::Options{.directories = directories, .block_bytes = block_bytes, .calls = calls});
  }
  std::unique_ptr<Home> home(MemoryTier tier, StateKind kind = StateKind::kOptimizer) {
    return make_home({device_, nvme_, swap_.get()}, tier, kind);
  }
  DeviceContext& device() { return device_; }
  MemoryLedger& nvme() { return nvme_; }
  SwapSpace& swap() { return *swap_; }

 private:
  io::TemporaryDirectory directory_;
  DeviceContext device_{DeviceContext::Options{}};
  MemoryLedger nvme_;
  std::unique_ptr<SwapSpace> swap_;
};

/// Bytes with a page-aligned start.
Buffer bytes_of(DeviceContext& device, int64_t size, uint64_t seed) {
  Buffer buffer = device.host_memory().allocate(size, MemoryTag::kWorkspace);
  const RandomStream random({.seed = seed});
  for (int64_t i = 0; i < size; ++i)
    buffer.data()[i] = static_cast<std::byte>(random.word(static_cast<uint64_t>(i)));
  return buffer;
}
std::span<std::byte> span_of(const Buffer& buffer) {
  return {buffer.data(), static_cast<size_t>(buffer.bytes())};
}

class HomesOfTiers : public ::testing::TestWithParam<HomeCase> {};

TEST_P(HomesOfTiers, RandomRangesOfRandomRegionsReadBackWhatWasWrittenLast) {
  Tiers tiers(GetParam().drives, GetParam().block_bytes);
  const RandomStream random({.seed = 71});
  const auto home = tiers.home(GetParam().tier);
  EXPECT_EQ(home->tier(), GetParam().tier);
  std::vector<Region> regions;
  std::vector<std::vector<std::byte>> model;
  for (const int64_t bytes : {1, 4096, 4097, 50'000, 200'001}) {
    regions.push_back(home->reserve(bytes));
    EXPECT_EQ(regions.back().bytes, (bytes + kPage - 1) / kPage * kPage);
    model.emplace_back(static_cast<size_t>(regions.back().bytes));  // a region starts at zero
  }
  int64_t read = 0, written = 0;
  for (uint64_t i = 0; i < 120; ++i) {
    const size_t r = random.below(regions.size(), 8 * i);
    const auto pages = static_cast<uint64_t>(regions[r].bytes / kPage);
    const uint64_t begin = random.below(pages, 8 * i + 2);
    const auto size = static_cast<int64_t>((1 + random.below(pages - begin, 8 * i + 4)) * kPage);
    const auto offset = static_cast<int64_t>(begin) * kPage;
    std::byte* expected = model[r].data() + offset;
    if (random.below(2, 8 * i + 6) == 0) {
      const Buffer data = bytes_of(tiers.device(), size, i);
      home->wait(home->write(regions[r], offset, span_of(data)));
      std::copy_n(data.data(), size, expected);
      written += size;
    } else {
      const Buffer data = bytes_of(tiers.device(), size, i);
      home->wait(home->read(regions[r], offset, span_of(data)));
      ASSERT_TRUE(std::equal(expected, expected + size, data.data())) << "region " << r << " " << offset;
      read += size;
    }
  }
  EXPECT_EQ(home->stats().read_bytes, read);
  EXPECT_EQ(home->stats().written_bytes, written);
  EXPECT_GE(home->stats().stall_seconds, 0);
}

TEST_P(HomesOfTiers, MovesOfDifferentRegionsMayBeUnderWayTogether) {
  Tiers tiers(GetParam().drives, GetParam().block_bytes);
  const auto home = tiers.home(GetParam().tier);
  std::vector<Region> regions;
  std::vector<Buffer> data, back;
  std::vector<Ticket> tickets;
  for (uint64_t i = 0; i < 9; ++i) {
    regions.push_back(home->reserve(7 * kPage));
    data.push_back(bytes_of(tiers.device(), 7 * kPage, i));
    back.push_back(bytes_of(tiers.device(), 7 * kPage, 100 + i));
    tickets.push_back(home->write(regions[i], 0, span_of(data[i])));
  }
  for (size_t i = 9; i-- > 0;) home->wait(tickets[i]);  // in another order than they began
  for (size_t i = 0; i < 9; ++i) tickets[i] = home->read(regions[i], 0, span_of(back[i]));
  for (size_t i = 9; i-- > 0;) {
    home->wait(tickets[i]);
    home->wait(tickets[i]);  // waiting twice is no fault
    ASSERT_TRUE(std::equal(data[i].data(), data[i].data() + 7 * kPage, back[i].data())) << i;
  }
}

TEST_P(HomesOfTiers, RangesOutsideARegionAreBugs) {
  Tiers tiers(GetParam().drives, GetParam().block_bytes);
  const auto home = tiers.home(GetParam().tier);
  const Region region = home->reserve(2 * kPage);
  (void)home->reserve(2 * kPage);
  const Buffer data = bytes_of(tiers.device(), 2 * kPage, 1);
  EXPECT_THROW((void)home->write(region, kPage, span_of(data)), InternalError);
  EXPECT_THROW((void)home->read(region, kPage, span_of(data)), InternalError);
  EXPECT_THROW((void)home->read(region, -kPage, span_of(data).first(kPage)), InternalError);
  EXPECT_NO_THROW(home->wait(home->read(region, 2 * kPage, {})));
}

INSTANTIATE_TEST_SUITE_P(
    Tiers, HomesOfTiers,
    ::testing::Values(HomeCase{MemoryTier::kDevice, 1, kPage}, HomeCase{MemoryTier::kHost, 1, kPage},
                      HomeCase{MemoryTier::kNvme, 1, kPage}, HomeCase{MemoryTier::kNvme, 2, kPage},
                      HomeCase{MemoryTier::kNvme, 3, 2 * kPage}, HomeCase{MemoryTier::kNvme, 5, 1 << 20}));

TEST(HomeBooksTest, EveryTierBooksItsRegionsUnderItsKindAndGivesThemBack) {
  Tiers tiers;
  for (const StateKind kind :
       {StateKind::kParameters, StateKind::kGradients, StateKind::kOptimizer, StateKind::kActivations}) {
    for (const MemoryTier tier : {MemoryTier::kDevice, MemoryTier::kHost, MemoryTier::kNvme}) {
      MemoryLedger& ledger = tier == MemoryTier::kNvme     ? tiers.nvme()
                             : tier == MemoryTier::kDevice ? tiers.device().memory().ledger()
                                                           : tiers.device().host_memory().ledger();
      {
        const auto home = tiers.home(tier, kind);
        (void)home->reserve(5000);
        (void)home->reserve(1);
        EXPECT_EQ(ledger.live(memory_tag(kind)), 3 * kPage) << state_kind_name(kind);
        EXPECT_EQ(home->address(home->reserve(1)) == nullptr, tier == MemoryTier::kNvme);
      }
      EXPECT_EQ(ledger.live(), 0);
    }
  }
}

TEST(HomeBooksTest, AFullTierRefusesAndKeepsWhatItHas) {
  Tiers tiers(2, kPage, nullptr, 3 * kPage);
  const auto home = tiers.home(MemoryTier::kNvme);
  const Region region = home->reserve(2 * kPage);
  EXPECT_THAT(fault_of([&] { (void)home->reserve(kPage + 1); }),
              AllOf(HasSubstr("nvme memory: found a request for 8.0 KiB of optimizer with 8.0 KiB in use"),
                    HasSubstr("12.0 KiB")));
  EXPECT_NO_THROW((void)home->reserve(kPage));
  const Buffer data = bytes_of(tiers.device(), 2 * kPage, 1), back = bytes_of(tiers.device(), 2 * kPage, 2);
  home->wait(home->write(region, 0, span_of(data)));
  home->wait(home->read(region, 0, span_of(back)));
  EXPECT_TRUE(std::equal(data.data(), data.data() + 2 * kPage, back.data()));
}

TEST(HomeBooksTest, AMetaDeviceBooksNvmeWithoutADrive) {
  DeviceContext device({.kind = DeviceKind::kMeta});
  MemoryLedger nvme(MemoryTier::kNvme, 0);
  const auto home = make_home({.device = device, .nvme = nvme}, MemoryTier::kNvme, StateKind::kGradients);
  const Region region = home->reserve(int64_t{1} << 45);
  EXPECT_EQ(nvme.live(MemoryTag::kGradients), int64_t{1} << 45);
  std::byte none{};
  EXPECT_NO_THROW(home->wait(home->read(region, 0, {&none, 1})));
}

TEST(HomeFaultsTest, AFailedTransferIsAnErrorAtTheWaitThatNamesTheFile) {
  for (const io::Call call : {io::Call::kRead, io::Call::kWrite}) {
    for (const int error : {EIO, ENOSPC}) {
      io::FaultInjection faults;
      Tiers tiers(2, kPage, &faults);
      const auto home = tiers.home(MemoryTier::kNvme);
      const Region region = home->reserve(8 * kPage);
      const Buffer data = bytes_of(tiers.device(), 8 * kPage, 1);
      const auto move = [&] {
        return call == io::Call::kRead ? home->read(region, 0, span_of(data))
                                       : home->write(region, 0, span_of(data));
      };
      home->wait(move());
      faults.fail(call, 3, error);
      Ticket failed;
      EXPECT_NO_THROW(failed = move()) << "the fault shows at the wait";
      EXPECT_THAT(fault_of([&] { home->wait(failed); }),
                  AllOf(HasSubstr("optimizer.swap"), HasSubstr(std::strerror(error))));
      EXPECT_NO_THROW(home->wait(move())) << "the next move is another one";
    }
  }
}

TEST(HomeFaultsTest, ADriveWithoutRoomRefusesTheRegion) {
  io::FaultInjection faults;
  Tiers tiers(1, kPage, &faults);
  {
    const auto home = tiers.home(MemoryTier::kNvme, StateKind::kActivations);
    (void)home->reserve(kPage);
    faults.fail(io::Call::kAllocate, 1, ENOSPC);
    EXPECT_THAT(fault_of([&] { (void)home->reserve(kPage); }),
                AllOf(HasSubstr("activations.swap"), HasSubstr(std::strerror(ENOSPC))));
  }
  EXPECT_EQ(tiers.nvme().live(), 0) << "its books close with the home";
}

TEST(HomeFaultsTest, ASwapFileThatCannotBeOpenedIsNamed) {
  io::FaultInjection faults;
  Tiers tiers(1, kPage, &faults);
  faults.fail(io::Call::kOpen, 1, EMFILE, 2);
  EXPECT_THAT(fault_of([&] { (void)tiers.home(MemoryTier::kNvme); }),
              AllOf(HasSubstr("optimizer.swap"), HasSubstr(std::strerror(EMFILE))));
}

/// Holds every write back until it is told to let go.
class SlowDisk final : public io::SystemCalls {
 public:
  int64_t pwrite(int fd, std::span<const std::byte> data, int64_t offset) override {
    pass();
    return io::SystemCalls::pwrite(fd, data, offset);
  }
  Verdict before_transfer(const Transfer& transfer) override {
    if (transfer.direction == io::Direction::kWrite) pass();
    return {0, transfer.bytes};
  }
  void let_go() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return open_; });
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

TEST(HomeFaultsTest, AHomeGoesOnlyWhenItsMovesAreDone) {
  SlowDisk disk;
  Tiers tiers(1, kPage, &disk);
  auto home = tiers.home(MemoryTier::kNvme);
  const Region region = home->reserve(4 * kPage);
  const Buffer data = bytes_of(tiers.device(), 4 * kPage, 1);
  (void)home->write(region, 0, span_of(data));
  std::atomic<bool> gone = false;
  std::thread end([&] {
    home.reset();
    gone = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(gone) << "its file was closed under a write: the next file of that number would get the bytes";
  disk.let_go();
  end.join();
  const fs::path file = tiers.swap().folders()[0] / "optimizer.swap";
  std::ifstream in(file, std::ios::binary);
  std::vector<char> stored(4 * kPage);
  in.read(stored.data(), 4 * kPage);
  EXPECT_EQ(std::memcmp(stored.data(), data.data(), stored.size()), 0);
}

/// An engine that ends early, as after an error, leaves moves under way.
TEST(HomeFaultsTest, AStoreKeepsItsMemoryUntilItsMovesAreDone) {
  SlowDisk disk;
  Tiers tiers(1, kPage, &disk);
  const MemoryLedger& ledger = tiers.device().memory().ledger();
  auto store = std::make_unique<ActivationStore>(tiers.device(),
                                                 tiers.home(MemoryTier::kNvme, StateKind::kActivations));
  store->store(0, {autograd::Variable(Tensor(tiers.device().memory(), Shape{3 * kPage}, DType::kU8,
                                             MemoryTag::kActivations))});
  std::thread end([&] { store.reset(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_GE(ledger.live(MemoryTag::kActivations), 3 * kPage) << "freed under a write";
  disk.let_go();
  end.join();
  EXPECT_EQ(ledger.live(), 0);
}

/// One drive fails at once while the other is still at work.
TEST(HomeFaultsTest, AFailedMoveIsOverOnlyWhenAllItsPartsAre) {
  class OneBad final : public io::SystemCalls {
   public:
    int64_t pwrite(int fd, std::span<const std::byte> data, int64_t offset) override {
      const Verdict verdict = before_transfer({io::Direction::kWrite, fd, offset, 1});
      return verdict.error != 0 ? -verdict.error : io::SystemCalls::pwrite(fd, data, offset);
    }
    Verdict before_transfer(const Transfer& transfer) override {
      if (transfer.direction == io::Direction::kWrite && calls_++ == 0) return {EIO, 0};
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      return {0, transfer.bytes};
    }

   private:
    std::atomic<int> calls_ = 0;
  } disk;
  Tiers tiers(2, kPage, &disk);
  const auto home = tiers.home(MemoryTier::kNvme);
  const Region region = home->reserve(2 * kPage);
  const Buffer data = bytes_of(tiers.device(), 2 * kPage, 1);
  const Ticket ticket = home->write(region, 0, span_of(data));
  EXPECT_THAT(fault_of([&] { home->finish(ticket); }), HasSubstr(std::strerror(EIO)));
  EXPECT_TRUE(home->done(ticket));
}

TEST(HomeNamesTest, KindsHaveNamesAndTags) {
  EXPECT_STREQ(state_kind_name(StateKind::kParameters), "parameters");
  EXPECT_STREQ(state_kind_name(StateKind::kActivations), "activations");
  EXPECT_EQ(memory_tag(StateKind::kGradients), MemoryTag::kGradients);
  EXPECT_EQ(memory_tag(StateKind::kOptimizer), MemoryTag::kOptimizer);
}

}  // namespace
}  // namespace aleph::zero
