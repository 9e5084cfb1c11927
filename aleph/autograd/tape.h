// The eager tape: differentiable operations append what undoes them, backward runs it in reverse.
#pragma once

#include <functional>
#include <vector>

#include "aleph/autograd/variable.h"

namespace aleph::autograd {

class Tape {
 public:
  /// Appends the backward step of one operation. `saved` names the variables whose values the step reads;
  /// they stay alive until it has run.
  void record(std::vector<Variable> saved, std::function<void()> backward);

  /// Runs all steps from the last to the first. Each step and what it saved is released as soon as it has
  /// run.
  void backward();

  /// Calls `visit` once for every saved variable that still holds its value, in order of recording: the
  /// memory between forward and backward, which may be moved to another tier and restored before backward().
  void for_each_saved(const std::function<void(const Variable&)>& visit) const;
  bool empty() const { return steps_.empty(); }

 private:
  struct Step {
    std::vector<Variable> saved;
    std::function<void()> backward;
  };
  std::vector<Step> steps_;
};

}  // namespace aleph::autograd
