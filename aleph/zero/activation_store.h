// What is kept between forward and backward, moved to its home and back before it is needed.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "aleph/autograd/variable.h"
#include "aleph/zero/home.h"

namespace aleph::zero {

class ActivationStore {
 public:
  /// `home` null: activations stay on the device and every call does nothing.
  ActivationStore(DeviceContext& device, std::unique_ptr<Home> home)
      : device_(device), home_(std::move(home)) {}

  /// Moves the values of `variables` away, under the number of a block. Those that are away already are
  /// skipped.
  void store(int block, const std::vector<autograd::Variable>& variables);
  /// Starts to bring a block's values back.
  void prefetch(int block);
  /// Returns when a block's values are back in their variables.
  void restore(int block);

  HomeStats stats() const { return home_ ? home_->stats() : HomeStats{}; }

 private:
  struct Away {
    autograd::Variable variable;
    Region region;
    Tensor value;  // on its way back
    Ticket ticket;
  };
  struct Write {
    Tensor value;
    Ticket ticket;
  };

  const Region& region(int block, size_t index, int64_t bytes);
  void finish_writes();

  DeviceContext& device_;
  std::map<std::pair<int, size_t>, Region> regions_;  // reserved at first use, kept
  std::map<int, std::vector<Away>> away_;
  std::deque<Write> writes_;
  std::unique_ptr<Home> home_;  // goes first: its moves end before the memory they use
};

}  // namespace aleph::zero
