#include <cmath>
#include <cstring>
#include <limits>

#include "aleph/base/philox.h"
#include "aleph/kernels/checks.h"
#include "aleph/kernels/elementwise/elementwise.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kCopyGrain = int64_t{256} << 10;

void copy_bytes(const std::byte* from, std::byte* to, int64_t bytes) {
  parallel_for(bytes, kCopyGrain, [=](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

template <typename From, typename To>
void convert_elements(const From* x, To* y, int64_t n) {
  simd::parallel(
      n, simd::kFlatGrain, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) simd::store(y + i, simd::load(x + i));
      });
}

struct Piece {
  double sum;
  int64_t non_finite;
};

constexpr int64_t kPiece = 4096;

[[gnu::always_inline]] inline Piece sum_piece(const float* x, int64_t n) {
  double sum = 0;
  int32_t non_finite = 0;
#pragma omp simd reduction(+ : sum, non_finite)
  for (int64_t i = 0; i < n; ++i) {
    const float value = x[i];
    const bool finite = std::fabs(value) <= std::numeric_limits<float>::max();
    const double wide = finite ? value : 0.0f;
    sum += wide * wide;
    non_finite += finite ? 0 : 1;
  }
  return {sum, non_finite};
}

constexpr int64_t kDrawBlocks = 64;

/// The words of kDrawBlocks blocks from `first` on, as RandomStream::words gives them.
[[gnu::always_inline]] inline void draw(const RandomStream& stream, uint64_t first,
                                        uint32_t (&words)[kDrawBlocks][4]) {
  uint64_t blocks[kDrawBlocks];
  for (int64_t i = 0; i < kDrawBlocks; ++i) blocks[i] = first + static_cast<uint64_t>(i);
  uint32_t turned[4][kDrawBlocks];
  philox(stream.key(), stream.high(), blocks, turned);
#pragma omp simd
  for (int64_t i = 0; i < kDrawBlocks; ++i) {
    words[i][0] = turned[0][i];
    words[i][1] = turned[1][i];
    words[i][2] = turned[2][i];
    words[i][3] = turned[3][i];
  }
}

template <typename T>
void drop(const DropoutArgs& args, const T* x, T* y, int64_t n) {
  const RandomStream stream(args.key);
  const float keep_scale = 1.0f / (1.0f - args.probability), probability = args.probability;
  simd::parallel(
      n, simd::kFlatGrain, [&](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t start = begin; start < end; start += 4 * kDrawBlocks) {  // begin is a multiple of 4
          const int64_t count = std::min(4 * kDrawBlocks, end - start);
          uint32_t words[kDrawBlocks][4];
          draw(stream, static_cast<uint64_t>(start / 4), words);
          const uint32_t* word = words[0];
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) {
            const float uniform = static_cast<float>(static_cast<int32_t>(word[i] >> 8)) * 0x1p-24f;
            const float scaled = simd::load(x + start + i) * keep_scale;
            simd::store(y + start + i, uniform >= probability ? scaled : 0.0f);
          }
        }
      });
}

}  // namespace

void convert(DeviceContext& device, const ConstTensorView& x, const TensorView& y) {
  check_float("x", x);
  check_float("y", y);
  check_elements("y", y, x.elements());
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, bytes_of(x, y));
  if (x.dtype() == y.dtype()) return copy_bytes(x.raw(), y.raw(), x.bytes());
  dispatch_float(x.dtype(), [&](auto from) {
    dispatch_float(y.dtype(), [&](auto to) {
      convert_elements(x.data<decltype(from)>(), y.data<decltype(to)>(), x.elements());
    });
  });
}

void zero(DeviceContext& device, const TensorView& y) {
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, bytes_of(y));
  parallel_for(y.bytes(), kCopyGrain, [&](int64_t begin, int64_t end) {
    std::memset(y.raw() + begin, 0, static_cast<size_t>(end - begin));
  });
}

void add(DeviceContext& device, const ConstTensorView& a, const ConstTensorView& b, const TensorView& y) {
  check_float("a", a);
  check_dtype("b", b, a.dtype());
  check_dtype("y", y, a.dtype());
  check_elements("b", b, a.elements());
  check_elements("y", y, a.elements());
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, bytes_of(a, b, y));
  dispatch_float(a.dtype(), [&](auto element) {
    using T = decltype(element);
    const T *pa = a.data<T>(), *pb = b.data<T>();
    T* py = y.data<T>();
    simd::parallel(
        y.elements(), simd::kFlatGrain, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = begin; i < end; ++i) {
            simd::store(py + i, simd::load(pa + i) + simd::load(pb + i));
          }
        });
  });
}

void accumulate(DeviceContext& device, const ConstTensorView& x, const TensorView& y) {
  check_float("x", x);
  check_vector("y", y, x.elements(), DType::kF32);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, bytes_of(x, y, y));
  dispatch_float(x.dtype(), [&](auto element) {
    const auto* px = x.data<decltype(element)>();
    float* py = y.data<float>();
    simd::parallel(
        y.elements(), simd::kFlatGrain, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = begin; i < end; ++i) py[i] += simd::load(px + i);
        });
  });
}

void scale(DeviceContext& device, float factor, const TensorView& y) {
  check_float("y", y);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, 2 * bytes_of(y));
  dispatch_float(y.dtype(), [&](auto element) {
    auto* py = y.data<decltype(element)>();
    simd::parallel(
        y.elements(), simd::kFlatGrain, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
#pragma omp simd
          for (int64_t i = begin; i < end; ++i) simd::store(py + i, simd::load(py + i) * factor);
        });
  });
}

SquareSum sum_of_squares(DeviceContext& device, const ConstTensorView& x) {
  check_dtype("x", x, DType::kF32);
  const int64_t n = x.elements(), count = (n + kPiece - 1) / kPiece;
  const Buffer workspace =
      device.memory().allocate(count * static_cast<int64_t>(sizeof(Piece)), MemoryTag::kWorkspace);
  if (device.meta()) return {};
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, bytes_of(x));
  const float* values = x.data<float>();
  Piece* pieces = reinterpret_cast<Piece*>(workspace.data());
  simd::parallel(
      count, simd::kFlatGrain / kPiece, [=](auto, int64_t begin, int64_t end) __attribute__((always_inline)) {
        for (int64_t i = begin; i < end; ++i) {
          pieces[i] = sum_piece(values + i * kPiece, std::min(kPiece, n - i * kPiece));
        }
      });
  SquareSum total;
  for (int64_t i = 0; i < count; ++i) {
    total.sum += pieces[i].sum;
    total.non_finite += pieces[i].non_finite;
  }
  return total;
}

void dropout(DeviceContext& device, const DropoutArgs& args) {
  check_float("x", args.x);
  check_elements("y", args.y, args.x.elements());
  check_dtype("y", args.y, args.x.dtype());
  ALEPH_CHECK(args.probability >= 0 && args.probability < 1, "dropout probability {}, expected [0, 1)",
              args.probability);
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kElementwise, 0, bytes_of(args.x, args.y));
  dispatch_float(args.x.dtype(), [&](auto element) {
    using T = decltype(element);
    drop(args, args.x.data<T>(), args.y.data<T>(), args.x.elements());
  });
}

}  // namespace aleph::kernels
