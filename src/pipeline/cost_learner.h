// CostLearner: what a call of n rows takes on this machine now, fixed + per_row × n, learned from
// the calls themselves.
//
//   CostLearner cost(warm_up);                  // a curve measured before, or none
//   cost.add(rows, took);                       // after every call
//   cost.curve().rows_within(5 * 1e6);          // the most rows whose call fits in 5 ms
//
// Noise on a machine adds time and never takes any away: calls are gathered by size (powers of
// two), of every eight of a size the third fastest counts, and the line is fitted through these
// points, in relative error, with weights that fade as other points come in. So a neighbour's
// spikes do not move the line, and a machine that became slower or faster moves it within some
// tens of calls. What the spikes cost stands apart: tail_ns().
//
// No clock and no allocation after the constructor. Not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace headwater {

struct CostLine {
  double fixed_ns = 0;
  double row_ns = 0;

  double at(std::size_t rows) const { return fixed_ns + row_ns * static_cast<double>(rows); }
  // The most rows within so many nanoseconds; at least 1, at most kMostRows.
  std::size_t rows_within(double ns) const;
  static constexpr std::size_t kMostRows = 1'000'000;
  bool known() const { return fixed_ns > 0 || row_ns > 0; }
};

class CostLearner {
 public:
  // `start` holds until calls say otherwise.
  explicit CostLearner(CostLine start = {});

  // `rows` ≥ 1.
  void add(std::size_t rows, Nanos took);

  const CostLine& curve() const { return line_; }
  // 99 of the last 100 calls took at most so much more than the curve says (of 512 calls).
  double tail_ns() const { return tail_ns_; }
  // Calls so far.
  std::uint64_t calls() const { return calls_; }

 private:
  static constexpr std::size_t kSizes = 20;   // 1, 2…3, 4…7, …
  static constexpr std::size_t kGather = 8;   // calls of a size that make one point
  static constexpr std::size_t kCounted = 2;  // which of them counts, from the fastest: 0, 1, …
  static constexpr std::size_t kExcesses = 512;
  static constexpr std::size_t kEvery = 32;  // calls between two looks at the tail

  struct Point {
    double rows = 0;
    double ns = 0;
  };
  struct Size {
    std::array<Point, kGather> gathered{};
    std::size_t count = 0;
    Point point{};         // where ns > 0
    std::uint64_t at = 0;  // points_ when it was set
  };

  void set_point(Size& size);
  void fit();
  void look_at_tail();

  CostLine line_;
  std::array<Size, kSizes> sizes_{};
  std::uint64_t points_ = 0;
  std::uint64_t calls_ = 0;
  std::array<double, kExcesses> excesses_{};
  double tail_ns_ = 0;
};

}  // namespace headwater
