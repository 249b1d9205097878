#include "config/scalar.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/strings.h"
#include "config/describe.h"

namespace headwater::config {
namespace {

using Kind = Type::Kind;

template <class N>
bool whole_number(std::string_view text, N& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

// Writes `value` into an integer of `bytes` bytes.
void store_integer(void* out, std::size_t bytes, std::uint64_t value) {
  switch (bytes) {
    case 1: {
      const auto narrow = static_cast<std::uint8_t>(value);
      std::memcpy(out, &narrow, sizeof narrow);
      break;
    }
    case 2: {
      const auto narrow = static_cast<std::uint16_t>(value);
      std::memcpy(out, &narrow, sizeof narrow);
      break;
    }
    case 4: {
      const auto narrow = static_cast<std::uint32_t>(value);
      std::memcpy(out, &narrow, sizeof narrow);
      break;
    }
    default:
      std::memcpy(out, &value, sizeof value);
  }
}

class Scalar {
 public:
  explicit Scalar(Diagnostics& diagnostics) : diagnostics_(diagnostics) {}

  void parse(const Node& node, const Type& type, const FieldMeta& meta, void* out,
             const std::string& label) {
    const std::string& text = node.text();
    switch (type.kind) {
      case Kind::kBool:
        if (text != "true" && text != "false") {
          wrong_kind(node, label, wanted_text(type), diagnostics_);
          return;
        }
        *static_cast<bool*>(out) = text == "true";
        return;
      case Kind::kInteger:
        integer(node, type, meta, out, label);
        return;
      case Kind::kNumber:
        number(node, type, meta, out, label);
        return;
      case Kind::kString:
        if (choose(node, meta.choices, label)) {
          *static_cast<std::string*>(out) = text;
        }
        return;
      case Kind::kPath:
        static_cast<Path*>(out)->text = text;
        return;
      case Kind::kSecret:
        *static_cast<Secret*>(out) = Secret(text);
        return;
      case Kind::kDuration: {
        const auto parsed = parse_duration(text);
        if (converted(parsed, node, type, label) &&
            within(node, type, meta, label, static_cast<double>(parsed->count()))) {
          *static_cast<Duration*>(out) = *parsed;
        }
        return;
      }
      case Kind::kSize: {
        const auto parsed = parse_size(text);
        if (converted(parsed, node, type, label) &&
            within(node, type, meta, label, static_cast<double>(*parsed))) {
          static_cast<ByteSize*>(out)->bytes = *parsed;
        }
        return;
      }
      case Kind::kEndpoint: {
        const auto parsed = Endpoint::parse(text);
        if (converted(parsed, node, type, label)) {
          *static_cast<Endpoint*>(out) = *parsed;
        }
        return;
      }
      default:
        enumerator(node, type, out, label);
    }
  }

 private:
  template <class T>
  bool converted(const Result<T>& result, const Node& node, const Type& type,
                 const std::string& label) {
    if (!result && node.is_substituted()) {
      wrong_kind(node, label, wanted_text(type), diagnostics_);
    } else if (!result) {
      diagnostics_.error(node, fmt::format("{}: {}", label, result.error().text()));
    }
    return result.ok();
  }

  void integer(const Node& node, const Type& type, const FieldMeta& meta, void* out,
               const std::string& label) {
    const int bits = type.bytes * 8;
    std::uint64_t stored = 0;
    double shown = 0;
    bool fits = false;
    bool number = false;
    std::int64_t value = 0;
    if (whole_number(node.text(), value)) {
      number = true;
      shown = static_cast<double>(value);
      const std::int64_t top = std::numeric_limits<std::int64_t>::max() >> (64 - bits);
      fits = type.is_signed ? value >= -top - 1 && value <= top
                            : value >= 0 && (bits == 64 || value >> bits == 0);
      stored = static_cast<std::uint64_t>(value);
    } else if (whole_number(node.text(), stored)) {  // beyond the signed range
      number = true;
      shown = static_cast<double>(stored);
      fits = !type.is_signed && bits == 64;
    }
    if (!number) {
      wrong_kind(node, label, wanted_text(type), diagnostics_);
    } else if (within(node, type, meta, label, shown)) {
      if (!fits) {
        diagnostics_.error(node, fmt::format("{}: {} does not fit{}", label, node.shown(),
                                             type.is_signed ? "" : "; the smallest is 0"));
        return;
      }
      store_integer(out, type.bytes, stored);
    }
  }

  void number(const Node& node, const Type& type, const FieldMeta& meta, void* out,
              const std::string& label) {
    double value = 0;
    if (!whole_number(node.text(), value) || !std::isfinite(value)) {
      wrong_kind(node, label, wanted_text(type), diagnostics_);
      return;
    }
    const bool narrow = type.bytes == sizeof(float);
    if (narrow && std::fabs(value) > static_cast<double>(std::numeric_limits<float>::max())) {
      diagnostics_.error(node, fmt::format("{}: {} does not fit", label, node.shown()));
    } else if (within(node, type, meta, label, value)) {
      if (narrow) {
        *static_cast<float*>(out) = static_cast<float>(value);
      } else {
        *static_cast<double*>(out) = value;
      }
    }
  }

  bool within(const Node& node, const Type& type, const FieldMeta& meta, const std::string& label,
              double value) {
    const bool low = meta.min.set && value < meta.min.value;
    const bool high = meta.max.set && value > meta.max.value;
    if (!low && !high) {
      return true;
    }
    const std::string min = bound_text(type, meta.min);
    const std::string max = bound_text(type, meta.max);
    diagnostics_.error(
        node, meta.min.set && meta.max.set
                  ? fmt::format("{}: {} is outside [{}, {}]", label, node.shown(), min, max)
              : low ? fmt::format("{}: {} is less than {}", label, node.shown(), min)
                    : fmt::format("{}: {} is more than {}", label, node.shown(), max));
    return false;
  }

  template <class Names>
  void not_a_choice(const Node& node, const Names& names, const std::string& label) {
    const std::string_view near = nearest_name(node.text(), names);
    diagnostics_.error(
        node,
        fmt::format(
            "{}: unknown value '{}'{}", label, node.shown(),
            near.empty() || node.is_substituted() ? "" : fmt::format(", did you mean '{}'?", near)),
        fmt::format("one of {}", fmt::join(names, ", ")));
  }

  bool choose(const Node& node, const Words& choices, const std::string& label) {
    bool known = choices.empty();
    for (const std::string_view choice : choices) {
      known = known || choice == node.text();
    }
    if (!known) {
      not_a_choice(node, std::vector<std::string_view>(choices.begin(), choices.end()), label);
    }
    return known;
  }

  void enumerator(const Node& node, const Type& type, void* out, const std::string& label) {
    std::vector<std::string_view> names;
    for (const EnumName& name : type.names) {
      if (name.name == node.text()) {
        store_integer(out, type.bytes, static_cast<std::uint64_t>(name.value));
        return;
      }
      names.push_back(name.name);
    }
    not_a_choice(node, names, label);
  }

  Diagnostics& diagnostics_;
};

}  // namespace

std::string_view wanted_text(const Type& type) {
  switch (type.kind) {
    case Kind::kBool:
      return "true or false";
    case Kind::kInteger:
      return type.is_signed ? "a whole number" : "a whole number from 0";
    case Kind::kNumber:
      return "a number";
    case Kind::kDuration:
      return "a duration such as 30s";
    case Kind::kSize:
      return "a size such as 64MiB";
    case Kind::kPath:
      return "a path";
    case Kind::kEndpoint:
      return "an address such as 127.0.0.1:1884";
    default:
      return "text";
  }
}

void wrong_kind(const Node& node, const std::string& label, std::string_view wanted,
                Diagnostics& diagnostics) {
  diagnostics.error(node,
                    node.is_scalar()
                        ? fmt::format("{}: expected {}, got '{}'", label, wanted, node.shown())
                        : fmt::format("{}: expected {}, got {}", label, wanted, node.kind_name()));
}

void parse_scalar(const Node& node, const Type& type, const FieldMeta& meta, void* out,
                  const std::string& label, Diagnostics& diagnostics) {
  Scalar(diagnostics).parse(node, type, meta, out, label);
}

}  // namespace headwater::config
