#include "aleph/text/function_ref.h"

#include "aleph/text/testing.h"

namespace aleph::text {
namespace {

int twice(FunctionRef<int(int)> function, int value) { return function(function(value)); }

TEST(FunctionRefTest, CallsLambdas) {
  EXPECT_EQ(twice([](int value) { return value * 5; }, 2), 50);
  EXPECT_EQ(twice([by = 3](int value) { return value + by; }, 1), 7);
}

TEST(FunctionRefTest, RefersToItsCallable) {
  int calls = 0;
  auto count = [&calls](int value) mutable {
    ++calls;
    return value;
  };
  const FunctionRef<int(int)> first = count;
  const FunctionRef<int(int)> copy = first;
  EXPECT_EQ(copy(first(4)), 4);
  EXPECT_EQ(calls, 2);
}

TEST(FunctionRefTest, ReferencesAndMovesArePassedOn) {
  std::string text = "a";
  const auto append = [](std::string& to, std::unique_ptr<std::string> what) { to += *what; };
  const FunctionRef<void(std::string&, std::unique_ptr<std::string>)> reference = append;
  reference(text, std::make_unique<std::string>("b"));
  EXPECT_EQ(text, "ab");
}

TEST(FunctionRefTest, ConstCallablesCanBeCalled) {
  struct Adder {
    int by;
    int operator()(int value) const { return value + by; }
  };
  const Adder adder{10};
  EXPECT_EQ(twice(adder, 1), 21);
}

}  // namespace
}  // namespace aleph::text
