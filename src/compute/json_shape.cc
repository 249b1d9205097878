#include "compute/json_shape.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/bytes.h"
#include "base/strings.h"
#include "compute/event_time.h"

namespace headwater {
namespace {

constexpr std::size_t kSeen = 1024;  // shapes remembered until they come again
// To start anew costs a walk for each shape; after so many matches it is worth it.
constexpr std::size_t kMatchesPerNode = 64;

// Size at least 1; both sides have 16 readable bytes behind them.
inline bool same_bytes_inline(const char* a, const char* b, std::size_t size) {
#ifdef __SSE2__
  const auto equal = [](const char* left, const char* right) {
    return static_cast<unsigned>(_mm_movemask_epi8(
        _mm_cmpeq_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(left)),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(right)))));
  };
  while (size > 16) {
    if (equal(a, b) != 0xFFFF) {
      return false;
    }
    a += 16;
    b += 16;
    size -= 16;
  }
  return (~equal(a, b) & (0xFFFFU >> (16 - size))) == 0;
#else
  while (size > 8) {
    if (load<std::uint64_t>(a) != load<std::uint64_t>(b)) {
      return false;
    }
    a += 8;
    b += 8;
    size -= 8;
  }
  return (load<std::uint64_t>(a) ^ load<std::uint64_t>(b)) << (64 - 8 * size) == 0;
#endif
}

// The first quote, backslash or control character at or behind `at`, or `end`. `ascii` is false if
// there may be other than ASCII before it. Reads up to 16 bytes behind `end`.
inline const char* plain_end(const char* at, const char* end, bool& ascii) {
#ifdef __SSE2__
  unsigned high = 0;
  while (at < end) {
    const __m128i chunk = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i quote = _mm_cmpeq_epi8(chunk, _mm_set1_epi8('"'));
    const __m128i slash = _mm_cmpeq_epi8(chunk, _mm_set1_epi8('\\'));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1F)), chunk);
    const auto special =
        static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, slash), control)));
    const auto highs = static_cast<unsigned>(_mm_movemask_epi8(chunk));
    if (special != 0) {
      const auto before = static_cast<unsigned>(std::countr_zero(special));
      high |= highs & ((1U << before) - 1);
      at += before;
      break;
    }
    high |= highs;
    at += 16;
  }
  ascii = high == 0;
#else
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHighs = 0x8080808080808080;
  std::uint64_t high = 0;
  while (at < end) {
    const auto chunk = load<std::uint64_t>(at);
    const std::uint64_t quote = chunk ^ (kOnes * '"');
    const std::uint64_t slash = chunk ^ (kOnes * '\\');
    // The lowest set high bit of each is exact: borrows go upward only.
    const std::uint64_t special = (((quote - kOnes) & ~quote) | ((slash - kOnes) & ~slash) |
                                   ((chunk - kOnes * 0x20) & ~chunk)) &
                                  kHighs;
    if (special != 0) {
      const auto bit = static_cast<unsigned>(std::countr_zero(special));
      high |= chunk & ((std::uint64_t{1} << (bit & 0x38)) - 1);
      at += bit / 8;
      break;
    }
    high |= chunk;
    at += 8;
  }
  ascii = (high & kHighs) == 0;
#endif
  return std::min(at, end);
}

// The closing quote of a string that has escapes, the first one at `at`; nullptr where there is
// none.
const char* escaped_end(const char* at, const char* end) {
  for (; at < end; ++at) {
    if (*at == '"') {
      return at;
    }
    if (static_cast<unsigned char>(*at) < 0x20) {
      return nullptr;
    }
    at += *at == '\\' ? 1 : 0;
  }
  return nullptr;
}

bool names_a_field_twice(std::span<const JsonLeaf> leaves) {
  std::vector<std::int32_t> fields;
  for (const JsonLeaf& leaf : leaves) {
    if (leaf.field >= 0) {
      fields.push_back(leaf.field);
    }
  }
  std::sort(fields.begin(), fields.end());
  return std::adjacent_find(fields.begin(), fields.end()) != fields.end();
}

}  // namespace

bool FieldTarget::other_number(std::size_t row, const JsonNumber& number) const {
  switch (type) {
    case Type::kFloat32: {
      const auto narrow = static_cast<float>(number.value);
      if (std::isinf(narrow)) {
        return false;
      }
      static_cast<float*>(values)[row] = narrow;
      break;
    }
    case Type::kInt64: {
      constexpr double kExact = 9007199254740992.0;  // 2^53
      if (number.is_integer) {
        static_cast<std::int64_t*>(values)[row] = number.integer;
      } else if (std::fabs(number.value) < kExact && std::trunc(number.value) == number.value) {
        static_cast<std::int64_t*>(values)[row] = static_cast<std::int64_t>(number.value);
      } else {
        return false;
      }
      break;
    }
    case Type::kTimestamp: {
      const auto time = number.is_integer ? time_from_integer(number.integer, TimeFormat::kAuto)
                                          : time_from_number(number.value, TimeFormat::kAuto);
      if (!time) {
        return false;
      }
      static_cast<std::int64_t*>(values)[row] = time->ns;
      break;
    }
    default:
      return false;
  }
  bits[row / 64] |= std::uint64_t{1} << (row % 64);
  return true;
}

bool FieldTarget::boolean(std::size_t row, bool value) const {
  if (type != Type::kBool) {
    return false;
  }
  static_cast<std::uint8_t*>(values)[row] = value ? 1 : 0;
  bits[row / 64] |= std::uint64_t{1} << (row % 64);
  return true;
}

bool FieldTarget::string(std::size_t row, std::string_view value) const {
  if (type == Type::kTimestamp) {
    const auto time = time_from_text(value, TimeFormat::kRfc3339);
    if (!time) {
      return false;
    }
    static_cast<std::int64_t*>(values)[row] = time->ns;
  } else if (type == Type::kString || type == Type::kBytes) {
    static_cast<std::string_view*>(values)[row] = value;
  } else {
    return false;
  }
  bits[row / 64] |= std::uint64_t{1} << (row % 64);
  return true;
}

void FieldTarget::null(std::size_t row) const {
  const std::size_t width = type_width(type);
  std::memset(static_cast<char*>(values) + row * width, 0, width);
  bits[row / 64] &= ~(std::uint64_t{1} << (row % 64));
}

void JsonShapes::clear() {
  nodes_.assign(1, Node{});
  ends_.assign(1, End{});
  literals_.clear();
  literals_.reserve(Arena::kPadding);
  seen_.assign(max_nodes_ == 0 ? 0 : kSeen, 0);
  matches_ = 0;
}

std::uint32_t JsonShapes::keep(std::string_view bytes) {
  const auto begin = static_cast<std::uint32_t>(literals_.size());
  literals_.append(bytes);
  literals_.reserve(literals_.size() + Arena::kPadding);
  return begin;
}

// Remembers the shape for the next time.
bool JsonShapes::seen_before(std::string_view document, std::span<const JsonLeaf> leaves) {
  std::uint64_t hash = leaves.size();
  std::size_t from = 0;
  for (const JsonLeaf& leaf : leaves) {
    hash = hash64(document.substr(from, leaf.begin - from), hash);
    from = leaf.end;
  }
  hash = hash64(document.substr(from), hash);
  return std::exchange(seen_[hash % kSeen], hash) == hash;
}

bool JsonShapes::make_room(std::size_t more_nodes, std::size_t more_bytes) {
  if (nodes_.size() + more_nodes <= max_nodes_ + 1 && literals_.size() + more_bytes <= kMaxBytes &&
      ends_.size() <= max_nodes_) {
    return true;
  }
  if (more_nodes > max_nodes_ || matches_ < kMatchesPerNode * nodes_.size()) {
    return false;
  }
  clear();
  return true;
}

void JsonShapes::learn(std::string_view document, std::span<const JsonLeaf> leaves,
                       std::uint64_t ignored_arrays) {
  if (leaves.size() > kMaxValues || max_nodes_ == 0) {
    return;
  }
  std::size_t bytes = document.size();
  for (const JsonLeaf& leaf : leaves) {
    bytes -= leaf.end - leaf.begin;
  }
  if (bytes > kMaxShapeBytes ||
      (nodes_.size() > max_nodes_ / 32 && !seen_before(document, leaves)) ||
      names_a_field_twice(leaves) || !make_room(leaves.size(), bytes)) {
    return;
  }
  Index at = 0;
  std::size_t from = 0;
  for (const JsonLeaf& leaf : leaves) {
    const std::string_view before = document.substr(from, leaf.begin - from);
    Index child = nodes_[at].child;
    while (child != 0 &&
           std::string_view(literals_).substr(nodes_[child].begin, nodes_[child].size) != before) {
      child = nodes_[child].sibling;
    }
    if (child == 0) {
      Node node;
      node.begin = keep(before);
      node.size = static_cast<std::uint32_t>(before.size());
      const std::size_t shown = std::min(before.size(), sizeof node.front);
      std::memcpy(node.front.data(), before.data(), shown);
      std::memset(node.mask.data(), 0xFF, shown);
      // The longest first: of `"a":` and `"a":[` only one can be right, the one that goes on.
      Index before_it = 0;
      for (Index other = nodes_[at].child; other != 0 && nodes_[other].size > node.size;
           other = nodes_[other].sibling) {
        before_it = other;
      }
      node.sibling = before_it == 0 ? nodes_[at].child : nodes_[before_it].sibling;
      child = static_cast<Index>(nodes_.size());
      nodes_.push_back(node);
      (before_it == 0 ? nodes_[at].child : nodes_[before_it].sibling) = child;
    }
    nodes_[child].field = leaf.field;  // it may have been unlearned
    at = child;
    from = leaf.end;
  }
  const std::string_view tail = document.substr(from);
  for (Index end = nodes_[at].end; end != 0; end = ends_[end].sibling) {
    if (std::string_view(literals_).substr(ends_[end].begin, ends_[end].size) == tail) {
      return;
    }
  }
  ends_.push_back({.begin = keep(tail),
                   .size = static_cast<std::uint32_t>(tail.size()),
                   .sibling = nodes_[at].end,
                   .ignored_arrays = ignored_arrays});
  nodes_[at].end = static_cast<Index>(ends_.size() - 1);
}

// The string whose inside begins at `begin` and holds the escape at `slash`, unescaped into `arena`
// if it is wanted. Returns its closing quote, or nullptr where it is none.
const char* JsonShapes::read_escaped(const char* begin, const char* slash, const char* end,
                                     bool wanted, Arena& arena, std::string_view& text) {
  const char* const close = escaped_end(slash, end);
  if (close == nullptr) {
    return nullptr;
  }
  const std::string_view raw(begin, static_cast<std::size_t>(close - begin));
  if (!is_utf8(raw)) {
    return nullptr;
  }
  char* const room = arena.allocate(raw.size());
  const Unescaped done = unescape_json(raw, room);
  arena.shrink_last(room, done.ok && wanted ? done.size : 0);
  text = {room, done.size};
  return done.ok ? close : nullptr;
}

bool JsonShapes::read(std::string_view document, std::size_t row,
                      std::span<const FieldTarget> targets, Arena& arena, Notes& notes) {
  // An object ends so: then no scan of a value runs past it.
  if (document.empty() ||
      (document.back() != '}' && static_cast<unsigned char>(document.back()) > ' ')) {
    return false;
  }
  const char* at = document.data();
  const char* const end = at + document.size();
  notes.unfit.clear();
  notes.ignored_values = 0;
  Node* const nodes = nodes_.data();
  const char* const literals = literals_.data();
  std::array<std::int32_t, kMaxValues> stored;  // fields
  std::size_t stored_count = 0;
  Node* node = nodes;
  for (;;) {
    const auto left = static_cast<std::size_t>(end - at);
    for (Index last = node->end; last != 0; last = ends_[last].sibling) {
      if (ends_[last].size == left && same_bytes_inline(at, literals + ends_[last].begin, left)) {
        notes.ignored_arrays = ends_[last].ignored_arrays;
        ++matches_;
        return true;
      }
    }
    const auto first_word = load<std::uint64_t>(at);
    const auto second_word = load<std::uint64_t>(at + 8);
    Index next = node->child;
    for (; next != 0; next = nodes[next].sibling) {
      node = nodes + next;
      const std::uint64_t differ = ((first_word ^ node->front[0]) & node->mask[0]) |
                                   ((second_word ^ node->front[1]) & node->mask[1]);
      if (differ == 0 && node->size <= left &&
          (node->size <= 16 ||
           same_bytes_inline(at + 16, literals + node->begin + 16, node->size - 16))) {
        break;
      }
    }
    if (next == 0) {
      break;
    }
    at += node->size;
    const std::int32_t field = node->field;
    const char first = *at;
    bool fits = true;
    if (first == '"') {
      bool ascii = true;
      const char* const begin = at + 1;
      const char* close = plain_end(begin, end, ascii);
      if (close == end) {
        break;
      }
      std::string_view text(begin, static_cast<std::size_t>(close - begin));
      if (*close != '"') [[unlikely]] {
        close = *close == '\\' ? read_escaped(begin, close, end, field >= 0, arena, text) : nullptr;
        if (close == nullptr) {
          break;
        }
      } else if (!ascii && !is_utf8(text)) {
        break;
      }
      at = close + 1;
      if (field >= 0) {
        fits = targets[static_cast<std::size_t>(field)].string(row, text);
      }
    } else if (first == '-' || (first >= '0' && first <= '9')) {
      JsonNumber number;
      const char* const behind = scan_number(at, number, node->guess);
      if (behind == nullptr) {
        break;
      }
      at = behind;
      if (field >= 0) {
        fits = targets[static_cast<std::size_t>(field)].number(row, number);
      }
    } else {
      const auto word = load<std::uint32_t>(at);
      if (word == load<std::uint32_t>("null")) {
        at += 4;
        continue;
      }
      const bool truth = word == load<std::uint32_t>("true");
      if (!truth && (first != 'f' || load<std::uint32_t>(at + 1) != load<std::uint32_t>("alse"))) {
        break;
      }
      at += truth ? 4 : 5;
      if (field >= 0) {
        fits = targets[static_cast<std::size_t>(field)].boolean(row, truth);
      }
    }
    if (field < 0) {
      if (field == kUnlearned) {
        break;
      }
      notes.ignored_values += field == JsonFields::kIgnored ? 1 : 0;
    } else if (fits) {
      stored[stored_count++] = field;
    } else {
      notes.unfit.push_back(field);
    }
  }
  // Take back what was stored: the row is read again another way.
  for (std::size_t i = 0; i < stored_count; ++i) {
    targets[static_cast<std::size_t>(stored[i])].null(row);
  }
  return false;
}

}  // namespace headwater
