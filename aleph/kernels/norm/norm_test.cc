#include "aleph/kernels/norm/norm.h"

#include <gtest/gtest.h>

#include "aleph/kernels/testing.h"

namespace aleph::kernels {
namespace {

constexpr int64_t kShapes[][2] = {{1, 1},   {3, 3},     {1, 17},   {17, 63},  {5, 64},
                                  {64, 65}, {127, 127}, {2, 1000}, {200, 48}, {0, 8}};

class NormTest : public testing::LevelTest {};
INSTANTIATE_TEST_SUITE_P(Levels, NormTest, ::testing::ValuesIn(testing::cpu_levels()), testing::level_name);

double forward_tolerance(DType dtype) { return 2e-6 + 2 * testing::epsilon_of(dtype); }

TEST_P(NormTest, LayerNormForwardMatchesTheReference) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [rows, n] : kShapes) {
      for (const bool with_bias : {false, true}) {
        const Tensor x = random({rows, n}, dtype, 3), weight = random({n}, dtype), bias = random({n}, dtype);
        Tensor y = empty({rows, n}, dtype), mean = empty({rows}, DType::kF32),
               rstd = empty({rows}, DType::kF32);
        Tensor y2 = empty({rows, n}, dtype), mean2 = empty({rows}, DType::kF32),
               rstd2 = empty({rows}, DType::kF32);
        LayerNormForwardArgs args{
            .x = x.view(), .weight = weight.view(), .y = y.view(), .mean = mean.view(), .rstd = rstd.view()};
        if (with_bias) args.bias = bias.view();
        layer_norm_forward(device_, args);
        args.y = y2.view(), args.mean = mean2.view(), args.rstd = rstd2.view();
        layer_norm_forward_reference(args);
        testing::expect_close(y.view(), y2.view(), forward_tolerance(dtype), 4e-6, "y");
        testing::expect_close(mean.view(), mean2.view(), 1e-6, 2e-6, "mean");
        testing::expect_close(rstd.view(), rstd2.view(), 2e-6, 0, "rstd");
      }
    }
  }
}

TEST_P(NormTest, LayerNormBackwardMatchesTheReference) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [rows, n] : kShapes) {
      for (const bool with_bias : {false, true}) {
        const Tensor x = random({rows, n}, dtype), weight = random({n}, dtype), dy = random({rows, n}, dtype);
        Tensor mean = random({rows}, DType::kF32, 0.1), rstd = random({rows}, DType::kF32);
        Tensor dx = empty({rows, n}, dtype), dweight = random({n}, DType::kF32),
               dbias = random({n}, DType::kF32);
        Tensor dx2 = empty({rows, n}, dtype), dweight2 = widened(dweight), dbias2 = widened(dbias);
        LayerNormBackwardArgs args{.x = x.view(),
                                   .weight = weight.view(),
                                   .mean = mean.view(),
                                   .rstd = rstd.view(),
                                   .dy = dy.view(),
                                   .dx = dx.view(),
                                   .dweight = dweight.view()};
        if (with_bias) args.dbias = dbias.view();
        layer_norm_backward(device_, args);
        args.dx = dx2.view(), args.dweight = dweight2.view();
        if (with_bias) args.dbias = dbias2.view();
        layer_norm_backward_reference(args);
        testing::expect_close(dx.view(), dx2.view(), forward_tolerance(dtype), 2e-5, "dx");
        testing::expect_close(dweight.view(), dweight2.view(), 1e-6, 1e-6 * static_cast<double>(10 + rows),
                              "dweight");
        testing::expect_close(dbias.view(), dbias2.view(), 1e-6, 1e-6 * static_cast<double>(10 + rows),
                              "dbias");
      }
    }
  }
}

TEST_P(NormTest, RmsNormMatchesTheReference) {
  for (const DType dtype : testing::kFloats) {
    for (const auto& [rows, n] : kShapes) {
      const Tensor x = random({rows, n}, dtype, 3), weight = random({n}, dtype),
                   dy = random({rows, n}, dtype);
      Tensor y = empty({rows, n}, dtype), rstd = empty({rows}, DType::kF32),
             dweight = random({n}, DType::kF32);
      Tensor y2 = empty({rows, n}, dtype), rstd2 = empty({rows}, DType::kF32), dweight2 = widened(dweight);
      rms_norm_forward(device_, {.x = x.view(), .weight = weight.view(), .y = y.view(), .rstd = rstd.view()});
      rms_norm_forward_reference(
          {.x = x.view(), .weight = weight.view(), .y = y2.view(), .rstd = rstd2.view()});
      testing::expect_close(y.view(), y2.view(), forward_tolerance(dtype), 1e-6, "y");
      testing::expect_close(rstd.view(), rstd2.view(), 2e-6, 0, "rstd");
      RmsNormBackwardArgs args{.x = x.view(),
                               .weight = weight.view(),
                               .rstd = rstd.view(),
                               .dy = dy.view(),
                               .dx = y.view(),
                               .dweight = dweight.view()};
      rms_norm_backward(device_, args);
      args.dx = y2.view(), args.dweight = dweight2.view();
      rms_norm_backward_reference(args);
      testing::expect_close(y.view(), y2.view(), forward_tolerance(dtype), 1e-5, "dx");
      testing::expect_close(dweight.view(), dweight2.view(), 1e-6, 1e-6 * static_cast<double>(10 + rows),
                            "dweight");
    }
  }
}

TEST_P(NormTest, GradientsDoNotDependOnThreads) {
  const Tensor x = random({333, 130}, DType::kBF16), weight = random({130}, DType::kBF16),
               dy = random({333, 130}, DType::kBF16);
  const Tensor mean = random({333}, DType::kF32), rstd = random({333}, DType::kF32);
  Tensor dx = empty({333, 130}, DType::kBF16), first = random({130}, DType::kF32), second = copy(first);
  LayerNormBackwardArgs args{.x = x.view(),
                             .weight = weight.view(),
                             .mean = mean.view(),
                             .rstd = rstd.view(),
                             .dy = dy.view(),
                             .dx = dx.view(),
                             .dweight = first.view()};
  layer_norm_backward(device_, args);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(threads == 1 ? 3 : 1);
  args.dweight = second.view();
  layer_norm_backward(device_, args);
  omp_set_num_threads(threads);
  testing::expect_same_bits(first.view(), second.view(), "dweight");
}

TEST_P(NormTest, ReferenceGradientsAreDerivatives) {
  const Shape shape{3, 5};
  Tensor x = widened(random(shape, DType::kF32)), weight = widened(random({5}, DType::kF32)),
         bias = widened(random({5}, DType::kF32));
  const Tensor dy = widened(random(shape, DType::kF32));
  Tensor y = empty(shape, DType::kF64), mean = empty({3}, DType::kF64), rstd = empty({3}, DType::kF64);
  for (const bool layer : {true, false}) {
    const auto loss = [&] {
      if (layer) {
        layer_norm_forward_reference({.x = x.view(),
                                      .weight = weight.view(),
                                      .bias = bias.view(),
                                      .y = y.view(),
                                      .mean = mean.view(),
                                      .rstd = rstd.view()});
      } else {
        rms_norm_forward_reference(
            {.x = x.view(), .weight = weight.view(), .y = y.view(), .rstd = rstd.view()});
      }
      double sum = 0;
      for (int64_t i = 0; i < shape.elements(); ++i) sum += get(y.view(), i) * get(dy.view(), i);
      return sum;
    };
    loss();
    Tensor dx = empty(shape, DType::kF64), dweight = empty({5}, DType::kF64), dbias = empty({5}, DType::kF64);
    for (int64_t j = 0; j < 5; ++j) put(dweight.view(), j, 0), put(dbias.view(), j, 0);
    if (layer) {
      layer_norm_backward_reference({.x = x.view(),
                                     .weight = weight.view(),
                                     .mean = mean.view(),
                                     .rstd = rstd.view(),
                                     .dy = dy.view(),
                                     .dx = dx.view(),
                                     .dweight = dweight.view(),
                                     .dbias = dbias.view()});
      testing::expect_gradient(bias.view(), dbias.view(), loss, "dbias");
    } else {
      rms_norm_backward_reference({.x = x.view(),
                                   .weight = weight.view(),
                                   .rstd = rstd.view(),
                                   .dy = dy.view(),
                                   .dx = dx.view(),
                                   .dweight = dweight.view()});
    }
    testing::expect_gradient(x.view(), dx.view(), loss, "dx");
    testing::expect_gradient(weight.view(), dweight.view(), loss, "dweight");
  }
}

TEST_P(NormTest, RefusesWrongShapes) {
  Tensor x = random({4, 6}, DType::kF32), weight = random({5}, DType::kF32), rows = random({4}, DType::kF32);
  EXPECT_THROW(
      rms_norm_forward(device_, {.x = x.view(), .weight = weight.view(), .y = x.view(), .rstd = rows.view()}),
      InternalError);
  EXPECT_THROW(
      layer_norm_forward(
          device_,
          {.x = x.view(), .weight = weight.view(), .y = x.view(), .mean = rows.view(), .rstd = rows.view()}),
      InternalError);
}

TEST_P(NormTest, PlanningBooksTheSame) {
  testing::expect_same_booking([](DeviceContext& device) {
    Tensor x(device.memory(), {300, 70}, DType::kF32, MemoryTag::kActivations);
    Tensor w(device.memory(), {70}, DType::kF32, MemoryTag::kParameters);
    Tensor mean(device.memory(), {300}, DType::kF32, MemoryTag::kActivations);
    Tensor rstd(device.memory(), {300}, DType::kF32, MemoryTag::kActivations);
    layer_norm_forward(
        device, {.x = x.view(), .weight = w.view(), .y = x.view(), .mean = mean.view(), .rstd = rstd.view()});
    layer_norm_backward(device, {.x = x.view(),
                                 .weight = w.view(),
                                 .mean = mean.view(),
                                 .rstd = rstd.view(),
                                 .dy = x.view(),
                                 .dx = x.view(),
                                 .dweight = w.view(),
                                 .dbias = w.view()});
    rms_norm_forward(device, {.x = x.view(), .weight = w.view(), .y = x.view(), .rstd = rstd.view()});
    rms_norm_backward(device, {.x = x.view(),
                               .weight = w.view(),
                               .rstd = rstd.view(),
                               .dy = x.view(),
                               .dx = x.view(),
                               .dweight = w.view()});
  });
}

}  // namespace
}  // namespace aleph::kernels
