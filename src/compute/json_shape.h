// JsonShapes: the bytes around the values of earlier messages, to read the next message of the same
// shape without parsing it. Internal to compute.
//
//   {"t":21.5,"id":"a"}   is   {"t":  NUMBER  ,"id":  STRING  }
//
// A tree: a node is the bytes before a value, its children are what followed that value in messages
// so far. A message matches when a way through the tree has all bytes between its values (white
// space too) and each value is a scalar: a number, a literal or a string. Then the message is valid
// JSON because the one that the way came from was. All else is left to JsonWalker.
//
// Bounded: by nodes and bytes. While there is much room each shape is learned at once, then only
// one that is seen twice, so that keys in random order do not fill it. When it is full and has
// earned its keep it starts anew.
#pragma once

#include <algorithm>
#include <array>
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

class JsonShapes {
 public:
  static constexpr std::size_t kMaxValues = 512;            // of one shape
  static constexpr std::size_t kMaxShapeBytes = 16 * 1024;  // between the values of one
  static constexpr std::size_t kMaxBytes = 256 * 1024;      // of all
  static constexpr std::size_t kMaxNodes = 8192;

  // Field of a node whose name is not learned yet because only nulls were seen: anything but null
  // does not match.
  static constexpr std::int32_t kUnlearned = -3;

  // What a read found besides values; kept by the caller to save allocations.
  struct Notes {
    std::vector<std::int32_t> unfit;  // fields whose value did not fit
    std::uint64_t ignored_values = 0;
    std::uint64_t ignored_arrays = 0;
  };

  // At most so many nodes, up to kMaxNodes; 0: it learns nothing.
  explicit JsonShapes(std::size_t max_nodes) : max_nodes_(std::min(max_nodes, kMaxNodes)) {
    clear();
  }

  // From a document that the walker accepted. Leaves carry final fields.
  void learn(std::string_view document, std::span<const JsonLeaf> leaves,
             std::uint64_t ignored_arrays);

  // Reads `document` (64 readable bytes behind it) into row `row`; strings with escapes into
  // `arena`. False: no match, and the row is all null again and `notes` mean nothing.
  bool read(std::string_view document, std::size_t row, std::span<const FieldTarget> targets,
            Arena& arena, Notes& notes);

  void clear();
  std::size_t nodes() const { return nodes_.size(); }

 private:
  using Index = std::uint32_t;  // 0: none
  struct Node {
    std::array<std::uint64_t, 2> front{};  // the first bytes, up to 16, and which of them count
    std::array<std::uint64_t, 2> mask{};
    std::uint32_t begin = 0;  // of the bytes before the value, in literals_
    std::uint32_t size = 0;
    Index child = 0;
    Index sibling = 0;  // not longer
    Index end = 0;
    std::int32_t field = 0;
    NumberGuess guess;
  };
  // How a message goes on to its end.
  struct End {
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
    Index sibling = 0;
    std::uint64_t ignored_arrays = 0;
  };

  static const char* read_escaped(const char* begin, const char* slash, const char* end,
                                  bool wanted, Arena& arena, std::string_view& text);
  bool seen_before(std::string_view document, std::span<const JsonLeaf> leaves);
  bool make_room(std::size_t more_nodes, std::size_t more_bytes);
  std::uint32_t keep(std::string_view bytes);

  std::size_t max_nodes_;
  std::vector<Node> nodes_;          // the first is the root, without bytes or value
  std::vector<End> ends_;            // the first is none
  std::string literals_;             // with readable bytes behind it
  std::vector<std::uint64_t> seen_;  // hashes of shapes, each at its place
  std::uint64_t matches_ = 0;        // since clear()
};

}  // namespace headwater
