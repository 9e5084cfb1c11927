#include "aleph/comm/communicator.h"

#include <gtest/gtest.h>

#include <vector>

#include "aleph/base/random.h"

namespace aleph::comm {
namespace {

// With one rank, what everybody holds is what this rank holds, and sums are its own values: to the last bit.
TEST(SelfCommunicator, LeavesEverythingAsItIs) {
  SelfCommunicator self;
  Communicator& communicator = self;
  EXPECT_EQ(communicator.rank(), 0);
  EXPECT_EQ(communicator.size(), 1);
  const RandomStream random({.seed = 3});
  std::vector<float> values(37);
  for (size_t i = 0; i < values.size(); ++i) values[i] = random.normal(4 * i);
  const std::vector<float> before = values;
  const TensorView all = view_of(std::span(values), Shape{37});
  communicator.all_gather(all);
  EXPECT_EQ(values, before);
  communicator.reduce_scatter(all);
  EXPECT_EQ(values, before);
  for (const double value : {0.1, -3e300, 0.0}) {
    EXPECT_EQ(communicator.all_reduce_sum(value), value);
    EXPECT_EQ(communicator.all_reduce_max(value), value);
  }
  communicator.barrier();
}

}  // namespace
}  // namespace aleph::comm
