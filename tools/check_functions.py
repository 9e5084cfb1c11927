#!/usr/bin/env python3
"""Checks that functions stay small and code stays tested. Prints the figures; exit status 1 when one is missed.

    tools/check_functions.py [ROOT] [--list N]

A function's length is counted from its first line to its closing brace; a lambda belongs to the function around it.
Functions are found by matching braces in text stripped of comments and literals: no compiler needed, and right for
code formatted like ours.
"""
import argparse
import pathlib
import re
import statistics
import sys

MAX_MEDIAN = 10          # lines
LONG = 60                # lines
MAX_LONG_SHARE = 0.03
MIN_TEST_RATIO = 0.6     # test lines per source line, blank lines not counted

LITERAL = re.compile(
    r'R"(?P<delimiter>[^()\\\s]{0,16})\((?:.|\n)*?\)(?P=delimiter)"'  # raw string
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'"  # not the separators of 1'000
    r"|//[^\n]*"
    r"|/\*(?:.|\n)*?\*/")
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.M)
ACCESS = re.compile(r"^\s*(?:(?:public|private|protected)\s*:\s*)+")
TEMPLATE = re.compile(r"<[^<>]*>")
OPERATOR = re.compile(r"operator\s*[^\s\w(]+")
# namespace x, class X : Y, struct alignas() X, extern "C": but not `struct stat look()`.
SCOPE = re.compile(r"^\s*(?:template\s+)?(?:requires\s+\w+\s+)?(?:typedef\s+)?(?:inline\s+)?"
                   r"(?:namespace|(?:class|struct|union|enum)\b(?!\s+\w+\s+[\w:]+\()|extern\s*$)")


def blank(match):
    """Same line breaks, no content: line numbers stay right."""
    return "".join(c if c == "\n" else " " for c in match.group())


def strip(text):
    return DIRECTIVE.sub(blank, LITERAL.sub(blank, text))


def without_nested(head):
    """The head with everything between parentheses and square brackets removed, the brackets kept."""
    out, depth = [], 0
    for c in head:
        depth -= c in ")]"
        if depth == 0:
            out.append(c)
        depth += c in "(["
    return "".join(out)


def without_templates(text):
    """The text without <...>, innermost first."""
    while TEMPLATE.search(text):
        text = TEMPLATE.sub("", text)
    return text


def kind(head):
    """What the brace after `head` opens: 'scope', 'function' or 'value'."""
    flat = without_templates(OPERATOR.sub("operator", without_nested(head)))
    if SCOPE.match(flat):
        return "scope"
    before, parenthesis, tail = flat.partition(")")
    if not parenthesis or "=" in before:
        return "value"  # int x{1}, int x = f({1}), auto f = [](int x)
    initializers = re.search(r"(?<!:):(?!:)", tail)
    if initializers and re.search(r"[\w>]\s*$", without_nested(head)):
        return "value"  # the brace of a member initializer: a_{1}
    return "function"


class Scanner:
    """Walks stripped text and notes (first line, last line) of every function body."""

    def __init__(self, text):
        self.text = text
        self.functions = []
        self.position = 0

    def line(self, position):
        return self.text.count("\n", 0, position) + 1

    def closing(self, opening):
        depth = 0
        for match in re.finditer(r"[{}]", self.text[opening:]):
            depth += 1 if match.group() == "{" else -1
            if depth == 0:
                return opening + match.start()
        return len(self.text) - 1

    def run(self):
        start, parentheses, i = 0, 0, 0
        while i < len(self.text):
            c = self.text[i]
            parentheses += (c == "(") - (c == ")")
            if c == ";" and parentheses == 0 or c == "}":
                start = i + 1
            elif c == "{":
                i, start = self.open(start, i, parentheses)
            i += 1
        return self.functions

    def open(self, start, i, parentheses):
        """Handles the brace at i; returns where to go on and where the next head starts."""
        access = ACCESS.match(self.text[start:i])
        start += access.end() if access else 0
        what = "value" if parentheses else kind(self.text[start:i])
        if what == "scope":
            return i, i + 1
        end = self.closing(i)
        if what == "value":
            return end, start
        head = start + len(self.text[start:i]) - len(self.text[start:i].lstrip())
        self.functions.append((self.line(head), self.line(end)))
        return end, end + 1


def functions(text):
    """(first line, last line) of every function defined in C++ source text."""
    return Scanner(strip(text)).run()


def lines(text):
    return sum(1 for line in text.splitlines() if line.strip())


def is_test(path):
    return path.stem.endswith(("_test", "testing")) or path.parts[0] == "tests"


class Figures:
    """Source and test lines by folder, and (length, place) of every function outside tests."""

    def __init__(self):
        self.source, self.test, self.lengths = {}, {}, []

    def add(self, path, text):
        folder = path.parts[1] if len(path.parts) > 2 and path.parts[0] == "aleph" else path.parts[0]
        side = self.test if is_test(path) else self.source
        side[folder] = side.get(folder, 0) + lines(text)
        if not is_test(path):
            self.lengths += [(last - first + 1, f"{path}:{first}") for first, last in functions(text)]

    def ratio(self, folder=None):
        folders = [folder] if folder else self.source.keys() | self.test.keys()
        return sum(self.test.get(name, 0) for name in folders) / max(1, sum(self.source.get(name, 0) for name in folders))


def measure(root):
    figures = Figures()
    for top in ("aleph", "tests"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu", ".cuh"):
                figures.add(path.relative_to(root), path.read_text(encoding="utf-8", errors="replace"))
    return figures


def report(figures, listed):
    """Prints the figures; returns the names of those that are missed."""
    sizes = sorted(length for length, _ in figures.lengths) or [0]
    median, long_ones = statistics.median(sizes), [item for item in figures.lengths if item[0] > LONG]
    share = len(long_ones) / len(sizes)
    print(f"functions: {len(sizes)}, median {median:g} lines (at most {MAX_MEDIAN}), "
          f"p90 {sizes[len(sizes) * 9 // 10]}, longest {sizes[-1]}")
    print(f"functions over {LONG} lines: {len(long_ones)}, {100 * share:.1f} % (at most {100 * MAX_LONG_SHARE:g} %)")
    for length, place in sorted(long_ones, reverse=True)[:listed]:
        print(f"  {place}: {length} lines")
    print(f"lines: {sum(figures.source.values())} source, {sum(figures.test.values())} test, {figures.ratio():.2f} test "
          f"lines per source line (at least {MIN_TEST_RATIO})")
    for folder in sorted(figures.source, key=figures.ratio)[:listed]:
        print(f"  {folder}: {figures.source[folder]} source, {figures.test.get(folder, 0)} test, "
              f"{figures.ratio(folder):.2f}")
    missed = [("median", median > MAX_MEDIAN), ("long functions", share > MAX_LONG_SHARE),
              ("tests", figures.ratio() < MIN_TEST_RATIO)]
    return [name for name, failed in missed if failed]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("root", nargs="?", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--list", type=int, default=20, metavar="N", help="show at most N functions and folders")
    options = parser.parse_args(arguments)
    missed = report(measure(options.root), options.list)
    if missed:
        print("check_functions: missed: " + ", ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
