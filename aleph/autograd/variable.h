// Values on the tape. Handles: copies share one tensor. A value and its gradient live separately, so that a
// backward step can hold on to the one without the other.
#pragma once

#include <memory>
#include <utility>

#include "aleph/tensor/device.h"
#include "aleph/tensor/tensor.h"

namespace aleph::autograd {

/// Where the gradient of one value is gathered.
class Gradient {
 public:
  Gradient() = default;
  Gradient(const Shape& shape, DType dtype) : state_(std::make_shared<State>(State{shape, dtype, {}})) {}

  /// Adds (the first one is kept as it is). Shape and dtype equal those of the value.
  void add(DeviceContext& device, Tensor gradient) const;
  /// Moves the complete gradient out; ALEPH_CHECKs that there is one.
  Tensor take() const;
  explicit operator bool() const { return state_ != nullptr && static_cast<bool>(state_->sum); }

 private:
  struct State {
    Shape shape;
    DType dtype;
    Tensor sum;
  };
  std::shared_ptr<State> state_;
};

/// A tensor computed by an operation.
class Variable {
 public:
  Variable() = default;
  explicit Variable(Tensor value)
      : gradient_(value.shape(), value.dtype()), value_(std::make_shared<Tensor>(std::move(value))) {}

  explicit operator bool() const { return value_ != nullptr; }
  TensorView value() const { return value_->view(); }
  const Gradient& gradient() const { return gradient_; }
  const Shape& shape() const { return value_->shape(); }
  DType dtype() const { return value_->dtype(); }

  /// Moves the tensor out, to be kept on another tier, and back. Shape and dtype stay readable in between.
  Tensor take_value() const;
  void restore_value(Tensor value) const;
  bool has_value() const { return static_cast<bool>(*value_); }
  /// Equal for handles of the same tensor.
  const void* identity() const { return value_.get(); }

 private:
  Gradient gradient_;
  std::shared_ptr<Tensor> value_;
};

}  // namespace aleph::autograd
