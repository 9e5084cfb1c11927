#include "aleph/zero/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "aleph/zero/testing.h"

namespace aleph::zero {
namespace {

using autograd::Parameter;

/// A model with odd sizes: hidden and intermediate sizes, vocabulary and depth drawn at random.
nn::Model::Options odd_model(uint64_t seed) {
  const RandomStream random({.seed = seed});
  const auto draw = [&](uint64_t n, uint64_t position) {
    return static_cast<int64_t>(random.below(n, 2 * position)) + 1;
  };
  const int64_t hidden = 2 * draw(19, 0), vocabulary = draw(101, 1);
  nn::Model::Options options{
      .embedding = {.vocab_size = vocabulary, .hidden_size = hidden, .learned_positions = draw(9, 2) - 1},
      .blocks = {},
      .head = {.vocab_size = vocabulary, .hidden_size = hidden, .tied = seed % 2 == 0, .output_bias = true},
      .max_seq = 8};
  for (int64_t i = 0; i < draw(3, 3); ++i) {
    options.blocks.push_back({.hidden_size = hidden,
                              .intermediate_size = draw(53, 4),
                              .heads = 1,
                              .kv_heads = 1,
                              .head_dim = hidden,
                              .norm = seed % 3 == 0 ? nn::NormKind::kRmsNorm : nn::NormKind::kLayerNorm,
                              .gated_mlp = seed % 5 == 0,
                              .qkv_bias = seed % 7 != 0});
  }
  return options;
}

class PartitionOfWorlds : public ::testing::TestWithParam<int> {
 protected:
  template <typename Body>
  void for_each_model(const Body& body) {
    for (uint64_t seed = 0; seed < 12; ++seed) {
      DeviceContext device({.kind = DeviceKind::kMeta});
      const nn::Model model(device, odd_model(seed));
      body(model, UnitTable(model, GetParam()));
    }
  }
};

TEST_P(PartitionOfWorlds, EveryParameterLiesInOneUnitAndOverlapsNone) {
  for_each_model([&](const nn::Model& model, const UnitTable& table) {
    std::set<const Parameter*> seen;
    for (const Unit& unit : table.units()) {
      ASSERT_EQ(&unit - table.units().data(), unit.index);
      int64_t end = 0;
      for (const UnitPiece& piece : unit.pieces) {
        ASSERT_TRUE(seen.insert(piece.parameter).second) << piece.parameter->name << " twice";
        ASSERT_EQ(&table.unit_of(piece.parameter), &unit);
        ASSERT_EQ(piece.begin % 64, 0);
        ASSERT_GE(piece.begin, end);
        ASSERT_LT(piece.begin - end, 64) << "gaps are no larger than alignment makes them";
        end = piece.range().end;
        ASSERT_EQ(piece.range().size(), piece.parameter->shape.elements());
      }
      ASSERT_LE(end, unit.elements);
      ASSERT_LT(unit.elements - end, kShardAlignment * GetParam() + 64) << "padding is less than one row";
    }
    const std::vector<Parameter*> all = model.parameters();
    ASSERT_EQ(seen, std::set<const Parameter*>(all.begin(), all.end()));
  });
}

TEST_P(PartitionOfWorlds, ShardsOfAllRanksHoldEveryElementOnce) {
  const int world = GetParam();
  for_each_model([&](const nn::Model& model, const UnitTable& table) {
    int64_t elements = 0;
    for (const Unit& unit : table.units()) {
      int64_t end = 0;
      for (int rank = 0; rank < world; ++rank) {
        const Range shard = unit.shard(rank, world);
        ASSERT_EQ(shard.begin, end);
        ASSERT_EQ(shard.size(), unit.shard_elements(world));
        ASSERT_EQ(shard.size() % kShardAlignment, 0);
        end = shard.end;
      }
      ASSERT_EQ(end, unit.elements);
      for (const UnitPiece& piece : unit.pieces) {
        int64_t held = 0, next = piece.begin;
        for (int rank = 0; rank < world; ++rank) {
          const Range part = intersect(piece.range(), unit.shard(rank, world));
          if (part.size() == 0) continue;
          ASSERT_EQ(part.begin, next) << "parts follow each other";
          next = part.end;
          held += part.size();
        }
        ASSERT_EQ(held, piece.parameter->shape.elements());
        elements += held;
      }
    }
    int64_t expected = 0;
    for (const Parameter* parameter : model.parameters()) expected += parameter->shape.elements();
    ASSERT_EQ(elements, expected);
    ASSERT_EQ(table.world_size(), world);
  });
}

TEST_P(PartitionOfWorlds, UnitsOfBlocksComeInOrderAndCountTheirUses) {
  for_each_model([&](const nn::Model& model, const UnitTable& table) {
    std::vector<int64_t> uses(table.units().size(), 0);
    for (const auto& block : model.blocks()) {
      const std::vector<Parameter*> parameters = block->parameters();
      const std::vector<int> units = table.units_of(parameters);
      ASSERT_EQ(std::set<int>(units.begin(), units.end()).size(), units.size()) << "distinct";
      size_t next = 0;
      for (const Parameter* parameter : parameters) {
        const int unit = table.unit_of(parameter).index;
        const auto found = std::find(units.begin(), units.end(), unit);
        ASSERT_NE(found, units.end());
        ASSERT_LE(found - units.begin(), static_cast<ptrdiff_t>(next)) << "in order of first appearance";
        if (found - units.begin() == static_cast<ptrdiff_t>(next)) ++next;
      }
      ASSERT_EQ(next, units.size());
      for (const int unit : units) ++uses[static_cast<size_t>(unit)];
    }
    for (const Unit& unit : table.units()) ASSERT_EQ(unit.uses, uses[static_cast<size_t>(unit.index)]);
  });
}

INSTANTIATE_TEST_SUITE_P(Sizes, PartitionOfWorlds, ::testing::Values(1, 2, 3, 5, 8, 13, 64));

TEST(PartitionRangesTest, IntersectionIsThatOfTheSets) {
  for (int64_t a = 0; a < 5; ++a) {
    for (int64_t b = a; b < 6; ++b) {
      for (int64_t c = 0; c < 5; ++c) {
        for (int64_t d = c; d < 6; ++d) {
          const Range both = intersect({a, b}, {c, d});
          int64_t expected = 0;
          for (int64_t i = 0; i < 6; ++i) expected += i >= a && i < b && i >= c && i < d ? 1 : 0;
          ASSERT_EQ(both.size(), expected) << a << " " << b << " " << c << " " << d;
          if (expected > 0) {
            ASSERT_EQ(both.begin, std::max(a, c));
          }
        }
      }
    }
  }
  EXPECT_EQ((Range{5, 2}).size(), 0) << "an empty range has no negative size";
}

TEST(PartitionTableTest, UntiedModelsShareNothing) {
  DeviceContext device({.kind = DeviceKind::kMeta});
  const nn::Model tied(device, testing::small_model(true)), untied(device, testing::small_model(false));
  const UnitTable shared(tied, 2), apart(untied, 2);
  EXPECT_EQ(shared.units().size(), tied.blocks().size() + 1);
  EXPECT_EQ(apart.units().size(), untied.blocks().size());
  for (const Unit& unit : apart.units()) EXPECT_EQ(unit.uses, 1);
}

}  // namespace
}  // namespace aleph::zero
