#include "aleph/autograd/tape.h"

#include <set>
#include <utility>

namespace aleph::autograd {

void Tape::record(std::vector<Variable> saved, std::function<void()> backward) {
  steps_.push_back({std::move(saved), std::move(backward)});
}

void Tape::backward() {
  while (!steps_.empty()) {
    const Step step = std::move(steps_.back());
    steps_.pop_back();
    step.backward();
  }
}

void Tape::for_each_saved(const std::function<void(const Variable&)>& visit) const {
  std::set<const void*> seen;
  for (const Step& step : steps_) {
    for (const Variable& variable : step.saved) {
      if (variable.has_value() && seen.insert(variable.identity()).second) visit(variable);
    }
  }
}

}  // namespace aleph::autograd
