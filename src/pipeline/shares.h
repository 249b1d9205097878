// Shares: whose turn it is when several pipelines want the CPU of one worker (stride scheduling).
//
// Each has an account of the CPU time that it used, divided by its weight; the one with the least
// goes next. One that had nothing to do comes back at the present: idle time is not saved up, so
// nobody else has to wait until it has caught up. A step that is long only costs its own pipeline:
// the others go first until they have had as much.
//
// Not thread-safe: one worker's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include "base/time.h"

namespace headwater {

class Shares {
 public:
  // A new one; its number is one more than the last.
  void add() { accounts_.push_back({virtual_, false, false}); }

  // A round: each may go, as often as it has something to do.
  void begin() {
    for (Account& account : accounts_) {
      if (!account.busy) {
        account.used = std::max(account.used, virtual_);
      }
      account.may_go = true;
    }
  }
  // Who goes next; none when all are done in this round.
  std::optional<std::size_t> next() {
    std::optional<std::size_t> least;
    for (std::size_t i = 0; i < accounts_.size(); ++i) {
      if (accounts_[i].may_go && (!least || accounts_[i].used < accounts_[*least].used)) {
        least = i;
      }
    }
    if (least) {
      virtual_ = std::max(virtual_, accounts_[*least].used);
    }
    return least;
  }
  // What it used; `more`: it has something to do still.
  void used(std::size_t who, Nanos cpu, double weight, bool more) {
    Account& account = accounts_[who];
    account.used += static_cast<double>(cpu.count()) / weight;
    account.busy = more;
    account.may_go = more;
  }

 private:
  struct Account {
    double used = 0;  // ns by weight; a double counts those of a year to 4 ns
    bool busy = false;
    bool may_go = false;
  };
  std::vector<Account> accounts_;
  double virtual_ = 0;  // the least account of those who go: the present
};

}  // namespace headwater
