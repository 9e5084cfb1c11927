#!/usr/bin/env python3
"""Tests of setup.sh with a PATH of stand-ins: what it installs, what it says, when it fails."""
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent
BASICS = ["bash", "cat", "dirname", "mkdir", "touch"]
COMMANDS = ["g++", "make", "cmake", "ninja", "pkg-config", "git", "python3", "ccache", "clang-format-14",
            "clang-tidy-14"]
HEADERS = ["dnnl.hpp", "fmt/core.h", "nlohmann/json.hpp", "pcre2.h", "unicode/uchar.h",
           "gtest/gtest.h", "gmock/gmock.h", "liburing.h"]


class SetupTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        for folder in ("bin", "prefix/include", "tools"):
            (self.root / folder).mkdir(parents=True)
        shutil.copy(TOOLS / "setup.sh", self.root / "tools/setup.sh")
        for name in BASICS:
            (self.root / "bin" / name).symlink_to(shutil.which(name))
        for name in COMMANDS + ["sleep"]:
            self.script(name, "")
        for header in HEADERS:
            path = self.root / "prefix/include" / header
            path.parent.mkdir(exist_ok=True)
            path.touch()
        self.user(1000)

    def script(self, name, body):
        path = self.root / "bin" / name
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def user(self, number):
        self.script("id", f"echo {number}")

    def remove(self, *names):
        for name in names:
            (self.root / "bin" / name).unlink()

    def apt(self, failures=0, fails_on="none", installs=()):
        """An apt-get that notes its calls, fails the first `failures` updates and all that name `fails_on`."""
        log = self.root / "apt.log"
        create = "; ".join(f"touch {self.root}/bin/{name}; PATH=/bin:/usr/bin chmod +x {self.root}/bin/{name}"
                           for name in installs)
        self.script("apt-get", f'''echo "$@" >>{log}
case " $* " in
  *" update "*) [ $(PATH=/bin:/usr/bin grep -c update {log}) -gt {failures} ] ;;
  *" {fails_on} "*) exit 100 ;;
  *) {create or ":"} ;;
esac''')

    def apt_calls(self):
        log = self.root / "apt.log"
        return log.read_text().splitlines() if log.exists() else []

    def run_setup(self, part="check"):
        environment = {"PATH": str(self.root / "bin"), "CMAKE_PREFIX_PATH": str(self.root / "prefix"),
                       "ALEPH_SYSTEM_INCLUDE": "/nowhere"}
        done = subprocess.run([shutil.which("bash"), str(self.root / "tools/setup.sh"), part], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_is_silent_when_all_is_there(self):
        self.apt()
        self.user(0)
        self.assertEqual(self.run_setup(), (0, ""))
        self.assertEqual(self.apt_calls(), [])

    def test_without_root_prints_the_command_and_fails(self):
        self.remove("cmake", "ninja")
        status, text = self.run_setup("build")
        self.assertEqual(status, 1)
        self.assertIn("required and not found: cmake ninja-build", text)
        self.assertRegex(text, r"apt-get update && apt-get install -y .*cmake ninja-build")

    def test_a_part_needs_only_its_own(self):
        self.remove("clang-tidy-14", "ccache")
        self.assertEqual(self.run_setup("build"), (0, ""))
        self.assertEqual(self.run_setup("test"), (0, ""))
        self.assertEqual(self.run_setup("check")[0], 1)

    def test_root_installs_and_tries_the_lists_again(self):
        self.user(0)
        self.remove("cmake")
        self.apt(failures=1, installs=["cmake"])
        status, text = self.run_setup("build")
        self.assertEqual(status, 0, text)
        self.assertEqual([call.split()[1] for call in self.apt_calls()[:2]], ["update", "update"])
        self.assertIn("install cmake", self.apt_calls()[-1])

    def test_root_without_network_says_what_is_missing(self):
        self.user(0)
        self.remove("cmake")
        self.apt(failures=9, fails_on="install")
        status, text = self.run_setup("build")
        self.assertEqual(status, 1)
        self.assertIn("still missing: cmake", text)

    def test_refuses_unknown_parts(self):
        self.assertEqual(self.run_setup("everything")[0], 2)

    def test_headers_count_too(self):
        (self.root / "prefix/include/fmt/core.h").unlink()
        self.assertIn("required and not found: libfmt-dev", self.run_setup("build")[1])

    def test_goes_on_without_the_optional_and_asks_once(self):
        self.user(0)
        (self.root / "prefix/include/liburing.h").unlink()
        self.apt(fails_on="liburing-dev")
        self.assertIn("without the optional liburing-dev", self.run_setup()[1])
        calls = len(self.apt_calls())
        self.assertEqual(self.run_setup(), (0, ""))
        self.assertEqual(len(self.apt_calls()), calls)


if __name__ == "__main__":
    unittest.main()
