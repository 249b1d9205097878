#include "torture/ledger.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace headwater::torture {
namespace {

constexpr std::size_t kMostFindings = 12;

bool same_score(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

std::string shown(const MessageName& name) {
  return fmt::format("message {} of device {}", name.number, name.device);
}

}  // namespace

void Verdict::find(std::string text) {
  if (findings.size() < kMostFindings) {
    findings.push_back(std::move(text));
  }
}

void Ledger::row(std::uint64_t sequence, const MessageName* known, bool same_bytes, bool delivered,
                 Verdict& verdict) {
  if (known == nullptr || !same_bytes) {
    ++verdict.altered;
    verdict.find(known == nullptr
                     ? fmt::format("row {} was never sent", sequence)
                     : fmt::format("row {}, {}, has other bytes", sequence, shown(*known)));
    return;
  }
  const auto [at, fresh] = rows_.emplace(sequence, *known);
  if (!fresh && at->second != *known) {
    ++verdict.duplicated;
    verdict.find(
        fmt::format("sequence {} is {} and {}", sequence, shown(at->second), shown(*known)));
    return;
  }
  if (delivered) {
    delivered_.insert(sequence);
  }
  const auto [other, first] = sequences_.emplace(*known, sequence);
  if (!first && other->second != sequence && fresh) {
    ++verdict.duplicated;
    verdict.find(
        fmt::format("{} is stored as rows {} and {}", shown(*known), other->second, sequence));
  }
}

void Ledger::decisions(const Decisions& decided, Verdict& verdict) {
  for (std::uint32_t i = 0; i < decided.count; ++i) {
    const std::uint64_t sequence =
        decided.sequences.empty() ? decided.first + i : decided.sequences[i];
    const double score =
        decided.scores.empty() ? std::numeric_limits<double>::quiet_NaN() : decided.scores[i];
    if (!this_pass_.insert(sequence).second) {
      ++verdict.decided_otherwise;
      verdict.find(fmt::format("row {} was decided twice", sequence));
      continue;
    }
    this->score(sequence, score, verdict);
  }
}

void Ledger::score(std::uint64_t sequence, double score, Verdict& verdict) {
  const auto [at, fresh] = scores_.emplace(sequence, score);
  if (!fresh && !same_score(at->second, score)) {
    ++verdict.decided_otherwise;
    verdict.find(fmt::format("row {} has scores {} and {}", sequence, at->second, score));
  }
}

void Ledger::alert(std::uint32_t device, std::string_view json) {
  // Ids are in the text: equal texts are repeats of one alert.
  if (known_alerts_.emplace(json).second) {
    alerts_[device].emplace_back(json);
  }
}

void Ledger::judge(const Facts& facts, Verdict& verdict) const {
  judge_rows(facts, verdict);
  judge_order(verdict);
  if (facts.expected != nullptr) {
    judge_decisions(facts, verdict);
    judge_alerts(facts, verdict);
  }
}

void Ledger::judge_rows(const Facts& facts, Verdict& verdict) const {
  verdict.acknowledged = facts.acknowledged.size();
  verdict.delivered = delivered_.size();
  verdict.pending = rows_.size() - delivered_.size();
  // Each sequence is a row somewhere, or in a gap record.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> covered = let_go_;
  for (const Gap& gap : facts.gaps) {
    if (gap.reason == GapReason::kCorrupt && !facts.damaged) {
      verdict.unexplained += gap.count;
      verdict.find(fmt::format("{} rows {} to {} are said to be damaged", lane_name(gap.lane),
                               gap.first, gap.last));
    }
    if (gap.lane == Lane::kReadings) {
      covered.emplace_back(gap.first, gap.last);
    }
  }
  std::sort(covered.begin(), covered.end());
  std::uint64_t missing = 0;
  std::size_t at = 0;
  auto row = rows_.begin();
  for (std::uint64_t sequence = 1; sequence < facts.next_sequence; ++sequence) {
    while (row != rows_.end() && row->first < sequence) {
      ++row;
    }
    while (at < covered.size() && covered[at].second < sequence) {
      ++at;
    }
    if (row != rows_.end() && row->first == sequence) {
      continue;
    }
    if (at < covered.size() && covered[at].first <= sequence) {
      ++verdict.gaps;
    } else {
      ++missing;
      verdict.find(fmt::format("row {} is nowhere, and in no gap record", sequence));
    }
  }
  std::uint64_t absent = 0;
  for (const MessageName& name : facts.acknowledged) {
    if (!sequences_.contains(name)) {
      ++absent;
      if (absent > verdict.gaps) {
        verdict.find(fmt::format("{} was acknowledged and is nowhere", shown(name)));
      }
    }
  }
  const std::uint64_t beyond_gaps = absent > verdict.gaps ? absent - verdict.gaps : 0;
  verdict.lost += std::max(beyond_gaps, missing);
  if (!facts.damaged && absent + facts.sent_again < verdict.gaps) {
    verdict.unexplained += verdict.gaps - absent;
    verdict.find(fmt::format("gap records tell of {} rows, {} acknowledged ones are missing",
                             verdict.gaps, absent));
  }
  if (!rows_.empty() && rows_.rbegin()->first >= facts.next_sequence) {
    ++verdict.lost;
    verdict.find(fmt::format("the receiver has row {}, the store's next is {}",
                             rows_.rbegin()->first, facts.next_sequence));
  }
}

void Ledger::judge_order(Verdict& verdict) const {
  std::map<std::uint32_t, std::uint32_t> last;
  for (const auto& [sequence, name] : rows_) {
    std::uint32_t& before = last[name.device];
    if (name.number < before) {
      ++verdict.reordered;
      verdict.find(
          fmt::format("row {}, {}, comes behind message {}", sequence, shown(name), before));
    }
    before = std::max(before, name.number);
  }
}

void Ledger::judge_decisions(const Facts& facts, Verdict& verdict) const {
  for (const auto& [sequence, name] : rows_) {
    const auto found = scores_.find(sequence);
    if (found == scores_.end()) {
      if (sequence >= facts.decided_from) {
        ++verdict.decided_otherwise;
        verdict.find(fmt::format("row {}, {}, was never decided", sequence, shown(name)));
      }
      continue;
    }
    const auto expected = facts.expected->scores.find(name);
    const double score = expected == facts.expected->scores.end()
                             ? std::numeric_limits<double>::quiet_NaN()
                             : expected->second;
    if (!same_score(found->second, score)) {
      ++verdict.decided_otherwise;
      verdict.find(fmt::format("row {}, {}, has score {}, without faults {}", sequence, shown(name),
                               found->second, score));
    }
  }
}

void Ledger::judge_alerts(const Facts& facts, Verdict& verdict) const {
  std::uint64_t let_go = 0;
  for (const Gap& gap : facts.gaps) {
    let_go += gap.lane == Lane::kAlerts ? gap.count : 0;
  }
  for (const auto& [device, expected] : facts.expected->alerts) {
    const auto found = alerts_.find(device);
    const std::vector<std::string> none;
    const std::vector<std::string>& got = found == alerts_.end() ? none : found->second;
    std::size_t at = 0;
    for (const std::string& json : expected) {
      if (at < got.size() && got[at] == json) {
        ++at;
      } else if (let_go > 0) {
        --let_go;
      } else {
        ++verdict.decided_otherwise;
        verdict.find(fmt::format("device {}: alert {} of {} is not there: {}", device, at + 1,
                                 expected.size(), json.substr(0, 100)));
        break;
      }
    }
    if (at < got.size()) {
      ++verdict.decided_otherwise;
      verdict.find(fmt::format("device {}: an alert that a run without faults does not make: {}",
                               device, got[at].substr(0, 100)));
    }
  }
  for (const auto& [device, got] : alerts_) {
    if (!facts.expected->alerts.contains(device)) {
      ++verdict.decided_otherwise;
      verdict.find(fmt::format("device {}: {} alerts, without faults none", device, got.size()));
    }
  }
}

}  // namespace headwater::torture
