#!/usr/bin/env python3
"""Tests of check_functions.py: which braces are functions, and how the figures are judged."""
import contextlib
import io
import pathlib
import tempfile
import unittest

import check_functions


def found(*lines):
    return check_functions.functions("\n".join(lines) + "\n")


class FunctionsTest(unittest.TestCase):
    def test_counts_from_the_first_line_of_the_head(self):
        self.assertEqual(found("namespace a {", "", "template <typename T = int>", "void f(T x,", "       int y) {",
                               "  if (x) {", "  }", "}", "", "int g() { return 1; }", "}"), [(3, 8), (10, 10)])

    def test_finds_members_after_access_specifiers(self):
        self.assertEqual(found("class X : public Y<Z> {", " public:", "  int a() const noexcept override {", "  }",
                               " private:", "  struct Inner {", "    bool operator==(const Inner& o) const {",
                               "      return true;", "    }", "  };", "  int b_ = 0;", "};"), [(3, 4), (7, 9)])

    def test_initializer_lists_are_no_bodies(self):
        self.assertEqual(found("X::X(int a)", "    : Base<int>{a}, a_{a},", "      b_(f({1})) {", "  go();", "}"), [(1, 5)])
        self.assertEqual(found("X::X() : a_{1} {}"), [(1, 1)])

    def test_values_are_no_functions(self):
        self.assertEqual(found("const std::vector<int> kTable = {{1}, {2}};", "int x{3};", "int y = f({1});",
                               "enum class E : uint8_t { kA, kB };", "const auto kF = [](int x) {", "  return x;", "};",
                               "struct P {", "  std::string s = {};", "  int v[2] = {f(1), 2};", "};"), [])

    def test_lambdas_belong_to_the_function_around_them(self):
        self.assertEqual(found("void f() {", "  run([](int x) {", "    return x;", "  });", "}"), [(1, 5)])

    def test_braces_in_text_do_not_count(self):
        self.assertEqual(found("void f() {", "  g(\"{\", '{', R\"({{{)\", 1'000);  // {", "  /* { */", "}",
                               "#define OPEN {", "void h() {}"), [(1, 4), (6, 6)])

    def test_functions_that_return_or_look_like_structs(self):
        self.assertEqual(found("struct stat look() {", "}", "struct alignas(64) X {", "  void f() {}", "};",
                               "auto g() -> std::vector<int> {", "}", 'extern "C" {', "void h() {}", "}",
                               'extern "C" int k() {', "}"), [(1, 2), (4, 4), (6, 7), (9, 9), (11, 12)])


class FiguresTest(unittest.TestCase):
    def judge(self, source, test, lengths):
        figures = check_functions.Figures()
        figures.source, figures.test = {"nn": source}, {"nn": test - 10, "tests": 10}
        figures.lengths = [(length, f"x.cc:{i}") for i, length in enumerate(lengths)]
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            missed = check_functions.report(figures, 5)
        return missed, output.getvalue()

    def test_accepts_small_and_tested(self):
        self.assertEqual(self.judge(100, 60, [5, 10, 12])[0], [])

    def test_names_what_is_missed_and_lists_the_longest(self):
        missed, text = self.judge(100, 59, [11, 11, 61, 80])
        self.assertEqual(missed, ["median", "long functions", "tests"])
        self.assertLess(text.index("x.cc:3: 80 lines"), text.index("x.cc:2: 61 lines"))

    def test_three_percent_may_be_long(self):
        self.assertEqual(self.judge(100, 60, [5] * 97 + [61] * 3)[0], [])
        self.assertEqual(self.judge(100, 60, [5] * 96 + [61] * 4)[0], ["long functions"])

    def test_measures_a_tree(self):
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            (root / "aleph/nn").mkdir(parents=True)
            (root / "tests").mkdir()
            (root / "aleph/nn/x.cc").write_text("int f() {\n\n  return 1;\n}\n")
            (root / "aleph/nn/x_test.cc").write_text("TEST(A, B) {\n}\n")
            (root / "tests/y_test.cc").write_text("TEST(A, B) {}\n")
            figures = check_functions.measure(root)
        self.assertEqual((figures.source, figures.test), ({"nn": 3}, {"nn": 2, "tests": 1}))
        self.assertEqual(figures.lengths, [(4, "aleph/nn/x.cc:1")])
        self.assertEqual((figures.ratio(), figures.ratio("nn")), (1.0, 2 / 3))


if __name__ == "__main__":
    unittest.main()
