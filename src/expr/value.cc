#include "expr/value.h"

#include <algorithm>
#include <cmath>

#include "base/strings.h"
#include "expr/time_text.h"

namespace headwater::expr {

std::string_view type_name(Type type) {
  switch (type) {
    case Type::kNull:
      return "null";
    case Type::kBool:
      return "bool";
    case Type::kInt:
      return "int";
    case Type::kDouble:
      return "double";
    case Type::kString:
      return "string";
    case Type::kTimestamp:
      return "timestamp";
    case Type::kDuration:
      return "duration";
    case Type::kList:
      return "list";
    case Type::kType:
      return "type";
    case Type::kBytes:
      return "bytes";
    case Type::kDyn:
      break;
  }
  return "dyn";
}

std::string_view cel_type_name(Type type) {
  switch (type) {
    case Type::kNull:
      return "null_type";
    case Type::kTimestamp:
      return "google.protobuf.Timestamp";
    case Type::kDuration:
      return "google.protobuf.Duration";
    default:
      return type_name(type);
  }
}

Type from_column_type(headwater::Type type) {
  switch (type) {
    case headwater::Type::kFloat64:
    case headwater::Type::kFloat32:
      return Type::kDouble;
    case headwater::Type::kInt64:
      return Type::kInt;
    case headwater::Type::kBool:
      return Type::kBool;
    case headwater::Type::kTimestamp:
      return Type::kTimestamp;
    case headwater::Type::kString:
      return Type::kString;
    case headwater::Type::kBytes:
    case headwater::Type::kFrame:
      break;
  }
  return Type::kBytes;
}

struct Value::Elements {
  List values;
  std::uint32_t depth = 1;
};

Value Value::list(List elements) {
  auto made = std::make_shared<Elements>();
  for (const Value& element : elements) {
    made->depth = std::max(made->depth, element.depth() + 1);
  }
  made->values = std::move(elements);
  return Value(Rep(std::in_place_index<7>, std::move(made)));
}

const Value::List& Value::as_list() const {
  return (*std::get_if<7>(&rep_))->values;
}

std::uint32_t Value::depth() const {
  const auto* const list = std::get_if<7>(&rep_);
  return list == nullptr ? 0 : (*list)->depth;
}

Type Value::type() const {
  constexpr Type kTypes[] = {Type::kNull,   Type::kBool,      Type::kInt,      Type::kDouble,
                             Type::kString, Type::kTimestamp, Type::kDuration, Type::kList,
                             Type::kType,   Type::kDyn};
  return kTypes[rep_.index()];
}

bool operator==(const Value& a, const Value& b) {
  if (a.rep_.index() == 7 && b.rep_.index() == 7) {
    return a.as_list() == b.as_list();
  }
  return a.rep_ == b.rep_;
}

void append_json_value(std::string& out, const Value& value) {
  switch (value.type()) {
    case Type::kNull:
      out += "null";
      return;
    case Type::kBool:
      out += value.as_bool() ? "true" : "false";
      return;
    case Type::kInt:
      out += fmt::format("{}", value.as_int());
      return;
    case Type::kDouble:
      if (std::isnan(value.as_double())) {
        out += "\"NaN\"";
      } else if (std::isinf(value.as_double())) {
        out += value.as_double() > 0 ? "\"Infinity\"" : "\"-Infinity\"";
      } else {
        append_json_number(out, value.as_double());
      }
      return;
    case Type::kString:
      append_json_string(out, value.as_string());
      return;
    case Type::kTimestamp:
      append_json_string(out, format_timestamp(value.as_timestamp()));
      return;
    case Type::kDuration:
      append_json_string(out, format_seconds(value.as_duration()));
      return;
    case Type::kList: {
      // Lists nest no deeper than expressions do, which is bounded when they are parsed.
      out += '[';
      bool first = true;
      for (const Value& element : value.as_list()) {
        if (!first) {
          out += ',';
        }
        first = false;
        append_json_value(out, element);
      }
      out += ']';
      return;
    }
    case Type::kType:
      append_json_string(out, cel_type_name(value.as_type()));
      return;
    case Type::kBytes:
    case Type::kDyn:
      break;
  }
  append_json_string(out, value.is_error() ? value.as_error() : "");
}

std::string to_json(const Value& value) {
  std::string out = fmt::format(R"({{"type":"{}","value":)",
                                value.is_error() ? "error" : type_name(value.type()));
  append_json_value(out, value);
  out += '}';
  return out;
}

}  // namespace headwater::expr
