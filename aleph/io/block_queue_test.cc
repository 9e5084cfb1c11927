#include "aleph/io/block_queue.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "aleph/base/error.h"
#include "aleph/base/testing.h"

namespace aleph::io {
namespace {

std::shared_ptr<Request> make_request(Direction direction, int64_t blocks) {
  auto request = std::make_shared<Request>();
  request->direction = direction;
  request->bytes = 10 * blocks;
  request->open_blocks = blocks;
  return request;
}

std::vector<Block> blocks_of(const std::shared_ptr<Request>& request) {
  std::vector<Block> blocks;
  for (int64_t i = 0; i < request->open_blocks; ++i)
    blocks.push_back({request, Transfer(request->direction, {}, 10 * i, nullptr, 10)});
  return blocks;
}

std::exception_ptr failure(const char* text) { return std::make_exception_ptr(Error("f", text, "better")); }

TEST(BlockQueue, GivesBlocksInTheOrderTheyCame) {
  BlockQueue queue;
  EXPECT_FALSE(queue.try_next().has_value());
  queue.add(blocks_of(make_request(Direction::kRead, 3)));
  for (const int64_t offset : {0, 10, 20}) EXPECT_EQ(queue.next()->transfer.offset(), offset);
  EXPECT_FALSE(queue.try_next().has_value());
}

TEST(BlockQueue, ARequestIsDoneWithItsLastBlock) {
  BlockQueue queue;
  const auto request = make_request(Direction::kWrite, 2);
  queue.add(blocks_of(request));
  const Block first = *queue.next(), second = *queue.next();
  queue.finish(second, nullptr);
  EXPECT_FALSE(queue.done(*request));
  EXPECT_EQ(queue.stats().writes, 0);
  queue.finish(first, nullptr);
  EXPECT_TRUE(queue.done(*request));
  queue.wait(*request);
  const AsyncQueue::Stats stats = queue.stats();
  EXPECT_EQ(stats.writes, 1);
  EXPECT_EQ(stats.bytes_written, 20);
  EXPECT_EQ(stats.reads, 0);
  EXPECT_GT(stats.busy_seconds, 0);
}

TEST(BlockQueue, TheFirstFailureOfARequestCountsAndIsThrownEachTime) {
  BlockQueue queue;
  const auto request = make_request(Direction::kRead, 3);
  queue.add(blocks_of(request));
  for (const char* text : {"first", "second"}) queue.finish(*queue.next(), failure(text));
  queue.finish(*queue.next(), nullptr);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(fault_of([&] { queue.wait(*request); }), "f: found first, expected better");
  EXPECT_EQ(fault_of([&] { queue.drain(); }), "no error") << "it was thrown already";
  EXPECT_EQ(queue.stats().reads, 0);
}

TEST(BlockQueue, DrainThrowsTheFirstFailureThatNobodySawAndForgetsTheRest) {
  BlockQueue queue;
  for (const char* text : {"one", "two"}) {
    queue.add(blocks_of(make_request(Direction::kRead, 1)));
    queue.finish(*queue.next(), failure(text));
  }
  EXPECT_EQ(fault_of([&] { queue.drain(); }), "f: found one, expected better");
  EXPECT_EQ(fault_of([&] { queue.drain(); }), "no error");
}

TEST(BlockQueue, WaitersWakeWhenAnotherThreadFinishes) {
  BlockQueue queue;
  const auto request = make_request(Direction::kRead, 50);
  std::thread worker([&] {
    while (const auto block = queue.next()) queue.finish(*block, nullptr);
  });
  queue.add(blocks_of(request));
  queue.wait(*request);
  EXPECT_TRUE(queue.done(*request));
  for (int i = 0; i < 20; ++i) queue.add(blocks_of(make_request(Direction::kWrite, 3)));
  queue.wait_all();
  EXPECT_EQ(queue.stats().writes, 20);
  queue.stop();
  worker.join();
  EXPECT_TRUE(queue.stopped());
}

TEST(BlockQueue, WhatWaitsIsStillGivenAfterStop) {
  BlockQueue queue;
  queue.add(blocks_of(make_request(Direction::kRead, 2)));
  queue.stop();
  EXPECT_TRUE(queue.next().has_value());
  EXPECT_TRUE(queue.next().has_value());
  EXPECT_FALSE(queue.next().has_value());
}

}  // namespace
}  // namespace aleph::io
