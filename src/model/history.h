// History: the last W rows of each key, for models that look at a window of readings.
//
// One ring of `rows × fields` floats per key. Bounded by max_keys: the key that was pushed longest
// ago leaves. Not thread-safe; save() and restore() carry it over a restart, so that decisions do
// not change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace headwater::model {

class History {
 public:
  History(std::size_t rows, std::size_t fields, std::size_t max_keys = 100'000);

  std::size_t rows() const { return rows_; }
  std::size_t fields() const { return fields_; }
  std::size_t keys() const { return keys_.size(); }
  std::uint64_t evicted() const { return evicted_; }

  // Adds a row of `fields` values. If the key has `rows` rows now, writes the window (oldest first,
  // rows × fields values) to `window` and returns true; else leaves it alone and returns false.
  bool push(std::string_view key, std::span<const double> values, std::span<double> window);

  void save(ByteWriter& out) const;
  // Replaces the content. kCorrupt: the bytes are damaged. kInvalid: they are of another window
  // size or field count (the model changed). This is left as it was then.
  Status restore(ByteReader& in);
  void clear();

 private:
  struct Ring {
    std::string key;
    std::size_t next = 0;   // where the next row goes
    std::size_t count = 0;  // rows held, up to rows_
    std::vector<double> values;
  };
  Ring& ring(std::string_view key);

  std::size_t rows_;
  std::size_t fields_;
  std::size_t max_keys_;
  std::uint64_t evicted_ = 0;
  std::list<Ring> order_;  // least recently pushed first
  std::unordered_map<std::string_view, std::list<Ring>::iterator> keys_;  // views into order_
};

}  // namespace headwater::model
