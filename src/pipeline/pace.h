// Pace: how many rows one step of a pipeline takes, so that decisions keep to a latency objective.
//
// Never waits: what has arrived is taken at once, and a batch grows because rows arrive while the
// one before is being scored. What Pace bounds is the time of one step. A row waits for the step
// that runs when it arrives, then for its own, then for the commit; so a step may take
//
//     (objective − commit − tail) / 2
//
// with the commit's time as measured (the wait for the worker included), the tail as learned
// (cost_learner.h), and both together at most half of the objective. Where the oldest row that
// waits cannot hold the objective any more, nothing is won by small steps: they grow up to the
// time of the objective, and the rate with them, until the queue is short again.
//
// The learned cost is that of whole steps: model calls, the other steps of the pipeline and the
// records of decisions.
//
// Thread rule: the worker's. What others may see is copied out by the owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.h"
#include "pipeline/cost_learner.h"

namespace headwater {

class Pace {
 public:
  // No objective (0): no bound. `start`: what a step costs, as far as it was measured before.
  explicit Pace(Nanos objective = {}, CostLine start = {});

  Nanos objective() const { return objective_; }
  const CostLearner& cost() const { return cost_; }

  // The most rows that the next step takes, when the oldest row that waits for it is so old.
  std::size_t rows(Nanos oldest) const;
  // The same for a queue that keeps up.
  std::size_t steady_rows() const { return steady_rows_; }

  void stepped(std::size_t rows, Nanos took);
  // From the decision of some rows to the worker's hearing of their commit.
  void committed(Nanos took);
  Nanos commit() const { return Nanos(static_cast<std::int64_t>(commit_ns_)); }

  // `rows` decisions were durable at this age.
  void decided(std::uint64_t rows, Nanos age, MonoTime now);
  // The part of the decisions of the last 10 s or so that held the objective; 1 before the first.
  double met() const { return all_ > 0 ? met_ / all_ : 1.0; }

  // The step of a row alone takes longer than the objective. Changes its mind only behind a margin.
  bool out_of_reach() const { return out_of_reach_; }

 private:
  void choose();

  Nanos objective_;
  CostLearner cost_;
  std::size_t steady_rows_ = CostLine::kMostRows;
  std::size_t late_rows_ = CostLine::kMostRows;
  bool out_of_reach_ = false;

  static constexpr std::size_t kCommits = 128;
  std::array<double, kCommits> commits_{};
  std::uint64_t commit_count_ = 0;
  double commit_ns_ = 0;  // 95 of 100 took no longer

  double met_ = 0;
  double all_ = 0;
  MonoTime faded_{};
};

}  // namespace headwater
