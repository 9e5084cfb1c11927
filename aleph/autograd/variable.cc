#include "aleph/autograd/variable.h"

#include "aleph/kernels/elementwise/elementwise.h"

namespace aleph::autograd {

void Gradient::add(DeviceContext& device, Tensor gradient) const {
  ALEPH_CHECK(gradient.shape() == state_->shape && gradient.dtype() == state_->dtype,
              "gradient {} {} of value {} {}", gradient.shape().to_string(), dtype_name(gradient.dtype()),
              state_->shape.to_string(), dtype_name(state_->dtype));
  Tensor& sum = state_->sum;
  if (!sum) {
    sum = std::move(gradient);
  } else {
    kernels::add(device, sum.view(), gradient.view(), sum.view());
  }
}

Tensor Gradient::take() const {
  ALEPH_CHECK(*this, "no gradient");
  return std::move(state_->sum);
}

Tensor Variable::take_value() const {
  ALEPH_CHECK(has_value(), "value of {} taken twice", shape().to_string());
  return std::exchange(*value_, Tensor::without_memory(value_->shape(), value_->dtype()));
}

void Variable::restore_value(Tensor value) const {
  ALEPH_CHECK(value.shape() == shape() && value.dtype() == dtype(), "{} restored as {}", shape().to_string(),
              value.shape().to_string());
  *value_ = std::move(value);
}

}  // namespace aleph::autograd
