// Transaction: what one worker wants committed together. It becomes one frame of the log: after a
// crash all of it is there or none.
//
// Built without a lock, encoded as it goes; Spool::submit() takes the bytes and leaves it empty
// with its buffers kept, so one object per worker serves for ever. One thread at a time.
//
//   txn.append(Lane::kReadings, worker, row);                    // row index 0 of this transaction
//   txn.decide({.pipeline = "main", .lane = Lane::kReadings, .stream = worker, .first = 0,
//               .count = 1, .own_rows = true, .scores = scores});
//   txn.cursor_to_own("decided/main", Lane::kReadings, worker);
//   auto submitted = spool.submit(txn);
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/lane.h"
#include "store/records.h"
#include "store/row_codec.h"
#include "store/row_facts.h"

namespace headwater {

class Transaction {
 public:
  // Adds a row to a lane (copies the bytes); returns its index among the rows of this (lane,
  // stream) here, from 0. With one stream per lane, which is the usual case, its sequence will be
  // Submitted::first_sequence[lane] + index.
  std::uint32_t append(Lane lane, std::uint16_t stream, const StoredRow& row);
  void decide(const Decisions& decisions);
  // The consumer has done with every row of (lane, stream) up to and including `upto`.
  void cursor(std::string_view consumer, Lane lane, std::uint16_t stream, std::uint64_t upto);
  // The same, up to the last row of (lane, stream) in this transaction (there must be one).
  void cursor_to_own(std::string_view consumer, Lane lane, std::uint16_t stream);
  // Replaces the blob of `key`; an empty blob deletes it.
  void state(std::string_view key, std::string_view blob);
  void gap(const Gap& gap);
  // `count` rows of the lane are let go at once: behind the rows of this transaction they get
  // sequences and, in the same frame, a gap record (shed). Once for a lane.
  void skip(Lane lane, std::uint64_t count, WallTime from, WallTime to);
  std::uint64_t skipped(Lane lane) const;
  // Takes the rows back, and what was skipped; states, cursors and gaps stay. Not where something
  // stands for own rows.
  void drop_rows();
  // Rows may be let go once it is committed, and not before: where the spool is full and refuses
  // rows, it takes these all the same, from the reserve that cursors have too.
  void to_make_room() { makes_room_ = true; }
  // Without rows it commits at once, unless it may wait as long as rows of this lane do
  // (LaneLimits::patience).
  void may_wait_with(Lane lane) { waits_with_ = lane; }
  // Without rows too it leaves a part of that reserve to others: cursors alone make room.
  void leave_room() { leaves_room_ = true; }

  bool empty() const { return rows_ == 0 && meta_.empty() && skips_.empty(); }
  std::size_t rows() const { return rows_; }
  // Rows, or rows skipped.
  bool takes_sequences() const { return rows_ > 0 || !skips_.empty(); }
  std::size_t rows(Lane lane) const { return lane_rows_[index_of(lane)]; }
  // Bytes of the frame it will make. Spool::max_transaction_bytes() bounds it.
  std::size_t bytes() const;
  void clear();

 private:
  friend class SpoolCore;
  struct Group {
    Lane lane = Lane::kReadings;
    std::uint16_t stream = 0;
    RowEncoder rows;
    std::uint64_t first = 0;   // set by number()
    std::size_t first_at = 0;  // in body_, set by assemble()
  };
  // A sequence in meta_ that is still an index of a row of group `group`.
  struct Patch {
    std::size_t offset = 0;
    std::size_t group = 0;
  };

  struct Skip {
    Lane lane = Lane::kReadings;
    std::uint64_t count = 0;
    WallTime from;
    WallTime to;
    std::size_t first_at = 0;  // in body_, set by assemble()
  };

  std::size_t group_index(Lane lane, std::uint16_t stream);
  // Writes the frame's body to body_, with indexes where sequences belong.
  void assemble();
  // Turns them into sequences, given the next sequence of each lane (advanced by the rows here).
  void number(std::array<std::uint64_t, kLanes>& next);

  std::vector<Group> groups_;  // the first used_ are in use
  std::size_t used_ = 0;
  std::size_t last_ = 0;
  std::string meta_;  // entries that are not rows
  std::vector<Patch> patches_;
  RowFactsBuilder facts_;
  std::vector<Skip> skips_;
  std::string body_;
  std::size_t meta_at_ = 0;     // in body_
  std::size_t kept_bytes_ = 0;  // of states, cursors and gaps: what every checkpoint will carry
  std::size_t rows_ = 0;
  bool makes_room_ = false;
  bool leaves_room_ = false;
  std::optional<Lane> waits_with_;
  std::array<std::size_t, kLanes> lane_rows_{};
};

}  // namespace headwater
