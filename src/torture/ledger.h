// Ledger: what the receiver has, row by row, and the verdict over a trial: is everything that was
// acknowledged to a device with the receiver, still in the store, or in a gap record, exactly; is
// nothing there twice, out of order, or decided otherwise than without the faults.
//
// One thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "store/records.h"
#include "torture/blueprint.h"

namespace headwater::torture {

struct Verdict {
  std::uint64_t acknowledged = 0;
  std::uint64_t delivered = 0;    // rows the receiver had when the trial ended
  std::uint64_t pending = 0;      // rows in the store that it had not
  std::uint64_t gaps = 0;         // rows in gap records that it had not, by sequence
  std::uint64_t lost = 0;         // acknowledged, and nowhere
  std::uint64_t duplicated = 0;   // a message under two sequences, or a sequence with two messages
  std::uint64_t reordered = 0;    // rows behind a later one of their device
  std::uint64_t altered = 0;      // other bytes than were sent, or never sent
  std::uint64_t unexplained = 0;  // rows in gaps of damage where nothing was damaged
  std::uint64_t decided_otherwise = 0;  // scores and alerts
  std::vector<std::string> findings;    // in words; the first few

  bool good() const {
    return lost + duplicated + reordered + altered + unexplained + decided_otherwise == 0;
  }
  void find(std::string text);
};

class Ledger {
 public:
  // A row as a reader gave it. `known` is the message by its identity; null: never sent.
  void row(std::uint64_t sequence, const MessageName* known, bool same_bytes, bool delivered,
           Verdict& verdict);
  // Scores of one pass over the log. A row decided twice in a pass is a finding.
  void begin_pass() { this_pass_.clear(); }
  void decisions(const Decisions& decisions, Verdict& verdict);
  // The score that came with a row.
  void score(std::uint64_t sequence, double score, Verdict& verdict);
  // Rows that the receiver knows as gaps.
  void let_go(std::uint64_t first, std::uint64_t last) { let_go_.emplace_back(first, last); }
  // An alert as the receiver got it; one it has already is a repeat.
  void alert(std::uint32_t device, std::string_view json);

  const std::map<std::uint64_t, MessageName>& rows() const { return rows_; }
  bool delivered(std::uint64_t sequence) const { return delivered_.contains(sequence); }

  struct Facts {
    std::uint64_t next_sequence = 1;  // of the readings lane
    std::vector<Gap> gaps;            // of all lanes
    std::vector<MessageName> acknowledged;
    bool damaged = false;  // bits were flipped
    // Messages sent again: one that was stored and let go before its device heard of it is stored
    // a second time, and its first row is one of a gap.
    std::uint64_t sent_again = 0;
    // Rows from here on must have their decision in the last pass.
    std::uint64_t decided_from = ~std::uint64_t{0};
    const Decided* expected = nullptr;  // null: not compared
  };
  void judge(const Facts& facts, Verdict& verdict) const;

 private:
  void judge_rows(const Facts& facts, Verdict& verdict) const;
  void judge_order(Verdict& verdict) const;
  void judge_decisions(const Facts& facts, Verdict& verdict) const;
  void judge_alerts(const Facts& facts, Verdict& verdict) const;

  std::map<std::uint64_t, MessageName> rows_;  // by sequence: delivered and pending
  std::map<MessageName, std::uint64_t> sequences_;
  std::set<std::uint64_t> delivered_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> let_go_;
  std::map<std::uint64_t, double> scores_;  // by sequence; NaN: decided without a score
  std::set<std::uint64_t> this_pass_;
  std::map<std::uint32_t, std::vector<std::string>> alerts_;  // by device, first arrivals
  std::set<std::string, std::less<>> known_alerts_;
};

}  // namespace headwater::torture
