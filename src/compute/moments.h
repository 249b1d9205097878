// Moments: the mergeable partial aggregates of one field, packed as doubles. Internal to compute.
//
// A partial holds only what the field's aggregates need. Adding one value and merging two partials
// are numerically stable (Welford; Chan, Golub, LeVeque 1983; Pébay 2008 for the third and fourth
// moments) and no value is ever taken out again. Quantiles are not among them: they need the values
// (compute/quantile.h).
// Times are seconds from a base the caller keeps. A value of NaN is no value.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "compute/aggregate.h"

namespace headwater {

class MomentsLayout {
 public:
  // Widens the layout to what `kind` needs.
  void need(AggregateKind kind) {
    switch (kind) {
      case AggregateKind::kCount:
        break;
      case AggregateKind::kSum:
      case AggregateKind::kMean:
        sum_ = true;
        break;
      case AggregateKind::kMin:
      case AggregateKind::kMax:
        range_ = true;
        break;
      case AggregateKind::kStd:
        spread_ = true;
        break;
      case AggregateKind::kRms:
        squares_ = true;
        break;
      case AggregateKind::kSlope:
        slope_ = true;
        break;
      case AggregateKind::kLast:
      case AggregateKind::kFirst:
      case AggregateKind::kDelta:
        ends_ = true;
        break;
      case AggregateKind::kRange:
        range_ = true;
        break;
      case AggregateKind::kCrest:
        range_ = true;
        squares_ = true;
        break;
      case AggregateKind::kSkewness:
      case AggregateKind::kKurtosis:
        spread_ = true;
        shape_ = true;
        order_or_shape_ = true;
        break;
      case AggregateKind::kZeroCrossings:
        signs_ = true;
        order_or_shape_ = true;
        break;
      case AggregateKind::kQuantile:
        break;
    }
    std::uint32_t next = 1;
    const auto place = [&next](bool wanted, std::uint32_t& at, std::uint32_t width) {
      at = next;
      next += wanted ? width : 0;
    };
    place(sum_, sum_at_, 1);
    place(squares_, squares_at_, 1);
    place(range_, range_at_, 2);
    place(ends_, ends_at_, 2);
    place(spread_, spread_at_, 2);
    place(shape_, shape_at_, 2);
    place(signs_, signs_at_, 3);
    place(slope_, slope_at_, 4);
    width_ = next;
  }
  std::size_t width() const { return width_; }

  void clear(double* p) const {
    std::fill_n(p, width_, 0.0);
    if (range_) {
      p[range_at_] = std::numeric_limits<double>::infinity();
      p[range_at_ + 1] = -std::numeric_limits<double>::infinity();
    }
  }

  // Adds a value that is newer (or, with `older`, older) than all in `p`.
  void add(double* p, double value, double seconds, bool older = false) const {
    if (std::isnan(value)) {
      return;
    }
    const double n = ++p[0];
    if (sum_) {
      p[sum_at_] += value;
    }
    if (squares_) {
      p[squares_at_] += value * value;
    }
    if (range_) {
      p[range_at_] = std::min(p[range_at_], value);
      p[range_at_ + 1] = std::max(p[range_at_ + 1], value);
    }
    if (ends_) {
      if (older || n == 1) {
        p[ends_at_] = value;
      }
      if (!older || n == 1) {
        p[ends_at_ + 1] = value;
      }
    }
    if (order_or_shape_) {
      add_order_and_shape(p, value, older);
    }
    if (spread_) {
      const double from = value - p[spread_at_];
      p[spread_at_] += from / n;
      p[spread_at_ + 1] += from * (value - p[spread_at_]);
    }
    if (slope_) {
      double* const s = p + slope_at_;  // mean time, mean value, co-moments time·time, time·value
      const double time_from = seconds - s[0];
      s[0] += time_from / n;
      s[1] += (value - s[1]) / n;
      s[2] += time_from * (seconds - s[0]);
      s[3] += time_from * (value - s[1]);
    }
  }

  // `p`, whose values are all older, takes in `newer`.
  void merge(double* p, const double* newer) const {
    const double a = p[0];
    const double b = newer[0];
    if (b == 0) {
      return;
    }
    if (a == 0) {
      std::copy_n(newer, width_, p);
      return;
    }
    const double n = a + b;
    if (order_or_shape_) {
      merge_order_and_shape(p, newer);
    }
    p[0] = n;
    if (sum_) {
      p[sum_at_] += newer[sum_at_];
    }
    if (squares_) {
      p[squares_at_] += newer[squares_at_];
    }
    if (range_) {
      p[range_at_] = std::min(p[range_at_], newer[range_at_]);
      p[range_at_ + 1] = std::max(p[range_at_ + 1], newer[range_at_ + 1]);
    }
    if (ends_) {
      p[ends_at_ + 1] = newer[ends_at_ + 1];
    }
    const double weight = b / n;
    if (spread_) {
      const double apart = newer[spread_at_] - p[spread_at_];
      p[spread_at_] += apart * weight;
      p[spread_at_ + 1] += newer[spread_at_ + 1] + apart * apart * a * weight;
    }
    if (slope_) {
      double* const s = p + slope_at_;
      const double* const o = newer + slope_at_;
      const double time_apart = o[0] - s[0];
      const double value_apart = o[1] - s[1];
      s[0] += time_apart * weight;
      s[1] += value_apart * weight;
      s[2] += o[2] + time_apart * time_apart * a * weight;
      s[3] += o[3] + time_apart * value_apart * a * weight;
    }
  }

  // The aggregate of a partial; NaN where it has none (too few values, no time between them).
  double result(const double* p, AggregateKind kind) const {
    const double n = p[0];
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
    if (kind == AggregateKind::kCount) {
      return n;
    }
    if (n == 0) {
      return kNone;
    }
    switch (kind) {
      case AggregateKind::kSum:
        return p[sum_at_];
      case AggregateKind::kMean:
        return p[sum_at_] / n;
      case AggregateKind::kMin:
        return p[range_at_];
      case AggregateKind::kMax:
        return p[range_at_ + 1];
      case AggregateKind::kStd:
        return n < 2 ? kNone : std::sqrt(p[spread_at_ + 1] / (n - 1));
      case AggregateKind::kRms:
        return std::sqrt(p[squares_at_] / n);
      case AggregateKind::kSlope:
        return p[slope_at_ + 2] > 0 ? p[slope_at_ + 3] / p[slope_at_ + 2] : kNone;
      case AggregateKind::kFirst:
        return p[ends_at_];
      case AggregateKind::kLast:
        return p[ends_at_ + 1];
      case AggregateKind::kDelta:
        return p[ends_at_ + 1] - p[ends_at_];
      case AggregateKind::kRange:
        return p[range_at_ + 1] - p[range_at_];
      case AggregateKind::kCrest: {
        const double rms = std::sqrt(p[squares_at_] / n);
        return rms > 0 ? std::max(-p[range_at_], p[range_at_ + 1]) / rms : kNone;
      }
      case AggregateKind::kSkewness: {
        const double m2 = p[spread_at_ + 1] / n;
        return m2 > 0 ? p[shape_at_] / n / (m2 * std::sqrt(m2)) : kNone;
      }
      case AggregateKind::kKurtosis: {
        const double m2 = p[spread_at_ + 1] / n;
        return m2 > 0 ? p[shape_at_ + 1] / n / (m2 * m2) : kNone;
      }
      case AggregateKind::kZeroCrossings:
        return p[signs_at_ + 2];
      case AggregateKind::kCount:
      case AggregateKind::kQuantile:
        break;
    }
    return kNone;
  }

 private:
  // Of a value whose count is in p[0] already, before the second moment takes it in. Apart, so that
  // the aggregates that nearly all windows have stay small and fast.
  [[gnu::noinline]] void add_order_and_shape(double* p, double value, bool older) const {
    const double n = p[0];
    if (shape_) {
      double* const s = p + shape_at_;  // sums of the third and fourth powers about the mean
      const double from = value - p[spread_at_];
      const double squares = p[spread_at_ + 1];
      const double step = from / n;
      const double term = from * step * (n - 1);
      s[1] += step * (step * (term * (n * n - 3 * n + 3) + 6 * squares) - 4 * s[0]);
      s[0] += step * (term * (n - 2) - 3 * squares);
    }
    if (signs_ && value != 0) {
      double* const s = p + signs_at_;  // first sign, last sign, changes between them; signs ±1
      const double sign = value > 0 ? 1 : -1;
      double& end = older ? s[0] : s[1];
      s[2] += end == -sign ? 1 : 0;
      end = sign;
      double& other = older ? s[1] : s[0];
      other = other == 0 ? sign : other;
    }
  }

  // Before the counts and second moments are merged.
  [[gnu::noinline]] void merge_order_and_shape(double* p, const double* newer) const {
    const double a = p[0];
    const double b = newer[0];
    if (shape_) {
      const double apart = newer[spread_at_] - p[spread_at_];
      const double step = apart / (a + b);
      const double a2 = p[spread_at_ + 1];
      const double b2 = newer[spread_at_ + 1];
      double* const s = p + shape_at_;
      const double* const o = newer + shape_at_;
      s[1] += o[1] + step * (step * (apart * step * a * b * (a * a - a * b + b * b) +
                                     6 * (a * a * b2 + b * b * a2)) +
                             4 * (a * o[0] - b * s[0]));
      s[0] += o[0] + step * (apart * step * a * b * (a - b) + 3 * (a * b2 - b * a2));
    }
    if (signs_) {
      double* const s = p + signs_at_;
      const double* const o = newer + signs_at_;
      s[2] += o[2] + (s[1] != 0 && s[1] == -o[0] ? 1 : 0);
      s[0] = s[0] == 0 ? o[0] : s[0];
      s[1] = o[1] == 0 ? s[1] : o[1];
    }
  }

  bool sum_ = false;
  bool squares_ = false;
  bool range_ = false;
  bool ends_ = false;
  bool spread_ = false;
  bool shape_ = false;
  bool signs_ = false;
  bool order_or_shape_ = false;
  bool slope_ = false;
  std::uint32_t sum_at_ = 1;
  std::uint32_t squares_at_ = 1;
  std::uint32_t range_at_ = 1;
  std::uint32_t ends_at_ = 1;
  std::uint32_t spread_at_ = 1;
  std::uint32_t shape_at_ = 1;
  std::uint32_t signs_at_ = 1;
  std::uint32_t slope_at_ = 1;
  std::uint32_t width_ = 1;  // [0] is the count of values
};

}  // namespace headwater
