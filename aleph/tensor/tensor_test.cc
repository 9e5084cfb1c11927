#include "aleph/tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "aleph/tensor/device.h"

namespace aleph {
namespace {

TEST(DTypeTest, HalfRoundTripsEveryFiniteValue) {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const F16 half{static_cast<uint16_t>(bits)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(from_float<F16>(value))));
    } else {
      EXPECT_EQ(from_float<F16>(value).bits, half.bits);
    }
  }
}

TEST(DTypeTest, RoundsToNearestEven) {
  EXPECT_EQ(to_float(from_float<BF16>(1.0f + 0x1p-8f)), 1.0f);
  EXPECT_EQ(to_float(from_float<BF16>(1.0f + 0x1.8p-7f)), 1.0f + 0x1p-6f);
  EXPECT_EQ(to_float(from_float<F16>(1.0f + 0x1p-11f)), 1.0f);
  EXPECT_EQ(to_float(from_float<F16>(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(to_float(from_float<F16>(65520.0f))));
  EXPECT_EQ(to_float(from_float<F16>(0x1p-25f)), 0.0f);
  EXPECT_EQ(to_float(from_float<F16>(-0x1.8p-25f)), -0x1p-24f);
  EXPECT_TRUE(std::isnan(to_float(from_float<BF16>(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(MemoryPoolTest, CountsLivePeakAndTags) {
  MemoryPool pool(MemoryTier::kDevice, 0);
  {
    const Buffer a = pool.allocate(5000, MemoryTag::kParameters);
    EXPECT_EQ(pool.ledger().live(), 8192);
    const Buffer b = pool.allocate(100, MemoryTag::kWorkspace);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % 4096, 0u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(b.data()) % 64, 0u);
  }
  EXPECT_EQ(pool.ledger().live(), 0);
  EXPECT_EQ(pool.ledger().peak(), 8192 + 128);
  EXPECT_EQ(pool.ledger().peak(MemoryTag::kParameters), 8192);
}

TEST(MemoryPoolTest, RefusesWhatWouldPassTheBudget) {
  MemoryPool pool(MemoryTier::kHost, 16384);
  const Buffer a = pool.allocate(8192, MemoryTag::kOptimizer);
  try {
    pool.allocate(12288, MemoryTag::kWorkspace);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("optimizer 8.0 KiB"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("--host-memory"), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(pool.allocate(8192, MemoryTag::kWorkspace));
}

TEST(MemoryPoolTest, ReusesBlocksOfEqualSizeAndDropsThemUnderPressure) {
  MemoryPool pool(MemoryTier::kDevice, 3 * 8192);
  std::byte* first = pool.allocate(8192, MemoryTag::kWorkspace).data();
  EXPECT_EQ(pool.allocate(8192, MemoryTag::kWorkspace).data(), first);
  Buffer large = pool.allocate(3 * 8192, MemoryTag::kWorkspace);
  large.data()[3 * 8192 - 1] = std::byte{1};
}

TEST(MemoryPoolTest, MetaBooksWithoutMemory) {
  DeviceContext device({.kind = DeviceKind::kMeta});
  const Tensor huge(device.memory(), {1 << 20, 1 << 20}, DType::kF32, MemoryTag::kParameters);
  EXPECT_EQ(device.memory().ledger().peak(), int64_t{4} << 40);
}

TEST(ShapeTest, IndexesFromBothEnds) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape[-1], 4);
  EXPECT_EQ(shape.rows(), 6);
  EXPECT_EQ(shape.to_string(), "[2, 3, 4]");
  EXPECT_THROW((void)shape[3], InternalError);
}

TEST(ViewTest, SlicesRowsAndChecksTypes) {
  std::vector<float> values = {0, 1, 2, 3, 4, 5};
  const TensorView view = view_of<float>(std::span(values), {3, 2});
  EXPECT_EQ(view.slice(1, 2).data<float>()[0], 2.0f);
  EXPECT_THROW((void)view.data<BF16>(), InternalError);
  EXPECT_THROW((void)view.slice(2, 2), InternalError);
}

TEST(StreamTest, RunsInOrderAndRethrowsAtTheWait) {
  Stream stream(Stream::Mode::kThread);
  int value = 0;
  stream.run([&] { value = 1; });
  stream.run([&] { value *= 10; }).wait();
  EXPECT_EQ(value, 10);
  const Event failed = stream.run([] { throw Error("disk", "nothing", "something"); });
  EXPECT_THROW(failed.wait(), Error);
}

}  // namespace
}  // namespace aleph
