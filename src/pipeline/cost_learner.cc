#include "pipeline/cost_learner.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace headwater {
namespace {

// Weight of a point is this to the power of the points set since.
constexpr double kFade = 0.8;
// Never less: sizes that were not seen for long still tell the slope while only one size comes.
constexpr double kLeastWeight = 1e-3;
// A point as old as this is replaced, a younger one moves half of the way.
constexpr std::uint64_t kStale = 24;
// Rows of the second point that a start curve is kept as.
constexpr double kStartRows = 256;

}  // namespace

std::size_t CostLine::rows_within(double ns) const {
  const double room = ns - fixed_ns;
  if (room <= row_ns) {
    return 1;
  }
  const double most = static_cast<double>(kMostRows);
  return static_cast<std::size_t>(row_ns > 0 ? std::min(most, room / row_ns) : most);
}

CostLearner::CostLearner(CostLine start) : line_(start) {
  if (!start.known()) {
    return;
  }
  for (const double rows : {1.0, kStartRows}) {
    Size& size = sizes_[std::bit_width(static_cast<std::size_t>(rows)) - 1U];
    size.point = {rows, start.fixed_ns + start.row_ns * rows};
  }
  points_ = kStale;  // the first calls replace them
}

void CostLearner::add(std::size_t rows, Nanos took) {
  const double ns = std::max(1.0, static_cast<double>(took.count()));
  const std::size_t index = std::min<std::size_t>(std::bit_width(rows | 1U), kSizes) - 1;
  Size& size = sizes_[index];
  size.gathered[size.count++] = {static_cast<double>(rows), ns};
  excesses_[calls_ % kExcesses] = line_.known() ? std::max(0.0, ns - line_.at(rows)) : 0;
  ++calls_;
  if (size.count == kGather) {
    set_point(size);
    fit();
  } else if (!line_.known()) {
    line_.row_ns = ns / static_cast<double>(rows);  // better than nothing, until a point is there
  }
  if (calls_ % kEvery == 0) {
    look_at_tail();
  }
}

void CostLearner::set_point(Size& size) {
  size.count = 0;
  const auto relative = [&](const Point& point) {
    return point.ns / (line_.known() ? line_.fixed_ns + line_.row_ns * point.rows : 1.0);
  };
  std::nth_element(size.gathered.begin(), size.gathered.begin() + kCounted, size.gathered.end(),
                   [&](const Point& a, const Point& b) { return relative(a) < relative(b); });
  const Point& chosen = size.gathered[kCounted];
  const bool fresh = size.point.ns > 0 && points_ - size.at < kStale;
  const double part = fresh ? 0.5 : 1.0;
  size.point.rows += part * (chosen.rows - size.point.rows);
  size.point.ns += part * (chosen.ns - size.point.ns);
  size.at = ++points_;
}

// Least squares of the relative errors; neither part below zero.
void CostLearner::fit() {
  double w0 = 0;
  double wn = 0;
  double wnn = 0;
  double wy = 0;
  double wny = 0;
  for (const Size& size : sizes_) {
    if (size.point.ns <= 0) {
      continue;
    }
    const auto age = static_cast<double>(points_ - size.at);
    const double weight =
        std::max(std::pow(kFade, age), kLeastWeight) / (size.point.ns * size.point.ns);
    w0 += weight;
    wn += weight * size.point.rows;
    wnn += weight * size.point.rows * size.point.rows;
    wy += weight * size.point.ns;
    wny += weight * size.point.rows * size.point.ns;
  }
  const double spread = w0 * wnn - wn * wn;
  if (spread <= 1e-9 * w0 * wnn) {  // one size: the parts keep their ratio
    const double at_size = line_.fixed_ns + line_.row_ns * wn / w0;
    const double factor = at_size > 0 ? wy / w0 / at_size : 0;
    line_ = {line_.fixed_ns * factor, line_.row_ns * factor};
    return;
  }
  const double row = (w0 * wny - wn * wy) / spread;
  const double fixed = (wy - row * wn) / w0;
  if (fixed < 0) {
    line_ = {0, wny / wnn};
  } else if (row < 0) {
    line_ = {wy / w0, 0};
  } else {
    line_ = {fixed, row};
  }
}

void CostLearner::look_at_tail() {
  std::array<double, kExcesses> sorted = excesses_;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(calls_, kExcesses));
  const std::size_t place = count - 1 - count / 100;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(place),
                   sorted.begin() + static_cast<std::ptrdiff_t>(count));
  tail_ns_ = sorted[place];
}

}  // namespace headwater
