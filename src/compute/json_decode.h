// JsonDecoder: turns the payloads of a batch into columns.
//
//   JsonDecoder decoder({.schema = Schema({{"count", Type::kInt64, ""}})});
//   DecodeStats stats;
//   std::vector<DecodeFailure> failures;
//   HW_TRY(decoder.decode(batch, stats, failures));
//   // batch.find("motor.temperature") is there if any message so far had
//   {"motor":{"temperature":1}}
//
// Each payload is one JSON object (RFC 8259, the whole of it is validated). Rules:
//   - Nested objects flatten to dotted names. Of equal names in one message the last wins.
//   - Numbers are float64 unless the schema says otherwise. They are read exactly (correctly
//     rounded); big integers become the nearest float64. A number beyond float64's range is a value
//     that does not fit; one too small for it is 0.
//   - Strings, true and false keep their type. null is null.
//   - The first non-null value of a field decides its type, unless the schema declared it. A value
//     that does not fit the type of its column is null and counted. What fits:
//       float64, float32   numbers (float32: finite after rounding)
//       int64              integers, also written as 5.0 or 5e3 while below 2^53
//       bool               true, false
//       string, bytes      strings
//       timestamp          RFC 3339 strings, epoch numbers by magnitude (event_time.h)
//   - Arrays are ignored and counted. Elements are taken only where the schema declares them by
//     position: "samples.0", "pair.1.x".
//   - Once `max_fields` fields are known, values of others are ignored and counted.
// A payload that is no such object (malformed, invalid UTF-8, trailing bytes, NaN, deeper than
// `max_depth`) gives its row kRowUndecoded, nulls in all columns and one DecodeFailure; it teaches
// nothing.
//
// Speed: messages of a source repeat their shape, so the decoder remembers the bytes around the
// values of recent messages and compares them (json_shape.h); what does not match goes through
// simdjson. Both ways give the same columns.
//
// Keep one decoder per source and topic pattern: it remembers fields and shapes. Not thread-safe.
// String values are views into the payload, or into the batch's arena where they hold escapes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "data/batch.h"
#include "data/schema.h"

namespace headwater {

struct DecodeOptions {
  Schema schema{};             // declared fields: these columns exist in every batch
  bool learn = true;           // false: only declared fields are taken, others ignored and counted
  std::size_t max_depth = 16;  // of nested objects and arrays; the message itself is depth 1
  std::size_t max_fields = 256;    // declared and learned together
  bool shapes = true;              // false: every message goes through simdjson (for tests)
  std::size_t shape_nodes = 8192;  // what is remembered of shapes: values at different places
};

// Sums since they were set to zero by the caller.
struct DecodeStats {
  std::uint64_t rows = 0;            // that were to be decoded
  std::uint64_t shape_rows = 0;      // of them, by a remembered shape
  std::uint64_t undecoded = 0;       // of them, refused
  std::uint64_t mismatches = 0;      // values that did not fit their column's type: null
  std::uint64_t ignored_arrays = 0;  // outermost arrays of which no element is declared
  std::uint64_t ignored_values = 0;  // values of fields beyond max_fields, or not to be learned
};

struct DecodeFailure {
  std::uint32_t row = 0;
  std::string reason;  // "expected ':' after a key at byte 17"
};

class JsonDecoder {
 public:
  explicit JsonDecoder(DecodeOptions options);
  ~JsonDecoder();
  JsonDecoder(JsonDecoder&&) noexcept;
  JsonDecoder& operator=(JsonDecoder&&) noexcept;

  // Decodes the selected rows. Adds (replaces) one column per field of learned(); rows that are not
  // selected are null in them. Appends to `failures`. Payloads must lie in the batch's arena (64
  // readable bytes behind each). Fails only when the parser cannot get memory.
  Status decode(Batch& batch, DecodeStats& stats, std::vector<DecodeFailure>& failures);

  // Declared fields, then the learned ones in the order they were met.
  const Schema& learned() const;
  // Values that did not fit, per field of learned(), since construction.
  const std::vector<std::uint64_t>& mismatches() const;

  // The learned fields. restore() keeps declared fields as declared and adds the saved ones up to
  // max_fields; on error (corrupt) nothing changes.
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace headwater
