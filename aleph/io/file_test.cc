#include "aleph/io/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "aleph/base/error.h"
#include "aleph/base/random.h"
#include "aleph/io/fault_injection.h"
#include "aleph/io/mapped_file.h"
#include "aleph/io/temporary_directory.h"

namespace aleph::io {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::byte> random_bytes(size_t size, uint64_t seed) {
  const RandomStream random({.seed = seed});
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(random.word(i));
  return bytes;
}

std::string text_of(const fs::path& path) { return read_file(path, 1 << 20); }

TEST(File, ReadsBackWhatWasWrittenAtAnyOffset) {
  const TemporaryDirectory dir;
  const RandomStream random({.seed = 11});
  std::vector<std::byte> model(300'000);
  const File file = File::create(dir / "a");
  file.write_at(0, model);
  for (uint64_t i = 0; i < 40; ++i) {
    const size_t size = random.below(50'000, 4 * i);
    const size_t offset = random.below(model.size() - size, 4 * i + 2);
    const auto data = random_bytes(size, i);
    file.write_at(static_cast<int64_t>(offset), data);
    std::copy(data.begin(), data.end(), model.begin() + static_cast<ptrdiff_t>(offset));
  }
  std::vector<std::byte> all(model.size());
  file.read_at(0, all);
  EXPECT_EQ(all, model);
  EXPECT_EQ(file.size(), 300'000);
}

TEST(File, DirectFileTakesAlignedAndUnalignedRanges) {
  const TemporaryDirectory dir(".");
  const File file = File::open_read_write(dir / "a", Direct::kTry);
  constexpr size_t kSize = 1 << 18;
  const std::unique_ptr<std::byte, decltype(&std::free)> memory(
      static_cast<std::byte*>(std::aligned_alloc(4096, kSize)), &std::free);
  const std::span<std::byte> data(memory.get(), kSize);
  auto model = random_bytes(kSize, 3);
  std::copy(model.begin(), model.end(), data.begin());
  file.write_at(0, data);
  const RandomStream random({.seed = 12});
  for (uint64_t i = 0; i < 60; ++i) {
    const size_t unit = i % 3 == 0 ? 1 : 4096;
    const size_t size = random.below(20, 4 * i) * unit;
    const size_t offset = random.below((kSize - size) / unit, 4 * i + 2) * unit;
    const auto part = random_bytes(size, 100 + i);
    std::copy(part.begin(), part.end(), model.begin() + static_cast<ptrdiff_t>(offset));
    std::copy(part.begin(), part.end(), data.begin());
    file.write_at(static_cast<int64_t>(offset), data.first(size));
  }
  std::fill(data.begin(), data.end(), std::byte{0});
  file.read_at(0, data);
  EXPECT_EQ(std::memcmp(data.data(), model.data(), kSize), 0);
}

TEST(File, DirectCallThatTheFileSystemRefusesIsMadeBuffered) {
  const TemporaryDirectory dir(".");
  FaultInjection faults;
  const File file = File::open_read_write(dir / "a", Direct::kTry, &faults);
  if (!file.direct()) GTEST_SKIP() << "no direct I/O here";
  alignas(4096) std::array<std::byte, 4096> data{};
  data[17] = std::byte{5};
  faults.fail(Call::kWrite, 1, EINVAL);
  file.write_at(0, data);
  EXPECT_EQ(faults.count(Call::kWrite), 2);
  EXPECT_EQ(text_of(dir / "a")[17], 5);
}

TEST(File, ErrorsNameWhatAndWhere) {
  const TemporaryDirectory dir;
  EXPECT_THAT([&] { File::open_read(dir / "none"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("/none"), HasSubstr("No such file"))));
  EXPECT_THAT([&] { File::open_read(dir.path()); }, ThrowsMessage<Error>(HasSubstr("a directory")));
  EXPECT_THAT([&] { File::create(dir / "no/such/place"); }, ThrowsMessage<Error>(HasSubstr("No such file")));
  const File file = File::create(dir / "a");
  file.write_at(0, random_bytes(100, 1));
  std::vector<std::byte> data(64);
  EXPECT_THAT([&] { file.read_at(60, data); },
              ThrowsMessage<Error>(AllOf(HasSubstr("/a: "), HasSubstr("end of the file after 40 of 64 bytes"),
                                         HasSubstr("offset 60"))));
  EXPECT_THROW(file.read_at(-1, data), InternalError);
  EXPECT_THROW(File().size(), InternalError);
}

TEST(File, FullDiskIsAnErrorWithPathAndBytes) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  const File file = File::create(dir / "a", &faults);
  faults.limit_transfers(100);
  faults.fail(Call::kWrite, 3, ENOSPC);
  EXPECT_THAT([&] { file.write_at(7, random_bytes(1000, 1)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("/a: "), HasSubstr("No space left"),
                                         HasSubstr("200 of 1000 bytes at offset 7"))));
  faults.fail(Call::kAllocate, 1, ENOSPC);
  EXPECT_THAT(
      [&] { file.preallocate(3 << 20); },
      ThrowsMessage<Error>(AllOf(HasSubstr("No space left"), HasSubstr("free"), HasSubstr("3.0 MiB"))));
}

TEST(File, ShortAndInterruptedCallsAreContinued) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  const File file = File::create(dir / "a", &faults);
  const auto data = random_bytes(5000, 9);
  faults.limit_transfers(333);
  faults.fail(Call::kWrite, 4, EINTR, 2);
  file.write_at(3, data);
  faults.fail(Call::kRead, 2, EAGAIN, 3);
  std::vector<std::byte> back(data.size());
  file.read_at(3, back);
  EXPECT_EQ(back, data);
  EXPECT_EQ(faults.count(Call::kWrite), 16 + 2);
  EXPECT_EQ(faults.count(Call::kRead), 16 + 3);
}

TEST(File, EndlessRetriesBecomeAnError) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  const File file = File::create(dir / "a", &faults);
  faults.fail(Call::kWrite, 1, EAGAIN, 1'000'000);
  EXPECT_THAT([&] { file.write_at(0, random_bytes(10, 1)); },
              ThrowsMessage<Error>(HasSubstr("temporarily unavailable")));
}

TEST(File, PreallocateGrowsAndKeepsContents) {
  const TemporaryDirectory dir;
  const File file = File::open_read_write(dir / "a");
  file.write_at(0, random_bytes(10, 4));
  file.preallocate(1 << 20);
  EXPECT_EQ(file.size(), 1 << 20);
  struct stat status {};
  ASSERT_EQ(::stat((dir / "a").c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, 1 << 20);
  file.preallocate(10);
  EXPECT_EQ(file.size(), 1 << 20);
  file.truncate(12);
  EXPECT_EQ(file.size(), 12);
  std::vector<std::byte> head(10);
  File::open_read_write(dir / "a").read_at(0, head);
  EXPECT_EQ(head, random_bytes(10, 4));
}

TEST(File, MovesLeaveTheSourceEmpty) {
  const TemporaryDirectory dir;
  File a = File::create(dir / "a");
  File b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(b);
  b = File::create(dir / "b");
  EXPECT_EQ(b.path(), (dir / "b").string());
}

TEST(File, SyncFailureIsReported) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  const File file = File::create(dir / "a", &faults);
  faults.fail(Call::kSync, 1, EIO, 2);
  EXPECT_THAT([&] { file.sync(); }, ThrowsMessage<Error>(HasSubstr("Input/output error")));
  EXPECT_THROW(sync_directory(dir.path(), &faults), Error);
  EXPECT_NO_THROW(sync_directory(dir.path(), &faults));
  EXPECT_NO_THROW(sync_directory(""));
}

TEST(Files, AtomicWriteKeepsOldOrNewContentsWheneverItIsKilled) {
  for (const bool power_loss : {false, true}) {
    int64_t total = 0;
    for (int64_t kill = 1; kill == 1 || kill <= total + 1; ++kill) {
      const TemporaryDirectory dir;
      FaultInjection faults;
      write_file_atomically(dir / "a", "old", &faults);
      faults.kill_at_change(kill);
      const int64_t before = faults.changes();
      bool complete = true;
      try {
        write_file_atomically(dir / "a", "the new one", &faults);
        total = faults.changes() - before;
      } catch (const Error&) {
        complete = false;
        total = std::max(total, kill);
      }
      if (power_loss) faults.lose_power(FaultInjection::PowerLoss::kAll);
      const std::string found = text_of(dir / "a");
      EXPECT_TRUE(found == "the new one" || (!complete && found == "old")) << found << " at " << kill;
    }
    EXPECT_GE(total, 4);  // create, write, sync, rename, sync
  }
}

TEST(Files, DirectoriesAreCreatedAndRemovedWithAllTheyHold) {
  const TemporaryDirectory dir;
  io::create_directories(dir / "a/b/c");
  io::create_directories(dir / "a/b/c");
  write_file_atomically(dir / "a/b/file", "x");
  fs::create_symlink(dir / "a/b", dir / "a/link");
  fs::create_directory(dir / "outside");
  write_file_atomically(dir / "outside/kept", "x");
  fs::create_symlink(dir / "outside", dir / "a/link2");
  EXPECT_THROW(io::create_directories(dir / "a/b/file/d"), Error);
  io::remove_all(dir / "a");
  EXPECT_FALSE(fs::exists(dir / "a"));
  EXPECT_TRUE(fs::exists(dir / "outside/kept"));
  EXPECT_NO_THROW(io::remove_all(dir / "a"));
  FaultInjection faults;
  faults.fail(Call::kRemove, 1, EACCES);
  EXPECT_THAT([&] { io::remove_all(dir / "outside", &faults); },
              ThrowsMessage<Error>(HasSubstr("Permission denied")));
}

TEST(Files, ReplaceDirectorySwapsOrRenames) {
  const TemporaryDirectory dir;
  for (const int refusal : {0, EINVAL}) {
    io::remove_all(dir / "old");
    io::create_directories(dir / "new");
    write_file_atomically(dir / "new/x", "1");
    replace_directory(dir / "new", dir / "old");  // nothing there yet
    io::create_directories(dir / "new");
    write_file_atomically(dir / "new/x", "2");
    FaultInjection faults;
    if (refusal != 0) faults.fail(Call::kRename, 1, refusal);
    replace_directory(dir / "new", dir / "old", &faults);
    EXPECT_EQ(text_of(dir / "old/x"), "2");
    EXPECT_EQ(fs::exists(dir / "new"), refusal == 0);
    io::remove_all(dir / "new");
  }
  FaultInjection faults;
  io::create_directories(dir / "new");
  faults.fail(Call::kRename, 1, EIO);
  EXPECT_THROW(replace_directory(dir / "new", dir / "old", &faults), Error);
  EXPECT_EQ(text_of(dir / "old/x"), "2");
}

TEST(Files, ReadFileRefusesWhatIsTooLarge) {
  const TemporaryDirectory dir;
  write_file_atomically(dir / "a", std::string(1000, 'x'));
  EXPECT_EQ(read_file(dir / "a", 1000).size(), 1000u);
  EXPECT_THAT([&] { read_file(dir / "a", 999); }, ThrowsMessage<Error>(HasSubstr("at most 999 B")));
}

TEST(Files, FreeBytesLooksAtTheNearestExistingParent) {
  const TemporaryDirectory dir;
  EXPECT_GT(free_bytes(dir.path()), 0);
  EXPECT_GT(free_bytes(dir / "not/yet/there"), 0);
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TemporaryDirectory dir;
  const auto data = random_bytes(10'001, 6);
  File::create(dir / "a").write_at(0, data);
  MappedFile first(dir / "a");
  const MappedFile mapped = std::move(first);
  EXPECT_TRUE(first.bytes().empty());  // NOLINT(bugprone-use-after-move)
  ASSERT_EQ(mapped.bytes().size(), data.size());
  mapped.prefetch(5000, 5001);
  EXPECT_EQ(std::memcmp(mapped.bytes().data(), data.data(), data.size()), 0);
  mapped.release(1, 9000);
  EXPECT_EQ(std::memcmp(mapped.bytes().data(), data.data(), data.size()), 0);
  EXPECT_THROW(mapped.release(10'000, 2), InternalError);
}

TEST(MappedFile, EmptyAndImpossibleFiles) {
  const TemporaryDirectory dir;
  File::create(dir / "empty");
  EXPECT_TRUE(MappedFile(dir / "empty").bytes().empty());
  EXPECT_THROW(MappedFile(dir / "none"), Error);
  EXPECT_THAT([] { MappedFile("/dev/null"); }, ThrowsMessage<Error>(HasSubstr("regular file")));
}

TEST(FaultInjection, PowerLossTakesBackWhatWasNotSynced) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  {
    const File kept = File::create(dir / "kept", &faults);
    kept.write_at(0, random_bytes(100, 1));
    kept.sync();
    sync_directory(dir.path(), &faults);
    kept.write_at(50, random_bytes(100, 2));
    kept.truncate(20);
    const File synced = File::create(dir / "nameless", &faults);
    synced.write_at(0, random_bytes(10, 3));
    synced.sync();  // but not its name
    ASSERT_EQ(faults.make_directory((dir / "d").c_str()), 0);
  }
  rename_path(dir / "kept", dir / "renamed", &faults);
  faults.lose_power(FaultInjection::PowerLoss::kAll);
  EXPECT_FALSE(fs::exists(dir / "renamed"));
  EXPECT_FALSE(fs::exists(dir / "nameless"));
  EXPECT_FALSE(fs::exists(dir / "d"));
  std::vector<std::byte> data(100);
  const File kept = File::open_read(dir / "kept");
  ASSERT_EQ(kept.size(), 100);
  kept.read_at(0, data);
  EXPECT_EQ(data, random_bytes(100, 1));
}

TEST(FaultInjection, RandomPowerLossKeepsSomeWrites) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  {
    const File file = File::create(dir / "a", &faults);
    sync_directory(dir.path(), &faults);
    file.write_at(0, std::vector<std::byte>(64 * 4096));
    file.sync();
    file.write_at(0, random_bytes(64 * 4096, 5));  // one call: pages are lost one by one
  }
  faults.lose_power(FaultInjection::PowerLoss::kRandom, 8);
  std::vector<std::byte> data(64 * 4096);
  File::open_read(dir / "a").read_at(0, data);
  const auto written = random_bytes(64 * 4096, 5);
  const std::vector<std::byte> zeros(4096);
  int survived = 0;
  for (int64_t page = 0; page < 64; ++page) {
    const bool kept = std::equal(data.begin() + 4096 * page, data.begin() + 4096 * (page + 1),
                                 written.begin() + 4096 * page);
    survived += kept ? 1 : 0;
    EXPECT_TRUE(kept || std::equal(zeros.begin(), zeros.end(), data.begin() + 4096 * page)) << page;
  }
  EXPECT_GT(survived, 15);
  EXPECT_LT(survived, 49);
}

/// A page written three times holds one of the three, or what it held before; never older bytes under newer
/// ones that it kept.
TEST(FaultInjection, APageIsAsItWasAfterSomeWrite) {
  std::set<char> seen;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const TemporaryDirectory dir;
    FaultInjection faults;
    write_file_atomically(dir / "a", std::string(100, '0'), &faults);
    {
      const File file = File::open_read_write(dir / "a", Direct::kNo, &faults);
      for (const char version : {'1', '2', '3'})
        file.write_at(0, std::vector<std::byte>(100, static_cast<std::byte>(version)));
    }
    faults.lose_power(PowerLoss::kRandom, seed);
    const std::string found = text_of(dir / "a");
    ASSERT_EQ(found, std::string(100, found[0]));
    seen.insert(found[0]);
  }
  EXPECT_EQ(seen, (std::set<char>{'0', '1', '2', '3'}));
}

/// Names that were not synced are there or not, in every combination; what builds on another only with it.
TEST(FaultInjection, NamesSurviveInAnyCombinationThatCanBe) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const TemporaryDirectory dir;
    FaultInjection faults;
    write_file_atomically(dir / "old", "1", &faults);
    write_file_atomically(dir / "gone", "2", &faults);
    File::create(dir / "new", &faults);
    rename_path(dir / "new", dir / "old", &faults);  // only where "new" was made
    io::remove_all(dir / "gone", &faults);
    ASSERT_EQ(faults.make_directory((dir / "d").c_str()), 0);
    faults.lose_power(PowerLoss::kRandom, seed);
    std::string found = fs::exists(dir / "old") ? "old" + text_of(dir / "old") : "";
    for (const char* name : {"new", "gone", "d"})
      found += fs::exists(dir / name) ? std::string(" ") + name : "";
    seen.insert(found);
  }
  EXPECT_EQ(seen.size(), 3u * 2 * 2) << ::testing::PrintToString(seen);
  EXPECT_TRUE(seen.contains("old1 new gone")) << "made, but neither renamed nor removed";
  EXPECT_TRUE(seen.contains("old")) << "renamed and removed, no directory";
}

/// A removed file comes back with what it held, unless its directory was synced.
TEST(FaultInjection, RemovedFilesComeBack) {
  for (const bool synced : {false, true}) {
    const TemporaryDirectory dir;
    FaultInjection faults;
    io::create_directories(dir / "a/b", &faults);
    write_file_atomically(dir / "a/b/file", "text", &faults);
    io::remove_all(dir / "a", &faults);
    EXPECT_FALSE(fs::exists(dir / "a"));
    if (synced) sync_directory(dir.path(), &faults);
    faults.lose_power(PowerLoss::kAll);
    EXPECT_EQ(fs::exists(dir / "a"), !synced);
    if (!synced) {
      EXPECT_EQ(text_of(dir / "a/b/file"), "text");
    }
  }
  FaultInjection faults;
  const TemporaryDirectory dir;
  write_file_atomically(dir / "d.file", "x", &faults);
  EXPECT_EQ(faults.remove(dir.path().c_str()), -ENOTEMPTY);
  EXPECT_EQ(faults.remove((dir / "none").c_str()), -ENOENT);
}

TEST(FaultInjection, TheNthCallOfAnyKindFailsOrIsShort) {
  const TemporaryDirectory dir;
  for (int64_t nth = 1; nth <= 5; ++nth) {  // open, write, sync, rename, open, sync
    FaultInjection faults(false);
    faults.fail_any(nth, EDQUOT);
    EXPECT_THROW(write_file_atomically(dir / "a", "text", &faults), Error) << nth;
    ASSERT_TRUE(faults.struck());
    EXPECT_EQ(faults.calls(), nth);
    EXPECT_NE(faults.struck()->path.find(dir.path().string()), std::string::npos);
    EXPECT_THROW(faults.lose_power(PowerLoss::kAll), InternalError) << "nothing was remembered";
  }
  FaultInjection faults;
  faults.fail_any(2, 0);
  write_file_atomically(dir / "a", "text", &faults);
  EXPECT_EQ(text_of(dir / "a"), "text");
  EXPECT_EQ(faults.struck()->bytes, 4);
  EXPECT_EQ(faults.count(Call::kWrite), 2);
  EXPECT_EQ(faults.calls(), 7);
}

TEST(FaultInjection, NothingWorksAfterTheKill) {
  const TemporaryDirectory dir;
  FaultInjection faults;
  const File file = File::create(dir / "a", &faults);
  faults.kill_at_change(2);
  file.write_at(0, random_bytes(10, 1));
  EXPECT_FALSE(faults.killed());
  EXPECT_THROW(file.write_at(0, random_bytes(10, 2)), Error);
  EXPECT_TRUE(faults.killed());
  std::vector<std::byte> data(10);
  EXPECT_THROW(file.read_at(0, data), Error);
  EXPECT_THROW(File::open_read(dir / "a", &faults), Error);
  File::open_read(dir / "a").read_at(0, data);
  EXPECT_EQ(data, random_bytes(10, 1));
}

TEST(ReadFile, PipesAreReadToTheirEnd) {
  const TemporaryDirectory directory;
  const std::filesystem::path pipe = directory / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string text(200'000, 'x');
  for (const int64_t limit : {200'000, 199'999}) {
    std::thread writer([&] { std::ofstream(pipe, std::ios::binary) << text; });
    if (limit == 200'000) {
      EXPECT_EQ(read_file(pipe, limit), text);
    } else {
      EXPECT_THROW(read_file(pipe, limit), Error);
    }
    writer.join();
  }
}

}  // namespace
}  // namespace aleph::io
