#include <cmath>

#include "aleph/kernels/checks.h"
#include "aleph/kernels/norm/norm.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {

void layer_norm_forward_reference(const LayerNormForwardArgs& args) {
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  for (int64_t row = 0; row < rows; ++row) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < n; ++j) mean += get(args.x, row * n + j) / static_cast<double>(n);
    for (int64_t j = 0; j < n; ++j) {
      variance += std::pow(get(args.x, row * n + j) - mean, 2) / static_cast<double>(n);
    }
    const double rstd = 1 / std::sqrt(variance + args.epsilon);
    put(args.mean, row, mean);
    put(args.rstd, row, rstd);
    for (int64_t j = 0; j < n; ++j) {
      const double normal = (get(args.x, row * n + j) - mean) * rstd;
      put(args.y, row * n + j, normal * get(args.weight, j) + (args.bias ? get(args.bias, j) : 0));
    }
  }
}

void layer_norm_backward_reference(const LayerNormBackwardArgs& args) {
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  for (int64_t row = 0; row < rows; ++row) {
    const double mean = get(args.mean, row), rstd = get(args.rstd, row);
    double mean_g = 0, mean_gx = 0;  // of g = dy weight and of g xhat
    for (int64_t j = 0; j < n; ++j) {
      const double g = get(args.dy, row * n + j) * get(args.weight, j);
      mean_g += g / static_cast<double>(n);
      mean_gx += g * (get(args.x, row * n + j) - mean) * rstd / static_cast<double>(n);
    }
    for (int64_t j = 0; j < n; ++j) {
      const double dy = get(args.dy, row * n + j), normal = (get(args.x, row * n + j) - mean) * rstd;
      put(args.dx, row * n + j, rstd * (dy * get(args.weight, j) - mean_g - normal * mean_gx));
      put(args.dweight, j, get(args.dweight, j) + dy * normal);
      if (args.dbias) put(args.dbias, j, get(args.dbias, j) + dy);
    }
  }
}

void rms_norm_forward_reference(const RmsNormForwardArgs& args) {
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  for (int64_t row = 0; row < rows; ++row) {
    double square = 0;
    for (int64_t j = 0; j < n; ++j) square += std::pow(get(args.x, row * n + j), 2) / static_cast<double>(n);
    const double rstd = 1 / std::sqrt(square + args.epsilon);
    put(args.rstd, row, rstd);
    for (int64_t j = 0; j < n; ++j) {
      put(args.y, row * n + j, get(args.x, row * n + j) * rstd * get(args.weight, j));
    }
  }
}

void rms_norm_backward_reference(const RmsNormBackwardArgs& args) {
  const int64_t n = columns_of("x", args.x), rows = rows_of("x", args.x);
  for (int64_t row = 0; row < rows; ++row) {
    const double rstd = get(args.rstd, row);
    double mean_gx = 0;
    for (int64_t j = 0; j < n; ++j) {
      mean_gx += get(args.dy, row * n + j) * get(args.weight, j) * get(args.x, row * n + j) * rstd /
                 static_cast<double>(n);
    }
    for (int64_t j = 0; j < n; ++j) {
      const double dy = get(args.dy, row * n + j), normal = get(args.x, row * n + j) * rstd;
      put(args.dx, row * n + j, rstd * (dy * get(args.weight, j) - normal * mean_gx));
      put(args.dweight, j, get(args.dweight, j) + dy * normal);
    }
  }
}

}  // namespace aleph::kernels
