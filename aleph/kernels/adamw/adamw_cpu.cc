#include <cmath>

#include "aleph/kernels/adamw/adamw.h"
#include "aleph/kernels/checks.h"
#include "aleph/kernels/simd/simd.h"

namespace aleph::kernels {
namespace {

/// What a step multiplies with: computed once in double, used in fp32.
struct StepFactors {
  explicit StepFactors(const AdamArgs& args) {
    const auto t = static_cast<double>(args.step);
    const double correction1 = args.bias_correction ? 1 - std::pow(args.beta1, t) : 1;
    const double correction2 = args.bias_correction ? 1 - std::pow(args.beta2, t) : 1;
    gradient = args.gradient_scale;
    beta1 = static_cast<float>(args.beta1);
    beta2 = static_cast<float>(args.beta2);
    rest1 = static_cast<float>(1 - args.beta1);
    rest2 = static_cast<float>(1 - args.beta2);
    decay_into_gradient = args.decoupled_decay ? 0.0f : static_cast<float>(args.weight_decay);
    decay = args.decoupled_decay ? static_cast<float>(args.learning_rate * args.weight_decay) : 0.0f;
    step = static_cast<float>(args.learning_rate / correction1);
    root = static_cast<float>(1 / std::sqrt(correction2));
    epsilon = static_cast<float>(args.epsilon);
  }

  float gradient, beta1, beta2, rest1, rest2;
  float decay_into_gradient, decay;
  float step, root, epsilon;
};

template <typename Isa>
[[gnu::always_inline]] inline float update(const StepFactors& f, float p, float gradient, float& m,
                                           float& v) {
  const float g = Isa::multiply_add(f.decay_into_gradient, p, gradient * f.gradient);
  m = Isa::multiply_add(f.rest1, g, f.beta1 * m);
  v = Isa::multiply_add(f.rest2 * g, g, f.beta2 * v);
  const float denominator = Isa::multiply_add(std::sqrt(v), f.root, f.epsilon);
  return Isa::multiply_add(-f.step, m / denominator, Isa::multiply_add(-f.decay, p, p));
}

/// Narrow is the type of the 16-bit copy, or float where there is none.
template <typename Narrow>
void update_all(const AdamArgs& args, Narrow* narrow) {
  const StepFactors factors(args);
  float *p = args.parameter.data<float>(), *m = args.exp_avg.data<float>(),
        *v = args.exp_avg_sq.data<float>();
  const float* g = args.gradient.data<float>();
  simd::parallel(
      args.parameter.elements(),
      simd::kFlatGrain, [=](auto isa, int64_t begin, int64_t end) __attribute__((always_inline)) {
        const StepFactors f = factors;
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) {
          p[i] = update<decltype(isa)>(f, p[i], g[i], m[i], v[i]);
          if constexpr (!std::is_same_v<Narrow, float>) simd::store(narrow + i, p[i]);
        }
      });
}

}  // namespace

void adam_update(DeviceContext& device, const AdamArgs& args) {
  const int64_t n = args.parameter.elements();
  check_dtype("parameter", args.parameter, DType::kF32);
  check_vector("exp_avg", args.exp_avg, n, DType::kF32);
  check_vector("exp_avg_sq", args.exp_avg_sq, n, DType::kF32);
  check_vector("gradient", args.gradient, n, DType::kF32);
  ALEPH_CHECK(args.step >= 1, "step {}, expected 1 or more", args.step);
  const DType narrow = args.parameter_16bit ? args.parameter_16bit.dtype() : DType::kF32;
  if (args.parameter_16bit) {
    check_elements("parameter_16bit", args.parameter_16bit, n);
    ALEPH_CHECK(narrow == DType::kBF16 || narrow == DType::kF16,
                "parameter_16bit is {}, expected bf16 or fp16", dtype_name(narrow));
  }
  if (device.meta()) return;
  const KernelTimer timer(device.profile(), KernelKind::kUpdate, 0,
                          2 * bytes_of(args.parameter, args.exp_avg, args.exp_avg_sq) +
                              bytes_of(args.gradient, args.parameter_16bit));
  dispatch_float(narrow, [&](auto element) {
    using T = decltype(element);
    update_all<T>(args, args.parameter_16bit ? args.parameter_16bit.data<T>() : nullptr);
  });
}

}  // namespace aleph::kernels
