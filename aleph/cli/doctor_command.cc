// aleph doctor: what this machine offers, as a table.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "aleph/base/clock.h"
#include "aleph/base/error.h"
#include "aleph/base/parallel.h"
#include "aleph/base/system_memory.h"
#include "aleph/base/text_util.h"
#include "aleph/base/version.h"
#include "aleph/cli/commands.h"
#include "aleph/cli/instruction_sets.h"
#include "aleph/cli/tools.h"
#include "aleph/io/async_queue.h"
#include "aleph/kernels/simd/simd.h"
#include "aleph/tensor/memory_pool.h"

namespace aleph::cli {
namespace {

namespace fs = std::filesystem;
using Values = std::vector<std::string>;
constexpr int64_t kTestBytes = int64_t{256} << 20;

struct DoctorOptions {
  fs::path nvme_path = ".";
};

CommandSyntax syntax(DoctorOptions& options) {
  return {
      .name = "aleph doctor",
      .summary = "Show what this machine offers. Writes and removes a file of 256 MiB to measure the disk.",
      .flags = {{.name = "nvme-path",
                 .group = "Flags",
                 .value = "DIR",
                 .help = "the disk to measure",
                 .fallback = ".",
                 .set = [&options](const Values& values,
                                   const std::string&) { options.nvme_path = values.at(0); }}},
      .positional = "",
      .examples = {}};
}

void row(const std::string& name, const std::string& value) { fmt::print("{:<22}{}\n", name, value); }

/// The value behind "KEY : value" in a file of /proc, or "".
std::string proc_value(const char* path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return {};
}

std::string memory_words() {
  const auto kilobytes = [](const std::string& text) {
    return text.empty() ? int64_t{0} : std::stoll(text) * 1024;
  };
  return fmt::format("{}, {} available", format_bytes(kilobytes(proc_value("/proc/meminfo", "MemTotal"))),
                     format_bytes(available_memory_bytes()));
}

std::string limit_words(int resource, bool bytes) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
    return "none";
  const auto value = static_cast<int64_t>(limit.rlim_cur);
  return bytes ? format_bytes(value) : std::to_string(value);
}

std::string cgroup_words() {
  const std::optional<int64_t> limit = memory_limit_bytes();
  return limit ? format_bytes(*limit) : "none";
}

/// A file that is removed when the measurement ends, however it ends.
class TestFile {
 public:
  explicit TestFile(const fs::path& directory)
      : path_(directory / fmt::format("aleph-doctor-{}", ::getpid())),
        file_(io::File::open_read_write(path_, io::Direct::kTry)) {}
  ~TestFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;
  const io::File& file() const { return file_; }

 private:
  fs::path path_;
  io::File file_;
};

void measure_disk(const fs::path& directory) {
  row("disk", directory.string());
  row("  free", format_bytes(io::free_bytes(directory)));
  const TestFile test(directory);
  io::AsyncQueue queue;
  row("  asynchronous I/O", std::string(queue.backend()));
  row("  direct I/O", test.file().direct() ? "yes" : "no: this file system goes through the page cache");
  MemoryPool pool(MemoryTier::kHost, 0);
  const Buffer buffer = pool.allocate(kTestBytes, MemoryTag::kIoBuffers);
  std::fill_n(buffer.data(), buffer.bytes(), std::byte{0x5a});
  test.file().preallocate(kTestBytes);
  const std::span<std::byte> data(buffer.data(), static_cast<size_t>(kTestBytes));
  const auto rate = [&](const io::Ticket& ticket, const Stopwatch& watch) {
    queue.wait(ticket);
    return fmt::format("{:.2f} GB/s", static_cast<double>(kTestBytes) / watch.seconds() / 1e9);
  };
  Stopwatch watch;
  row("  write", rate(queue.write(test.file(), 0, data), watch));
  watch.restart();
  row("  read", rate(queue.read(test.file(), 0, data), watch));
}

}  // namespace

CommandSyntax doctor_syntax() {
  DoctorOptions options;
  return syntax(options);
}

int doctor_command(const Values& arguments) {
  DoctorOptions options;
  parse_flags(syntax(options), arguments);
  std::error_code ignored;
  if (!fs::is_directory(options.nvme_path, ignored))
    throw Error("--nvme-path " + options.nvme_path.string(), "no directory", "one on the disk to measure");
  row("aleph", fmt::format("{} ({})", version(), commit()));
  row("processor", proc_value("/proc/cpuinfo", "model name"));
  row("built for", "x86-64 with " + built_instruction_sets());
  row("uses here", used_instruction_sets());
  row("kernels run at", kernels::cpu_level_name(kernels::cpu_level()));
  row("threads", fmt::format("{} of {}", num_threads(), std::thread::hardware_concurrency()));
  row("memory", memory_words());
  row("memory limit",
      fmt::format("control group {}, address space {}", cgroup_words(), limit_words(RLIMIT_AS, true)));
  row("open files", limit_words(RLIMIT_NOFILE, false));
  row("CUDA", "not in this build: the device is the CPU");
  row("MPI", "not in this build: one rank");
  measure_disk(options.nvme_path);
  return kDone;
}

}  // namespace aleph::cli
