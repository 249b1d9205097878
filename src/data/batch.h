// Batch: readings in columns, with the origin of each row. What flows between nodes.
//
// A batch owns its bytes: payloads, topics, devices and string values are views into its arena and
// live as long as it does. A filter narrows the selection; rows are never moved or copied, so a
// row's index is its name from source to sink. Batches move from owner to owner; one thread at a
// time touches one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "data/arena.h"
#include "data/column.h"
#include "data/schema.h"

namespace headwater {

// Facts about a row that are stored with it (bits).
enum RowFlags : std::uint32_t {
  kRowTimeMissing = 1U << 0,  // no usable event time: `time` is the arrival
  kRowTimeFuture =
      1U << 1,         // event time beyond max_future: kept as said, not used for order or windows
  kRowLate = 1U << 2,  // older than the watermark of its key
  kRowUndecoded = 1U << 3,   // payload could not be decoded: goes to the dead-letter lane
  kRowReplayed = 1U << 4,    // read back from the spool after a restart; not stored with the row
  kRowDeclaredId = 1U << 6,  // `identity` is a declared message id: a second one is a duplicate
  kRowThinned = 1U << 8,     // let go at admission; not stored
  kRowDuplicate = 1U << 5,   // its identity is already stored; not stored again
  // No reading: its device has gone, and the payload is its will. Neither decoded nor filtered nor
  // scored; an alert comes from it.
  kRowOffline = 1U << 7,
};

struct Row {
  std::string_view payload;  // the original bytes
  std::string_view topic;    // MQTT topic, file name, URL path
  std::string_view sender;   // client id of the connection it came by; may be empty
  std::string_view device;   // set by decode
  std::string_view note;     // of a row that a source flagged kRowUndecoded: why
  WallTime time;             // event time; set by decode
  WallTime received;         // believed wall time of arrival
  MonoTime arrived;          // monotonic time of arrival: latency is measured from here
  Id128 identity;  // message id or source position, hashed: alert ids and dedupe stand on it
  std::uint64_t position = 0;   // in its partition; what Source::acknowledge gets back
  std::uint64_t sequence = 0;   // in the spool's lane; set by the append
  std::uint32_t partition = 0;  // which client, connection or file of the source
  std::uint32_t flags = 0;      // RowFlags
};

class Batch {
 public:
  Batch() = default;
  Batch(Batch&&) noexcept = default;
  Batch& operator=(Batch&&) noexcept = default;

  // Empty, with buffers kept for reuse.
  void clear();

  std::size_t rows() const { return rows_.size(); }
  Arena& arena() { return arena_; }
  const Arena& arena() const { return arena_; }

  // Appends a row; its views must point into arena(). Columns that exist already get a null.
  // Returns the row's index.
  std::size_t add_row(const Row& row);
  // The rows are these instead (`rows` gets the old ones). While there is no column and all rows
  // are selected; views of the new ones point into arena() too.
  void replace_rows(std::vector<Row>& rows);
  Row& row(std::size_t index) { return rows_[index]; }
  const Row& row(std::size_t index) const { return rows_[index]; }
  std::span<Row> all_rows() { return rows_; }
  std::span<const Row> all_rows() const { return rows_; }

  // Columns, in the order they were added. add_column() replaces one of the same name; all rows
  // start null. drop_column() moves those behind it up; a name that is not there is
  // left alone. References to columns are good until the next add_column(), drop_column() or
  // clear().
  const Schema& schema() const { return schema_; }
  Column& add_column(std::string_view name, Type type);
  void drop_column(std::string_view name);
  Column* find(std::string_view name);
  const Column* find(std::string_view name) const;
  Column& column(std::size_t index) { return columns_[index]; }
  const Column& column(std::size_t index) const { return columns_[index]; }

  // Indices of the rows that are still in, ascending.
  std::span<const std::uint32_t> selection() const;
  std::size_t selected() const { return all_selected_ ? rows_.size() : selection_.size(); }
  // Keeps the selected rows whose flag (one byte per row of the batch) is not 0. Returns how many
  // left.
  std::size_t keep(std::span<const std::uint8_t> flags);
  void select(std::vector<std::uint32_t> rows);
  void select_all();

 private:
  Arena arena_;
  std::vector<Row> rows_;
  Schema schema_;
  std::vector<Column> columns_;
  std::vector<Column> spare_;  // buffers of columns that clear() took out
  bool all_selected_ = true;
  mutable std::vector<std::uint32_t> selection_;  // materialised on demand while all rows are in
};

}  // namespace headwater
