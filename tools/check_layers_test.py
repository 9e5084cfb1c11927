#!/usr/bin/env python3
"""Tests of check_layers.py on small trees made for the purpose."""
import pathlib
import tempfile
import unittest

import check_layers


class CheckLayersTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = pathlib.Path(self.directory.name)

    def write(self, path, *lines):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def check(self, path, *lines):
        """The violations of one file whose lines are these."""
        self.write(path, *lines)
        return check_layers.check(self.root)

    def test_accepts_what_goes_upwards(self):
        self.write("aleph/base/error.h")
        self.write("aleph/tensor/tensor.h", '#include "aleph/base/error.h"')
        self.assertEqual(self.check("aleph/nn/layer.cc", "#include <fmt/format.h>", "#include <vector>",
                                    '#include "aleph/tensor/tensor.h"', '#include "aleph/nn/layer.cc"'), [])

    def test_names_file_line_and_folders_of_a_wrong_include(self):
        self.write("aleph/nn/layer.h")
        found = self.check("aleph/io/file.h", "#pragma once", '#include "aleph/nn/layer.h"')
        self.assertEqual(found, ['aleph/io/file.h:2: "aleph/nn/layer.h": io may not include nn, which comes after it'])

    def test_kernels_see_only_base_and_tensor(self):
        self.write("aleph/io/file.h")
        self.write("aleph/comm/communicator.h")
        self.write("aleph/tensor/tensor.h")
        self.assertEqual(self.check("aleph/kernels/norm/norm.h", '#include "aleph/tensor/tensor.h"'), [])
        for header in ("aleph/io/file.h", "aleph/comm/communicator.h"):
            self.assertEqual(len(self.check("aleph/kernels/norm/norm.h", f'#include "{header}"')), 1, header)

    def test_reports_a_ring_of_folders(self):
        self.write("aleph/io/file.h", '#include "aleph/base/error.h"')
        found = self.check("aleph/base/error.h", '#include "aleph/io/file.h"')
        self.assertIn("aleph: folders include each other: base -> io -> base", found)

    def test_finds_longer_rings_and_none_in_a_tree(self):
        self.assertEqual(check_layers.cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), ["a", "b", "c", "a"])
        self.assertIsNone(check_layers.cycle({"a": {"b", "c"}, "b": {"c"}}))

    def test_vendors_stay_in_their_folder(self):
        places = {"nlohmann/json.hpp": "base", "spdlog/spdlog.h": "base", "omp.h": "base", "liburing.h": "io",
                  "dnnl.hpp": "kernels", "oneapi/dnnl/dnnl.hpp": "kernels", "cublasLt.h": "kernels",
                  "cuda_runtime.h": "tensor", "mpi.h": "comm", "nccl.h": "comm", "pcre2.h": "text",
                  "unicode/uchar.h": "text", "httplib.h": "serve"}
        for header, folder in places.items():
            self.assertEqual(self.check(f"aleph/{folder}/x.cc", f"#include <{header}>"), [], header)
            (self.root / f"aleph/{folder}/x.cc").unlink()
            found = self.check("aleph/zero/x.cc", f"#include <{header}>")
            self.assertEqual(len(found), 1, header)
            self.assertIn(f"<{header}> belongs to ", found[0])
            (self.root / "aleph/zero/x.cc").unlink()

    def test_tests_and_outside_folders_are_bound_to_vendors_too(self):
        for path in ("aleph/nn/x_test.cc", "tests/x_test.cc", "bench/x.cc", "examples/x.cc"):
            self.assertEqual(len(self.check(path, "#include <dnnl.hpp>")), 1, path)
            (self.root / path).unlink()

    def test_outside_folders_share_headers_of_their_own(self):
        self.write("bench/bench.h")
        self.assertEqual(self.check("bench/x.cc", '#include "bench/bench.h"'), [])
        self.assertEqual(len(self.check("bench/x.cc", '#include "bench/none.h"')), 1)
        (self.root / "bench/x.cc").unlink()
        self.assertEqual(len(self.check("aleph/nn/x.cc", '#include "bench/bench.h"')), 1)

    def test_only_tests_include_googletest(self):
        self.assertEqual(self.check("aleph/nn/x_test.cc", "#include <gtest/gtest.h>"), [])
        self.assertEqual(self.check("tests/helper.h", "#include <gmock/gmock.h>"), [])
        self.assertEqual(self.check("aleph/nn/testing.h", "#include <gtest/gtest.h>"), [])
        self.assertEqual(len(self.check("aleph/nn/x.cc", "#include <gtest/gtest.h>")), 1)

    def test_forward_declarations_of_json_are_free(self):
        self.assertEqual(self.check("aleph/optim/x.h", "#include <nlohmann/json_fwd.hpp>"), [])

    def test_threads_of_openmp_belong_to_base(self):
        self.assertEqual(len(self.check("aleph/kernels/x.cc", "#pragma omp parallel for")), 1)
        self.assertEqual(self.check("aleph/kernels/x.cc", "#pragma omp simd reduction(+ : sum)"), [])

    def test_refuses_short_paths_missing_files_and_unknown_folders(self):
        self.assertIn("full path", self.check("aleph/nn/x.cc", '#include "layer.h"')[0])
        self.assertIn("no such file", self.check("aleph/nn/x.cc", '#include "aleph/base/none.h"')[0])
        self.assertIn("list of folders", self.check("aleph/nn/x.cc", '#include "aleph/common/x.h"')[0])
        self.write("aleph/nn/x.cc")
        self.assertIn("list of folders", self.check("aleph/common/x.h")[0])


if __name__ == "__main__":
    unittest.main()
