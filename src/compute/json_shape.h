// JsonShape: the bytes around the values of one message, to read the next message of the same shape
// without parsing it. Internal to compute.
//
//   {"t":21.5,"id":"a"}   is   {"t":  NUMBER  ,"id":  STRING  }
//
// A message matches when all bytes between its values are equal (white space too) and each value is
// a scalar that can be read on the spot: a number, a literal or a string without escapes. Then the
// message is valid JSON because the one the shape came from was. All else is left to JsonWalker.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compute/json_walk.h"
#include "data/batch.h"

namespace headwater {

// Where the values of a field go: a column's buffers, refreshed when columns are added.
struct FieldTarget {
  Type type = Type::kFloat64;
  void* values = nullptr;
  std::uint64_t* bits = nullptr;

  // Each stores a value that fits and returns true, else leaves the row as it is (null).
  bool number(std::size_t row, const JsonNumber& number) const {
    if (type != Type::kFloat64 || std::isinf(number.value)) [[unlikely]] {
      return other_number(row, number);
    }
    static_cast<double*>(values)[row] = number.value;
    bits[row / 64] |= std::uint64_t{1} << (row % 64);
    return true;
  }
  bool boolean(std::size_t row, bool value) const;
  bool string(std::size_t row, std::string_view value) const;
  void null(std::size_t row) const;

  // All but a float64.
  bool other_number(std::size_t row, const JsonNumber& number) const;
};

class JsonShape {
 public:
  static constexpr std::size_t kMaxValues = 512;
  static constexpr std::size_t kMaxBytes = 16 * 1024;  // of the bytes between values

  // Field of a slot whose name is not learned yet because only nulls were seen: anything but null
  // does not match.
  static constexpr std::int32_t kUnlearned = -3;

  // What a read found besides values; kept by the caller to save allocations.
  struct Notes {
    std::vector<std::int32_t> unfit;  // fields whose value did not fit
    std::uint64_t ignored_values = 0;
  };

  // From a document that the walker accepted. Leaves carry final fields. False: it is no good as a
  // shape (too large, a field twice).
  bool learn(std::string_view document, std::span<const JsonLeaf> leaves, std::uint64_t arrays);

  // Reads `document` (64 readable bytes behind it) into row `row`. False: no match, and the row is
  // all null again and `notes` mean nothing.
  bool read(std::string_view document, std::size_t row, std::span<const FieldTarget> targets,
            Notes& notes);

  std::uint64_t ignored_arrays() const { return ignored_arrays_; }
  bool same_bytes(const JsonShape& other) const { return literals_ == other.literals_; }

 private:
  struct Slot {
    std::uint32_t begin = 0;  // of the bytes before the value, in literals_
    std::uint32_t size = 0;
    std::int32_t field = 0;
    NumberGuess guess;
  };

  std::vector<Slot> slots_;
  std::string literals_;  // followed by 64 readable bytes; a NUL between slots
  std::uint32_t tail_begin_ = 0;
  std::uint32_t tail_size_ = 0;
  std::size_t min_size_ = 0;
  std::uint64_t ignored_arrays_ = 0;
};

}  // namespace headwater
