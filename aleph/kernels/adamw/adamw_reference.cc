#include <cmath>

#include "aleph/kernels/adamw/adamw.h"
#include "aleph/kernels/reference.h"

namespace aleph::kernels {

void adam_update_reference(const AdamArgs& args) {
  const auto t = static_cast<double>(args.step);
  const double correction1 = args.bias_correction ? 1 - std::pow(args.beta1, t) : 1;
  const double correction2 = args.bias_correction ? 1 - std::pow(args.beta2, t) : 1;
  for (int64_t i = 0; i < args.parameter.elements(); ++i) {
    double p = get(args.parameter, i), g = get(args.gradient, i) * args.gradient_scale;
    if (!args.decoupled_decay) g += args.weight_decay * p;
    const double m = args.beta1 * get(args.exp_avg, i) + (1 - args.beta1) * g;
    const double v = args.beta2 * get(args.exp_avg_sq, i) + (1 - args.beta2) * g * g;
    if (args.decoupled_decay) p -= args.learning_rate * args.weight_decay * p;
    p -= args.learning_rate / correction1 * m / (std::sqrt(v / correction2) + args.epsilon);
    put(args.exp_avg, i, m);
    put(args.exp_avg_sq, i, v);
    put(args.parameter, i, p);
    if (args.parameter_16bit) put(args.parameter_16bit, i, get(args.parameter, i));
  }
}

}  // namespace aleph::kernels
