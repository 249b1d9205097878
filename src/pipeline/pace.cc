#include "pipeline/pace.h"

#include <algorithm>
#include <cmath>

namespace headwater {
namespace {

constexpr double kMostAllowance = 0.5;  // of the objective, for commit and tail
constexpr double kMargin = 0.8;         // of the objective: within reach again
constexpr std::size_t kCommitsPerLook = 16;
constexpr std::size_t kStepsPerLook = 8;
constexpr Nanos kFadeEvery = std::chrono::seconds(1);
constexpr double kKeep = 0.9;  // of what was counted, a second

}  // namespace

Pace::Pace(Nanos objective, CostLine start) : objective_(objective), cost_(start) {
  choose();
}

std::size_t Pace::rows(Nanos oldest) const {
  if (objective_ <= Nanos{0} || !cost_.curve().known()) {
    return CostLine::kMostRows;
  }
  const double ready =
      static_cast<double>(oldest.count()) + cost_.curve().at(steady_rows_) + commit_ns_;
  return ready > static_cast<double>(objective_.count()) ? late_rows_ : steady_rows_;
}

void Pace::choose() {
  const CostLine& curve = cost_.curve();
  if (objective_ <= Nanos{0} || !curve.known()) {
    return;
  }
  const auto objective = static_cast<double>(objective_.count());
  const double allowance = std::min(commit_ns_ + cost_.tail_ns(), kMostAllowance * objective);
  steady_rows_ = curve.rows_within((objective - allowance) / 2);
  late_rows_ = std::max(steady_rows_, curve.rows_within(objective));
  out_of_reach_ = curve.at(1) > objective * (out_of_reach_ ? kMargin : 1.0);
}

void Pace::stepped(std::size_t rows, Nanos took) {
  cost_.add(rows, took);
  if (cost_.calls() % kStepsPerLook == 0 || cost_.calls() == 1) {
    choose();
  }
}

void Pace::committed(Nanos took) {
  commits_[commit_count_++ % kCommits] = static_cast<double>(took.count());
  if (commit_count_ % kCommitsPerLook != 0) {
    return;
  }
  std::array<double, kCommits> sorted = commits_;
  const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(commit_count_, kCommits));
  const std::size_t place = count - 1 - count / 20;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(place),
                   sorted.begin() + static_cast<std::ptrdiff_t>(count));
  commit_ns_ = sorted[place];
  choose();
}

void Pace::decided(std::uint64_t rows, Nanos age, MonoTime now) {
  if (objective_ <= Nanos{0}) {
    return;
  }
  if (now - faded_ >= kFadeEvery) {
    const auto seconds = static_cast<double>((now - faded_) / kFadeEvery);
    const double keep = faded_ == MonoTime{} ? 0.0 : std::pow(kKeep, seconds);
    met_ *= keep;
    all_ *= keep;
    faded_ = now;
  }
  all_ += static_cast<double>(rows);
  met_ += age <= objective_ ? static_cast<double>(rows) : 0;
}

}  // namespace headwater
