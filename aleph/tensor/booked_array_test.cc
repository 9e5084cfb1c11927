#include "aleph/tensor/booked_array.h"

#include <gmock/gmock.h>

#include <numeric>
#include <vector>

#include "aleph/base/testing.h"

namespace aleph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(BookedArray, KeepsWhatWasAppended) {
  MemoryLedger ledger(MemoryTier::kHost, 0);
  {
    BookedArray<int32_t> array(&ledger, "numbers");
    std::vector<int32_t> expected;
    for (int32_t i = 0; i < 3000; ++i) {
      std::vector<int32_t> more(static_cast<size_t>(i % 97));
      std::iota(more.begin(), more.end(), i);
      array.append(more);
      expected.insert(expected.end(), more.begin(), more.end());
    }
    EXPECT_EQ(std::vector<int32_t>(array.begin(), array.end()), expected);
    EXPECT_EQ(ledger.live(), array.bytes());
    array.shrink_to_fit();
    EXPECT_EQ(std::vector<int32_t>(array.begin(), array.end()), expected);
    EXPECT_EQ(ledger.live(), static_cast<int64_t>(4 * expected.size() + 4095) / 4096 * 4096);
  }
  EXPECT_EQ(ledger.live(), 0);
}

TEST(BookedArray, GrowsToTheLastPageOfTheBudgetAndNoFurther) {
  MemoryLedger ledger(MemoryTier::kHost, kMiB);
  ledger.add(4096, MemoryTag::kIoBuffers);
  BookedArray<int32_t> array(&ledger, "the tokens");
  const std::vector<int32_t> page(1024, 7);
  for (int i = 0; i < 255; ++i) array.append(page);
  EXPECT_EQ(ledger.peak(), kMiB);
  const std::string fault = fault_of([&] { array.append(page); });
  EXPECT_THAT(
      fault,
      HasSubstr("--host-memory: found 1.0 MiB, expected more: with the tokens it takes at least 1.0 MiB"));
  EXPECT_EQ(array.size(), 255u * 1024) << "a refused append changes nothing";
  EXPECT_EQ(ledger.live(), kMiB);
}

TEST(BookedArray, MovesWithItsBooking) {
  MemoryLedger ledger(MemoryTier::kHost, 0);
  BookedArray<char> first(&ledger, "text");
  first.append(std::span<const char>("abcdef", 6));
  BookedArray<char> second = std::move(first);
  EXPECT_EQ(first.size(), 0u);
  EXPECT_THAT(second, ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
  second.erase_front(2);
  EXPECT_THAT(second, ElementsAre('c', 'd', 'e', 'f'));
  second = BookedArray<char>(&ledger, "more");
  EXPECT_EQ(ledger.live(), 0);
  EXPECT_TRUE(second.empty());
}

TEST(BookedArray, BooksInItsLedgerAlsoAfterAMove) {
  MemoryLedger one(MemoryTier::kHost, kMiB), other(MemoryTier::kHost, kMiB);
  const std::vector<int32_t> page(1024, 7);
  BookedArray<int32_t> first(&one, "the tokens"), second(&other, "the text");
  first.append(page);
  second.append(page);
  second = std::move(first);
  EXPECT_EQ(second.size(), 1024u);
  EXPECT_EQ(other.live(), 0) << "what it had is given back";
  EXPECT_EQ(one.live(), second.bytes());
  for (BookedArray<int32_t>* array : {&first, &second}) {
    EXPECT_THAT(fault_of([&] {
                  while (true) array->append(page);
                }),
                HasSubstr("with the tokens it takes"));
    array->clear();
    array->shrink_to_fit();
    EXPECT_EQ(one.live(), array == &first ? second.bytes() : 0);
  }
  BookedArray<int32_t>& same = first;
  first.append(page);
  first = std::move(same);
  EXPECT_EQ(first.size(), 1024u);
  EXPECT_EQ(one.live(), first.bytes());
}

TEST(BookedArray, NeedsNoLedger) {
  BookedArray<int32_t> array = {1, 2, 3};
  array.append({});
  EXPECT_THAT(array, ElementsAre(1, 2, 3));
}

}  // namespace
}  // namespace aleph
