#include "aleph/kernels/embedding/embedding.h"

#include <gtest/gtest.h>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

struct Case {
  int64_t tokens, vocabulary, n;
};
constexpr Case kCases[] = {{1, 1, 1},      {3, 7, 17},     {64, 5, 63}, {127, 100, 64},
                           {1000, 30, 65}, {40, 11, 1000}, {0, 3, 4}};

class EmbeddingTest : public testing::LevelTest {};
INSTANTIATE_TEST_SUITE_P(Levels, EmbeddingTest, ::testing::ValuesIn(testing::cpu_levels()),
                         testing::level_name);

TEST_P(EmbeddingTest, ForwardCopiesOrAddsRows) {
  for (const DType dtype : testing::kFloats) {
    for (const Case& c : kCases) {
      for (const bool accumulate : {false, true}) {
        const Tensor table = random({c.vocabulary, c.n}, dtype), ids = random_ids(c.tokens, c.vocabulary);
        Tensor y = random({c.tokens, c.n}, dtype), expected = copy(y);
        embedding_forward(
            device_, {.ids = ids.view(), .table = table.view(), .y = y.view(), .accumulate = accumulate});
        embedding_forward_reference(
            {.ids = ids.view(), .table = table.view(), .y = expected.view(), .accumulate = accumulate});
        testing::expect_same_bits(y.view(), expected.view(), "y");
      }
    }
  }
}

TEST_P(EmbeddingTest, BackwardAddsInTokenOrderForAnyThreads) {
  for (const DType dtype : testing::kFloats) {
    for (const Case& c : kCases) {
      for (const int64_t padding : {int64_t{-1}, int64_t{0}}) {
        const Tensor dy = random({c.tokens, c.n}, dtype), ids = random_ids(c.tokens, c.vocabulary);
        const Tensor start = random({c.vocabulary, c.n}, DType::kF32);
        Tensor dtable = copy(start), expected = copy(start);
        embedding_backward(
            device_, {.ids = ids.view(), .dy = dy.view(), .dtable = dtable.view(), .padding_id = padding});
        embedding_backward_reference(
            {.ids = ids.view(), .dy = dy.view(), .dtable = expected.view(), .padding_id = padding});
        testing::expect_same_bits(dtable.view(), expected.view(), "dtable");  // one fp32 addition per token
      }
    }
  }
}

TEST_P(EmbeddingTest, NamesTheTokenThatIsOutsideTheTable) {
  Tensor ids = random_ids(5, 4);
  const Tensor table = random({4, 3}, DType::kF32);
  Tensor y = empty({5, 3}, DType::kF32), dtable = random({4, 3}, DType::kF32);
  for (const int32_t bad : {4, -1}) {
    ids.view().data<int32_t>()[2] = bad;
    try {
      embedding_forward(device_, {.ids = ids.view(), .table = table.view(), .y = y.view()});
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(fmt::format("token 2: found id {}", bad)), std::string::npos)
          << error.what();
    }
    EXPECT_THROW(embedding_backward(device_, {.ids = ids.view(), .dy = y.view(), .dtable = dtable.view()}),
                 Error);
  }
}

TEST_P(EmbeddingTest, RefusesWrongShapes) {
  const Tensor ids = random_ids(5, 4), table = random({4, 3}, DType::kF32);
  Tensor y = empty({5, 4}, DType::kF32), short_y = empty({4, 3}, DType::kF32);
  EXPECT_THROW(embedding_forward(device_, {.ids = ids.view(), .table = table.view(), .y = y.view()}),
               InternalError);
  EXPECT_THROW(embedding_forward(device_, {.ids = ids.view(), .table = table.view(), .y = short_y.view()}),
               InternalError);
}

TEST_P(EmbeddingTest, PlanningNeedsNoIds) {
  DeviceContext meta({.kind = DeviceKind::kMeta});
  Tensor ids(meta.memory(), {9}, DType::kI32, MemoryTag::kActivations);
  Tensor table(meta.memory(), {4, 3}, DType::kF32, MemoryTag::kParameters);
  Tensor y(meta.memory(), {9, 3}, DType::kF32, MemoryTag::kActivations);
  embedding_forward(meta, {.ids = ids.view(), .table = table.view(), .y = y.view()});
  embedding_backward(meta, {.ids = ids.view(), .dy = y.view(), .dtable = table.view()});
  EXPECT_EQ(meta.memory().ledger().peak(MemoryTag::kWorkspace), 0);
}

}  // namespace
}  // namespace aleph::kernels
