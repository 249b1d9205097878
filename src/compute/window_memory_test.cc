// What a window's keys cost in memory, by an operator new that counts: a program of its own.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>
#include <new>

#include "compute/window_testing.h"

namespace {

std::size_t held = 0;  // bytes of the heap behind operator new; the tests have one thread

}  // namespace

void* operator new(std::size_t size) {
  void* const block = std::malloc(size);
  if (block == nullptr) {
    throw std::bad_alloc();
  }
  held += malloc_usable_size(block) + sizeof(std::size_t);  // and malloc's own word
  return block;
}
void operator delete(void* block) noexcept {
  if (block != nullptr) {
    held -= malloc_usable_size(block) + sizeof(std::size_t);
    std::free(block);
  }
}
void operator delete(void* block, std::size_t) noexcept {
  operator delete(block);
}

namespace headwater {
namespace {

using std::chrono::seconds;

// A window with `rms` and `slope` of a field, fed with `rounds` rows of each of `devices`, one
// every second. `bytes` is what it holds afterwards.
std::unique_ptr<Window> fed(WindowOptions options, int devices, int rounds, WindowStats& stats,
                            std::size_t& bytes) {
  options.aggregates = {{"rms", AggregateKind::kRms, "x", 0},
                        {"slope", AggregateKind::kSlope, "x", 0}};
  Batch batch;
  const std::size_t before = held;
  auto window = make(std::move(options));
  for (int round = 0; round < rounds; ++round) {
    for (int first = 0; first < devices; first += 1000) {
      std::vector<Reading> readings;
      for (int i = first; i < first + 1000; ++i) {
        readings.push_back({"device-" + std::to_string(i), static_cast<double>(round), 1.5});
      }
      fill(batch, readings);
      EXPECT_TRUE(window->process(batch, stats));
    }
  }
  batch = Batch();
  bytes = held - before;
  return window;
}

struct Kind {
  const char* name;
  WindowOptions options;
  // The bounds that compute/window.h states: bytes of a key, and of a row of its window.
  double per_key;
  double per_row;
};

constexpr int kWindowRows = 4;

std::vector<Kind> kinds() {
  return {{"last", {.last = seconds(kWindowRows)}, 400, 96},
          {"rows", {.rows = kWindowRows}, 400, 96},
          {"every", {.every = seconds(kWindowRows)}, 280, 48}};
}

TEST(WindowMemory, OfAHundredThousandKeysIsWithinItsBound) {
  for (Kind& kind : kinds()) {
    kind.options.max_keys = 100'000;
    WindowStats stats;
    std::size_t bytes = 0;
    const auto window = fed(kind.options, 100'000, 12, stats, bytes);
    EXPECT_EQ(window->keys(), 100'000U);
    EXPECT_EQ(stats.evicted_keys, 0U);
    EXPECT_LE(window->held_rows(), 100'000U * 2 * kWindowRows);
    const double per_key = static_cast<double>(bytes) / 100'000;
    EXPECT_LT(per_key, kind.per_key + kind.per_row * kWindowRows) << kind.name;
    RecordProperty(std::string("bytes_per_key_") + kind.name, static_cast<int>(per_key));
    std::printf("%s: %.0f bytes a key with windows of %d rows\n", kind.name, per_key, kWindowRows);
  }
}

TEST(WindowMemory, StaysThatOfMaxKeysHoweverManyThereAre) {
  for (Kind& kind : kinds()) {
    kind.options.max_keys = 10'000;
    WindowStats stats;
    std::size_t bytes = 0;
    const auto window = fed(kind.options, 120'000, 2, stats, bytes);
    EXPECT_EQ(window->keys(), 10'000U);
    EXPECT_EQ(stats.evicted_keys, 230'000U);
    EXPECT_LE(window->held_rows(), 10'000U * 2);
    EXPECT_LT(static_cast<double>(bytes) / 10'000, kind.per_key + kind.per_row) << kind.name;
    std::printf("%s: %.0f bytes a key with one row\n", kind.name,
                static_cast<double>(bytes) / 10'000);
  }
}

TEST(WindowMemory, OfKeysThatAreTooOldIsGivenBack) {
  WindowOptions options{.last = seconds(8), .max_keys = 100'000, .max_age = seconds(60)};
  WindowStats stats;
  std::size_t bytes = 0;
  const auto window = fed(std::move(options), 100'000, 1, stats, bytes);
  EXPECT_EQ(window->keys(), 100'000U);
  const std::size_t full = held;
  run(*window, {{"another", 100, 1}}, stats);
  EXPECT_EQ(window->keys(), 1U);
  EXPECT_EQ(stats.aged_keys, 100'000U);
  // The table itself stays, for the keys to come: compute/window.h states its bytes a key. (How
  // much that is of the whole depends on how malloc rounds.)
  const double left = static_cast<double>(bytes - (full - held)) / 100'000;
  EXPECT_LT(left, 220);
  std::printf("last: %.0f bytes of a key that is forgotten stay\n", left);
}

}  // namespace
}  // namespace headwater
