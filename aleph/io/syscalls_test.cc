#include "aleph/io/syscalls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "aleph/base/error.h"
#include "aleph/io/fault_injection.h"
#include "aleph/io/file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::io {
namespace {

namespace fs = std::filesystem;

TEST(SystemCalls, GiveCountsOrNegativeErrors) {
  const TemporaryDirectory dir;
  SystemCalls& calls = SystemCalls::real();
  const std::string a = (dir / "a").string(), b = (dir / "b").string();
  const int fd = calls.open(a.c_str(), O_RDWR | O_CREAT);
  ASSERT_GE(fd, 0);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  std::array<std::byte, 8> data{};
  EXPECT_EQ(calls.pwrite(fd, data, 2), 8);
  EXPECT_EQ(calls.pread(fd, data, 6), 4);
  EXPECT_EQ(calls.pread(fd, data, 10), 0);
  EXPECT_EQ(calls.allocate(fd, 100), 0);
  EXPECT_EQ(calls.truncate(fd, 50), 0);
  EXPECT_EQ(calls.fsync(fd), 0);
  EXPECT_EQ(fs::file_size(a), 50u);
  ::close(fd);
  EXPECT_EQ(calls.rename(a.c_str(), b.c_str()), 0);
  EXPECT_EQ(calls.make_directory(a.c_str()), 0);
  EXPECT_EQ(calls.make_directory(a.c_str()), -EEXIST);
  EXPECT_EQ(calls.rename((dir / "none").c_str(), b.c_str()), -ENOENT);
  EXPECT_EQ(calls.exchange(a.c_str(), (dir / "none").c_str()), -ENOENT);
  EXPECT_EQ(calls.open((dir / "none").c_str(), O_RDONLY), -ENOENT);
  EXPECT_EQ(calls.remove(b.c_str()), 0);
  EXPECT_EQ(calls.remove(b.c_str()), -ENOENT);
  EXPECT_EQ(calls.pread(-1, data, 0), -EBADF);
  EXPECT_EQ(calls.pwrite(-1, data, 0), -EBADF);
  EXPECT_EQ(calls.fsync(-1), -EBADF);
  EXPECT_EQ(calls.allocate(-1, 10), -EBADF);
  EXPECT_EQ(calls.truncate(-1, 10), -EBADF);
  EXPECT_EQ(calls.before_transfer({.bytes = 77}).bytes, 77);
}

TEST(TemporaryDirectory, IsNewAndGoneAfterwards) {
  fs::path first;
  {
    const TemporaryDirectory a, b;
    first = a.path();
    EXPECT_NE(a.path(), b.path());
    EXPECT_TRUE(fs::is_empty(a.path()));
    io::create_directories(a / "x/y");
    write_file_atomically(a / "x/y/z", "text");
    const TemporaryDirectory inside(a.path());
    EXPECT_EQ(inside.path().parent_path(), a.path());
  }
  EXPECT_FALSE(fs::exists(first));
  EXPECT_THROW(TemporaryDirectory("/no/such/place"), Error);
}

/// A failure of every kind of call reaches the caller as an Error that names the path.
TEST(FaultInjectionCalls, EachKindFailsWhereItIsTold) {
  struct Case {
    Call call;
    std::function<void(const fs::path&, SystemCalls*)> run;
  };
  const std::vector<Case> cases = {
      {Call::kOpen, [](const fs::path& p, SystemCalls* c) { File::create(p, c); }},
      {Call::kRead, [](const fs::path& p, SystemCalls* c) { read_file(p, 100, c); }},
      {Call::kWrite, [](const fs::path& p, SystemCalls* c) { write_file_atomically(p, "x", c); }},
      {Call::kSync, [](const fs::path& p, SystemCalls* c) { write_file_atomically(p, "x", c); }},
      {Call::kAllocate,
       [](const fs::path& p, SystemCalls* c) { File::open_read_write(p, Direct::kNo, c).preallocate(9); }},
      {Call::kTruncate,
       [](const fs::path& p, SystemCalls* c) { File::open_read_write(p, Direct::kNo, c).truncate(9); }},
      {Call::kRename, [](const fs::path& p, SystemCalls* c) { write_file_atomically(p, "x", c); }},
      {Call::kRemove, [](const fs::path& p, SystemCalls* c) { io::remove_all(p, c); }},
      {Call::kMakeDirectory,
       [](const fs::path& p, SystemCalls* c) { io::create_directories(p.parent_path() / "new", c); }}};
  ASSERT_EQ(cases.size(), kCalls);
  for (const Case& one : cases) {
    const TemporaryDirectory dir;
    write_file_atomically(dir / "file", "contents");
    FaultInjection faults;
    faults.fail(one.call, 1, EDQUOT);
    try {
      one.run(dir / "file", &faults);
      ADD_FAILURE() << "call " << static_cast<int>(one.call) << " did not fail";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(dir.path().string()), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("quota"), std::string::npos) << error.what();
    }
    EXPECT_EQ(faults.count(one.call), 1);
    EXPECT_NO_THROW(one.run(dir / "file", &faults)) << "only once";
  }
}

TEST(FaultInjectionCalls, CountsChangesApartFromReads) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  write_file_atomically(dir / "a", "text", &faults);
  const int64_t changes = faults.changes();
  EXPECT_GE(changes, 5);  // create, write, sync, rename, sync
  read_file(dir / "a", 100, &faults);
  EXPECT_EQ(faults.changes(), changes);
  EXPECT_EQ(faults.count(Call::kRead), 1);
}

}  // namespace
}  // namespace aleph::io
