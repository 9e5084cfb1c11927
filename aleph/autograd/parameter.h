// Parameters, and the interface to whoever keeps them. Nothing but a store touches parameter memory: everyone
// else asks for a pin, uses the views it binds, and returns it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "aleph/tensor/tensor.h"

namespace aleph::autograd {

enum class InitKind : uint8_t { kZeros, kOnes, kNormal };

/// How a parameter starts when training from random weights.
struct Initializer {
  InitKind kind = InitKind::kZeros;
  float std = 0;  ///< of kNormal, mean 0
};

/// One named parameter of a layer. The views are bound by a store between pin and unpin, and empty otherwise.
struct Parameter {
  std::string name;  ///< unique in the model, stable across runs: keys checkpoints and initial random numbers
  Shape shape;
  Initializer init;
  TensorView value;     ///< [shape]; the training dtype
  TensorView gradient;  ///< [shape]; fp32; backward adds into it

  /// Weight decay applies to matrices; biases and norm weights stay free of it.
  bool is_matrix() const { return shape.rank() >= 2; }
};

enum class PinMode : uint8_t {
  kValue,             ///< forward
  kValueAndGradient,  ///< backward: the gradient starts at zero
  kGradient,          ///< backward that does not read the value (table look-up)
};

/// Gathers, binds and releases. One thread pins; what a store does behind (prefetching) is its own business.
class ParameterStore {
 public:
  virtual ~ParameterStore() = default;
  /// Binds `value` and `gradient` of each parameter as `mode` says. May block until the values have arrived.
  virtual void pin(std::span<Parameter* const> parameters, PinMode mode) = 0;
  /// Unbinds. With a gradient mode this also says that the gradients of this use are complete.
  virtual void unpin(std::span<Parameter* const> parameters, PinMode mode) = 0;
};

/// Pins for a scope. release() returns it with errors reported; the destructor does so without a gradient
/// when a scope is left by an exception.
class Pin {
 public:
  Pin(ParameterStore& store, std::span<Parameter* const> parameters, PinMode mode)
      : store_(&store), parameters_(parameters), mode_(mode) {
    store.pin(parameters, mode);
  }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  ~Pin() {
    for (Parameter* parameter : parameters_) parameter->value = parameter->gradient = TensorView();
  }
  /// Ends the use: gradients are complete.
  void release() {
    store_->unpin(parameters_, mode_);
    parameters_ = {};
  }

 private:
  ParameterStore* store_;
  std::span<Parameter* const> parameters_;
  PinMode mode_;
};

}  // namespace aleph::autograd
