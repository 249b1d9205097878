#include "data/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace headwater {
namespace {

TEST(Arena, CopiesStayWhileOthersCome) {
  Arena arena;
  std::vector<std::string_view> views;
  for (int i = 0; i < 20'000; ++i) {
    views.push_back(arena.copy("value " + std::to_string(i)));
  }
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_EQ(views[static_cast<std::size_t>(i)], "value " + std::to_string(i));
  }
}

TEST(Arena, EveryAllocationHasReadablePadding) {
  Arena arena;
  for (const std::size_t size : {std::size_t{1}, Arena::kChunkBytes - 1, Arena::kChunkBytes,
                                 Arena::kChunkBytes + 1, std::size_t{0}}) {
    char* const bytes = arena.allocate(size);
    ASSERT_NE(bytes, nullptr);
    std::memset(bytes, 'x', size);
    std::string sink(Arena::kPadding, '\0');
    std::memcpy(sink.data(), bytes + size, Arena::kPadding);  // ASan objects if it is not ours
  }
}

TEST(Arena, AnEmptyViewIsCopied) {
  Arena arena;
  EXPECT_TRUE(arena.copy(std::string_view()).empty());
  EXPECT_NE(arena.copy("").data(), nullptr);
}

TEST(Arena, ClearKeepsChunksUpToItsBound) {
  Arena arena;
  for (int i = 0; i < 10; ++i) {
    (void)arena.allocate(Arena::kChunkBytes);
  }
  const std::size_t held = arena.held();
  EXPECT_EQ(held, 10 * (Arena::kChunkBytes + Arena::kPadding));
  arena.clear();
  EXPECT_EQ(arena.used(), 0U);
  EXPECT_EQ(arena.held(), held);
  for (int i = 0; i < 10; ++i) {
    (void)arena.allocate(Arena::kChunkBytes);
  }
  EXPECT_EQ(arena.held(), held) << "the kept chunks are used again";
  arena.clear(3 * (Arena::kChunkBytes + Arena::kPadding));
  EXPECT_EQ(arena.held(), 3 * (Arena::kChunkBytes + Arena::kPadding));
  arena.clear(0);
  EXPECT_EQ(arena.held(), 0U);
}

TEST(Arena, ShrinkLastGivesTheRestBack) {
  Arena arena;
  char* const first = arena.allocate(100);
  arena.shrink_last(first, 10);
  EXPECT_EQ(arena.used(), 10U);
  EXPECT_EQ(arena.allocate(5), first + 10);
}

TEST(Arena, MovingKeepsViewsAndEmptiesTheSource) {
  Arena first;
  const std::string_view view = first.copy("hello");
  Arena second = std::move(first);
  EXPECT_EQ(view, "hello");
  EXPECT_EQ(first.used(), 0U);  // NOLINT: the moved-from arena is meant
  EXPECT_EQ(first.held(), 0U);
  const std::string_view other = first.copy("other");
  EXPECT_EQ(view, "hello") << "the source has memory of its own again";
  EXPECT_EQ(other, "other");
  first = std::move(second);
  EXPECT_EQ(view, "hello");
  EXPECT_EQ(second.held(), 0U);  // NOLINT
}

}  // namespace
}  // namespace headwater
