// What the tape, variables, gradients and pins promise, apart from what operations compute.
#include "aleph/autograd/tape.h"

#include <gmock/gmock.h>

#include <memory>
#include <string>

#include "aleph/autograd/ops.h"
#include "aleph/autograd/parameter.h"
#include "aleph/base/error.h"

namespace aleph::autograd {
namespace {

using ::testing::ElementsAre;

class TapeTest : public ::testing::Test {
 protected:
  Tensor tensor(const std::vector<float>& values) {
    Tensor made(device_.memory(), {static_cast<int64_t>(values.size())}, DType::kF32,
                MemoryTag::kActivations);
    std::copy(values.begin(), values.end(), made.view().data<float>());
    return made;
  }
  Variable variable(const std::vector<float>& values) { return Variable(tensor(values)); }
  static std::vector<float> floats(const Tensor& values) {
    const auto all = values.view().span<float>();
    return {all.begin(), all.end()};
  }
  OpContext recording() { return {.device = device_, .tape = &tape_}; }

  DeviceContext device_{DeviceContext::Options{}};
  Tape tape_;
};

TEST_F(TapeTest, RunsFromTheLastStepToTheFirstAndIsEmptyThen) {
  std::string order;
  EXPECT_TRUE(tape_.empty());
  for (const char name : {'a', 'b', 'c'}) tape_.record({}, [&order, name] { order += name; });
  EXPECT_FALSE(tape_.empty());
  tape_.backward();
  EXPECT_EQ(order, "cba");
  EXPECT_TRUE(tape_.empty());
  tape_.backward();
  EXPECT_EQ(order, "cba") << "nothing runs twice";
}

TEST_F(TapeTest, ReleasesEachStepAsSoonAsItHasRun) {
  auto token = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = token;
  bool alive_in_first = true, alive_in_second = false;
  tape_.record({}, [&] { alive_in_first = !watched.expired(); });
  tape_.record({}, [&alive_in_second, held = std::move(token)] { alive_in_second = held != nullptr; });
  tape_.backward();
  EXPECT_TRUE(alive_in_second);
  EXPECT_FALSE(alive_in_first) << "the step behind has let go of what it held";
}

TEST_F(TapeTest, WhatIsSavedLivesUntilItsStepHasRun) {
  const int64_t before = device_.memory().ledger().live();
  int64_t in_last = 0, in_first = 0;
  tape_.record({}, [&] { in_first = device_.memory().ledger().live(); });
  tape_.record({variable({1, 2, 3})}, [&] { in_last = device_.memory().ledger().live(); });
  EXPECT_GT(device_.memory().ledger().live(), before);
  tape_.backward();
  EXPECT_GT(in_last, before);
  EXPECT_EQ(in_first, before);
}

TEST_F(TapeTest, AStepThatFailsEndsBackwardAndTheTapeCanGo) {
  bool ran = false;
  tape_.record({variable({1})}, [&] { ran = true; });
  tape_.record({}, [] { throw Error("memory", "no room", "room"); });
  EXPECT_THROW(tape_.backward(), Error);
  EXPECT_FALSE(ran);
  tape_ = Tape();
  EXPECT_EQ(device_.memory().ledger().live(), 0);
}

TEST_F(TapeTest, VisitsEverySavedValueOnceInOrderWhileItIsThere) {
  const Variable a = variable({1}), b = variable({2}), c = variable({3});
  tape_.record({a, b}, [] {});
  tape_.record({b, c}, [] {});
  const auto visited = [&] {
    std::vector<float> values;
    tape_.for_each_saved([&](const Variable& v) { values.push_back(v.value().data<float>()[0]); });
    return values;
  };
  EXPECT_THAT(visited(), ElementsAre(1, 2, 3)) << "b is saved by two steps and visited once";
  Tensor away = b.take_value();
  EXPECT_THAT(visited(), ElementsAre(1, 3)) << "b is somewhere else";
  b.restore_value(std::move(away));
  EXPECT_THAT(visited(), ElementsAre(1, 2, 3));
}

TEST_F(TapeTest, ValuesMoveAwayAndBackUnderEveryHandle) {
  const Variable x = variable({1, 2});
  const Variable same = x;
  Tensor value = x.take_value();
  EXPECT_FALSE(same.has_value());
  EXPECT_EQ(same.shape(), Shape({2}));
  EXPECT_EQ(same.dtype(), DType::kF32);
  EXPECT_THROW((void)same.take_value(), InternalError);
  EXPECT_THROW(same.restore_value(tensor({1, 2, 3})), InternalError);
  same.restore_value(std::move(value));
  EXPECT_EQ(x.value().data<float>()[1], 2);
  EXPECT_TRUE(x.has_value() && static_cast<bool>(x));
  EXPECT_FALSE(static_cast<bool>(Variable()));
}

TEST_F(TapeTest, GradientsAddUpAreTakenOnceAndStartAgain) {
  const Variable x = variable({0, 0});
  EXPECT_FALSE(static_cast<bool>(x.gradient()));
  EXPECT_THROW((void)x.gradient().take(), InternalError);
  Tensor first = tensor({1, 2});
  const std::byte* memory = first.view().raw();
  x.gradient().add(device_, std::move(first));
  x.gradient().add(device_, tensor({10, 20}));
  const Gradient handle = x.gradient();
  const Tensor sum = handle.take();
  EXPECT_EQ(sum.view().raw(), memory) << "the first one is kept";
  EXPECT_THAT(floats(sum), ElementsAre(11, 22));
  EXPECT_FALSE(static_cast<bool>(x.gradient()));
  x.gradient().add(device_, tensor({5, 6}));
  EXPECT_THAT(floats(x.gradient().take()), ElementsAre(5, 6));
}

TEST_F(TapeTest, GradientsHaveTheShapeAndTypeOfTheirValue) {
  const Variable x = variable({0, 0});
  EXPECT_THROW(x.gradient().add(device_, tensor({1})), InternalError);
  Tensor half(device_.memory(), {2}, DType::kBF16, MemoryTag::kActivations);
  EXPECT_THROW(x.gradient().add(device_, std::move(half)), InternalError);
}

TEST_F(TapeTest, AValueUsedManyTimesGathersAllItsGradients) {
  const Variable x = variable({3, -1});
  const Variable twice = add(recording(), x, x);
  const Variable four = add(recording(), twice, twice);
  const Variable five = add(recording(), x, four);
  five.gradient().add(device_, tensor({1, 10}));
  tape_.backward();
  EXPECT_THAT(floats(x.gradient().take()), ElementsAre(5, 50));
}

TEST_F(TapeTest, AnOutputNobodyUsedFailsLoudly) {
  const Variable x = variable({1});
  (void)activation(recording(), x, kernels::Activation::kTanh);
  EXPECT_THROW(tape_.backward(), InternalError);
}

TEST_F(TapeTest, WithoutATapeOperationsKeepNothing) {
  const int64_t before = device_.memory().ledger().live();
  { (void)activation({.device = device_}, variable({1, 2, 3}), kernels::Activation::kGelu); }
  EXPECT_EQ(device_.memory().ledger().live(), before);
  EXPECT_TRUE(tape_.empty());
}

/// Counts pins, and binds each parameter to memory of its own.
class CountingStore final : public ParameterStore {
 public:
  void pin(std::span<Parameter* const> parameters, PinMode mode) override {
    if (fails) throw Error("read", "EIO", "bytes");
    for (Parameter* parameter : parameters) {
      const auto n = static_cast<size_t>(parameter->shape.elements());
      memory_.push_back(std::make_unique<std::vector<float>>(n));
      const TensorView view = view_of<float>(std::span(*memory_.back()), parameter->shape);
      if (mode != PinMode::kGradient) parameter->value = view;
      if (mode != PinMode::kValue) parameter->gradient = view;
    }
    ++pins;
  }
  void unpin(std::span<Parameter* const> parameters, PinMode mode) override {
    for (Parameter* parameter : parameters) parameter->value = parameter->gradient = TensorView();
    ++unpins;
    last_mode = mode;
  }
  int pins = 0, unpins = 0;
  bool fails = false;
  PinMode last_mode = PinMode::kValue;

 private:
  std::vector<std::unique_ptr<std::vector<float>>> memory_;
};

class PinTest : public ::testing::Test {
 protected:
  bool bound() const { return a_.value || a_.gradient || b_.value || b_.gradient; }
  Parameter a_{.name = "a", .shape = {2, 3}}, b_{.name = "b", .shape = {4}};
  std::vector<Parameter*> both_ = {&a_, &b_};
  CountingStore store_;
};

TEST_F(PinTest, ReleaseUnpinsOnceInTheModeOfThePin) {
  for (const PinMode mode : {PinMode::kValue, PinMode::kGradient, PinMode::kValueAndGradient}) {
    CountingStore store;
    {
      Pin pin(store, both_, mode);
      EXPECT_EQ(static_cast<bool>(a_.value), mode != PinMode::kGradient);
      EXPECT_EQ(static_cast<bool>(b_.gradient), mode != PinMode::kValue);
      pin.release();
      EXPECT_FALSE(bound());
    }
    EXPECT_EQ(store.pins, 1);
    EXPECT_EQ(store.unpins, 1);
    EXPECT_EQ(store.last_mode, mode);
  }
}

TEST_F(PinTest, AnExceptionUnbindsWithoutReportingGradients) {
  EXPECT_THROW(
      {
        const Pin pin(store_, both_, PinMode::kValueAndGradient);
        throw Error("kernel", "a failure", "none");
      },
      Error);
  EXPECT_FALSE(bound()) << "no view outlives its pin";
  EXPECT_EQ(store_.unpins, 0) << "gradients of half a pass are not complete";
}

TEST_F(PinTest, AStoreThatFailsLeavesNothingBound) {
  store_.fails = true;
  EXPECT_THROW(Pin(store_, both_, PinMode::kValue), Error);
  EXPECT_FALSE(bound());
  EXPECT_EQ(store_.unpins, 0);
}

TEST_F(PinTest, MatricesAreWhatHasRowsAndColumns) {
  EXPECT_TRUE(a_.is_matrix());
  EXPECT_FALSE(b_.is_matrix());
}

}  // namespace
}  // namespace aleph::autograd
