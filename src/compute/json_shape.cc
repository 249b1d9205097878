#include "compute/json_shape.h"

#include <algorithm>
#include <bit>
#include <cmath>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/strings.h"
#include "compute/event_time.h"

namespace headwater {
namespace {

constexpr std::uint64_t kOnes = 0x0101010101010101;
constexpr std::uint64_t kHighs = 0x8080808080808080;

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

// The closing quote of a string whose inside starts at `at`, or nullptr where it has none before
// `end`, or holds escapes or control characters. `ascii` is false if it may hold other than ASCII.
inline const char* plain_string_end(const char* at, const char* end, bool& ascii) {
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
      ascii = high == 0;
      return *at == '"' && at < end ? at : nullptr;
    }
    high |= highs;
    at += 16;
  }
  return nullptr;
#else
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
      ascii = (high & kHighs) == 0;
      return *at == '"' && at < end ? at : nullptr;
    }
    high |= chunk;
    at += 8;
  }
  return nullptr;
#endif
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

bool JsonShape::learn(std::string_view document, std::span<const JsonLeaf> leaves,
                      std::uint64_t ignored_arrays) {
  slots_.clear();
  literals_.clear();
  if (leaves.size() > kMaxValues) {
    return false;
  }
  std::vector<std::int32_t> fields;
  std::uint32_t from = 0;
  const auto add = [&](std::uint32_t to) {
    Slot slot;
    slot.begin = static_cast<std::uint32_t>(literals_.size());
    slot.size = to - from;
    literals_.append(document.substr(from, to - from));
    return slot;
  };
  for (const JsonLeaf& leaf : leaves) {
    if (leaf.begin - from + literals_.size() > kMaxBytes) {
      return false;
    }
    Slot slot = add(leaf.begin);
    slot.field = leaf.field;
    slots_.push_back(slot);
    literals_.push_back('\0');
    from = leaf.end;
    if (leaf.field >= 0) {
      fields.push_back(leaf.field);
    }
  }
  if (document.size() - from + literals_.size() > kMaxBytes) {
    return false;
  }
  const Slot tail = add(static_cast<std::uint32_t>(document.size()));
  tail_begin_ = tail.begin;
  tail_size_ = tail.size;
  min_size_ = literals_.size();  // one byte at least for each value
  ignored_arrays_ = ignored_arrays;
  literals_.reserve(literals_.size() + Arena::kPadding);
  std::sort(fields.begin(), fields.end());
  return std::adjacent_find(fields.begin(), fields.end()) == fields.end();
}

bool JsonShape::read(std::string_view document, std::size_t row,
                     std::span<const FieldTarget> targets, Notes& notes) {
  if (document.size() < min_size_) {
    return false;
  }
  const char* at = document.data();
  const char* const end = at + document.size();
  // The tail starts with white space or a bracket, so no scan of digits runs past it.
  if (!same_bytes_inline(end - tail_size_, literals_.data() + tail_begin_, tail_size_)) {
    return false;
  }
  notes.unfit.clear();
  notes.ignored_values = 0;
  Slot* slot = slots_.data();
  Slot* const last = slot + slots_.size();
  for (; slot != last; ++slot) {
    // A literal may have been read over the end, hence signed.
    if (end - at < static_cast<std::ptrdiff_t>(slot->size) ||
        !same_bytes_inline(at, literals_.data() + slot->begin, slot->size)) {
      break;
    }
    at += slot->size;
    const std::int32_t field = slot->field;
    const char first = *at;
    bool fits = true;
    if (first == '"') {
      bool ascii = true;
      const char* const close = plain_string_end(at + 1, end, ascii);
      if (close == nullptr) {
        break;
      }
      const std::string_view text(at + 1, static_cast<std::size_t>(close - at - 1));
      if (!ascii && !is_utf8(text)) {
        break;
      }
      at = close + 1;
      if (field >= 0) {
        fits = targets[static_cast<std::size_t>(field)].string(row, text);
      }
    } else if (first == '-' || (first >= '0' && first <= '9')) {
      JsonNumber number;
      const char* const next = scan_number(at, number, slot->guess);
      if (next == nullptr) {
        break;
      }
      at = next;
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
    } else if (!fits) {
      notes.unfit.push_back(field);
    }
  }
  if (slot == last && at + tail_size_ == end) {
    return true;
  }
  // Take back what was stored: the row is read again another way.
  for (const Slot* stored = slots_.data(); stored != last; ++stored) {
    if (stored->field >= 0) {
      targets[static_cast<std::size_t>(stored->field)].null(row);
    }
    if (stored == slot) {
      break;
    }
  }
  return false;
}

}  // namespace headwater
