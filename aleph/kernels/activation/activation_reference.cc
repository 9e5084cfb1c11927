#include <cmath>
#include <numbers>

#include "aleph/kernels/activation/activation.h"
#include "aleph/kernels/checks.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {
namespace {

const double kTanhFactor = std::sqrt(2 / std::numbers::pi);

double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
double normal_density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }

double value(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return x * normal_cdf(x);
    case Activation::kGeluTanh:
      return x / 2 * (1 + std::tanh(kTanhFactor * (x + 0.044715 * x * x * x)));
    case Activation::kQuickGelu:
      return x * logistic(1.702 * x);
    case Activation::kSilu:
      return x * logistic(x);
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kReluSquared:
      return x < 0 ? 0 : x * x;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kSigmoid:
      return logistic(x);
    case Activation::kIdentity:
      return x;
  }
  ALEPH_CHECK(false, "unknown activation {}", static_cast<int>(activation));
}

double logistic_slope(double x, double factor) {
  const double s = logistic(factor * x);
  return s + factor * x * s * (1 - s);
}

double slope(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return normal_cdf(x) + x * normal_density(x);
    case Activation::kGeluTanh: {
      const double t = std::tanh(kTanhFactor * (x + 0.044715 * x * x * x));
      return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * kTanhFactor * (1 + 3 * 0.044715 * x * x);
    }
    case Activation::kQuickGelu:
      return logistic_slope(x, 1.702);
    case Activation::kSilu:
      return logistic_slope(x, 1);
    case Activation::kRelu:
      return x > 0 ? 1 : 0;
    case Activation::kReluSquared:
      return x > 0 ? 2 * x : 0;
    case Activation::kTanh:
      return 1 - std::tanh(x) * std::tanh(x);
    case Activation::kSigmoid:
      return logistic(x) * (1 - logistic(x));
    case Activation::kIdentity:
      return 1;
  }
  ALEPH_CHECK(false, "unknown activation {}", static_cast<int>(activation));
}

}  // namespace

void activation_forward_reference(const ActivationForwardArgs& args) {
  for (int64_t i = 0; i < args.x.elements(); ++i) put(args.y, i, value(args.activation, get(args.x, i)));
}

void activation_backward_reference(const ActivationBackwardArgs& args) {
  for (int64_t i = 0; i < args.x.elements(); ++i) {
    put(args.dx, i, get(args.dy, i) * slope(args.activation, get(args.x, i)));
  }
}

void gated_forward_reference(const GatedForwardArgs& args) {
  const int64_t n = columns_of("y", args.y);
  for (int64_t i = 0; i < args.y.elements(); ++i) {
    const int64_t gate = i / n * 2 * n + i % n;
    put(args.y, i, value(args.activation, get(args.x, gate)) * get(args.x, gate + n));
  }
}

void gated_backward_reference(const GatedBackwardArgs& args) {
  const int64_t n = columns_of("dy", args.dy);
  for (int64_t i = 0; i < args.dy.elements(); ++i) {
    const int64_t gate = i / n * 2 * n + i % n;
    const double dy = get(args.dy, i), x = get(args.x, gate), up = get(args.x, gate + n);
    put(args.dx, gate, dy * up * slope(args.activation, x));
    put(args.dx, gate + n, dy * value(args.activation, x));
  }
}

}  // namespace aleph::kernels
