// Ranks and what they exchange.
#pragma once

#include <cstdint>

#include "aleph/tensor/tensor.h"

namespace aleph::comm {

/// A group of ranks. Collectives are called by every rank in the same order and block until this rank's part
/// is done. Reduction adds in rank order, so results do not depend on timing.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// `all` [size * n] holds this rank's n elements at rank * n; afterwards it holds everybody's.
  virtual void all_gather(const TensorView& all) = 0;
  /// `all` [size * n], fp32: afterwards the n elements at rank * n are the sums over ranks; the others are
  /// undefined.
  virtual void reduce_scatter(const TensorView& all) = 0;
  /// Sum over ranks, in double.
  virtual double all_reduce_sum(double value) = 0;
  /// Largest value of any rank.
  virtual double all_reduce_max(double value) = 0;
  virtual void barrier() = 0;
};

/// One rank alone.
class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_gather(const TensorView& /*all*/) override {}
  void reduce_scatter(const TensorView& /*all*/) override {}
  double all_reduce_sum(double value) override { return value; }
  double all_reduce_max(double value) override { return value; }
  void barrier() override {}
};

}  // namespace aleph::comm
