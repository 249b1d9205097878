// BatchReceiver: the other end of the uplink under torture. It keeps what docs/formats/batch.md
// asks of a receiver: the set of sequence ranges that it has, changed together with its rows; a row
// of a sequence that it has is a repeat. Its faults follow from the seed: it answers that it is
// busy or wants another token, stores and loses its answer, takes no batch above a size, and
// refuses a few rows for good.
//
// It survives the edge; BatchTarget is the link of one life of the edge to it. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "base/bytes.h"
#include "columnar/batch.h"
#include "store/lane.h"
#include "torture/fleet.h"
#include "torture/ledger.h"
#include "uplink/target.h"

namespace headwater::torture {

// Sequences that a receiver has.
class Ranges {
 public:
  void add(std::uint64_t first, std::uint64_t last);
  bool has(std::uint64_t sequence) const;

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // first → last, not touching
};

class BatchReceiver {
 public:
  // The references outlive it.
  BatchReceiver(std::uint64_t seed, const Fleet& fleet, Ledger& ledger, Verdict& verdict);

  // What becomes of a batch that has come in whole.
  TargetAnswer take(const EncodedBatch& batch);

  bool has(Lane lane, std::uint64_t sequence) const { return lanes_[index_of(lane)].has(sequence); }
  // Readings that it has refused for good, and knows as gaps.
  const std::set<std::uint64_t>& refused() const { return refused_; }
  // Dead letters that it has or knows as gaps, by sequence.
  const std::set<std::uint64_t>& letters() const { return letters_; }
  // Rows that came without their decision; of a lane that was damaged or cut short they may.
  std::uint64_t undecided() const { return undecided_; }

 private:
  // kRefused or kTooLarge, without anything stored; kStored: it can be.
  Receipt inspect(const EncodedBatch& batch);
  Status store(const EncodedBatch& batch);
  void take_row(const BatchRow& row);
  bool refuses(const BatchRow& row) const;
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  const Fleet& fleet_;
  Ledger& ledger_;
  Verdict& verdict_;
  std::mt19937_64 random_;
  std::uint64_t most_rows_ = 0;      // of a batch; 0: no limit
  std::uint64_t poison_one_in_ = 0;  // rows; 0: none
  Id128 spool_;
  std::array<Ranges, kLanes> lanes_;
  std::set<std::uint64_t> refused_;
  std::set<std::uint64_t> letters_;
  std::uint64_t rows_ = 0;  // readings that it has stored
  std::uint64_t undecided_ = 0;
};

class BatchTarget final : public UplinkTarget {
 public:
  explicit BatchTarget(BatchReceiver& receiver) : receiver_(receiver) {}
  Status start(io::Loop&) override { return {}; }
  void send(const EncodedBatch& batch, Done done) override;
  void close() override { open_.clear(); }

  // What is on its way arrives and is answered. False: nothing was.
  bool answer();

 private:
  BatchReceiver& receiver_;
  struct OnItsWay {
    const EncodedBatch* batch;
    Done done;
  };
  std::deque<OnItsWay> open_;
};

}  // namespace headwater::torture
