#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "base/time.h"
#include "config/describe.h"

namespace headwater::config {
namespace {

using Kind = Type::Kind;

constexpr std::size_t kHelpWidth = 80;
constexpr std::size_t kDeepest = 8;  // of nested structs in one section

// One option as the docs list it.
struct Row {
  std::string name;  // "objective.p99", "columns[].name"
  const SchemaView* schema;
  const FieldView* field;
};

std::string list_of_names(const std::vector<std::string_view>& names) {
  return fmt::format("one of {}", fmt::join(names, ", "));
}

// The struct an option's type leads to, and how its path goes on: "" for a struct, "[]" for a
// list, ".NAME" for a map.
const SchemaView* nested_schema(const Type& type, std::string& step) {
  switch (type.kind) {
    case Kind::kStruct:
      return &type.schema();
    case Kind::kOptional:
      return nested_schema(*type.element, step);
    case Kind::kList:
      step += "[]";
      return nested_schema(*type.element, step);
    case Kind::kMap:
      step += ".NAME";
      return nested_schema(*type.element, step);
    default:
      return nullptr;
  }
}

void collect_rows(const SchemaView& schema, const std::string& prefix, Audience audience,
                  std::size_t depth, std::vector<Row>& out) {
  for (const FieldView& field : schema.fields) {
    if (field.meta.flatten) {
      collect_rows(field.type->schema(), prefix, audience, depth, out);
      continue;
    }
    if (field.meta.audience != audience) {
      continue;
    }
    const std::string name = prefix + std::string(field.meta.name);
    out.push_back({name, &schema, &field});
    std::string step;
    const SchemaView* nested = nested_schema(*field.type, step);
    if (nested != nullptr && depth < kDeepest) {
      for (const Audience inner : {Audience::kUser, Audience::kTuning}) {
        collect_rows(*nested, name + step + ".", inner, depth + 1, out);
      }
    }
  }
}

std::vector<Row> rows(const SchemaView& schema) {
  std::vector<Row> out;
  collect_rows(schema, "", Audience::kUser, 0, out);
  collect_rows(schema, "", Audience::kTuning, 0, out);
  return out;
}

std::string described_type(const FieldView& field) {
  if (!field.meta.choices.empty()) {
    return list_of_names({field.meta.choices.begin(), field.meta.choices.end()});
  }
  std::string out = type_text(*field.type);
  const std::string bounds = bounds_text(field);
  if (!bounds.empty()) {
    out += ", " + bounds;
  }
  if (!field.meta.unit.empty()) {
    out +=
        bounds.empty() ? fmt::format(", {}", field.meta.unit) : fmt::format(" {}", field.meta.unit);
  }
  return out;
}

// The doc and what the table has no column for.
std::string described(const Row& row, bool code) {
  const FieldMeta& meta = row.field->meta;
  const auto quoted = [&](std::string_view text) {
    return code ? fmt::format("`{}`", text) : std::string(text);
  };
  std::string out(meta.doc);
  if (!meta.example.empty()) {
    out += fmt::format(" Example: {}.", quoted(meta.example));
  }
  if (!meta.env.empty()) {
    out += fmt::format(" Environment: {}.", quoted(meta.env));
  }
  if (meta.shorthand) {
    out += " May stand alone in place of the mapping.";
  }
  if (meta.live) {
    out += " Live.";
  }
  if (meta.audience == Audience::kTuning) {
    out += " Tuning.";
  }
  return out;
}

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') {
      out += '\\';
    }
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

void append_wrapped(std::string& out, std::string_view text, std::size_t indent) {
  std::size_t column = indent;
  out.append(indent, ' ');
  bool first = true;
  for (const std::string_view word : split(text, ' ')) {
    if (!first && column + 1 + word.size() > kHelpWidth) {
      out += '\n';
      out.append(indent, ' ');
      column = indent;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    first = false;
  }
  out += '\n';
}

void append_string(std::string& out, std::string_view key, std::string_view value) {
  append_json_string(out, key);
  out += ':';
  append_json_string(out, value);
}

void append_schema(std::string& out, const SchemaView& schema, std::size_t depth);

void append_type(std::string& out, const Type& type, const FieldMeta& meta, std::size_t depth);

void append_names(std::string& out, const std::vector<std::string_view>& names) {
  out += "\"enum\":[";
  std::string_view separator;
  for (const std::string_view name : names) {
    out += separator;
    separator = ",";
    append_json_string(out, name);
  }
  out += ']';
}

FieldMeta of_items(FieldMeta meta) {
  meta.min = {};
  meta.max = {};
  return meta;
}

// `of`: "imum" for the value itself, "Items", "Properties".
void append_bounds(std::string& out, const FieldMeta& meta, std::string_view of) {
  if (meta.min.set) {
    out += fmt::format(",\"min{}\":", of);
    append_json_number(out, meta.min.value);
  }
  if (meta.max.set) {
    out += fmt::format(",\"max{}\":", of);
    append_json_number(out, meta.max.value);
  }
}

// "minimum" speaks of numbers and "pattern" of strings, so one schema allows both 5 and "${X}".
void append_scalar_type(std::string& out, const Type& type, const FieldMeta& meta) {
  constexpr std::string_view kSubstituted = "\"pattern\":\"\\\\$\\\\{\"";
  switch (type.kind) {
    case Kind::kBool:
      out += "\"type\":[\"boolean\",\"string\"],";
      out += kSubstituted;
      return;
    case Kind::kInteger:
    case Kind::kNumber:
      out += type.kind == Kind::kInteger ? "\"type\":[\"integer\",\"string\"],"
                                         : "\"type\":[\"number\",\"string\"],";
      out += kSubstituted;
      if (type.kind == Kind::kInteger && !type.is_signed && !meta.min.set) {
        out += ",\"minimum\":0";
      }
      append_bounds(out, meta, "imum");
      return;
    case Kind::kDuration:
      out += R"("type":"string","pattern":"\\$\\{|^([0-9.]+(ns|us|ms|s|m|h|d))+$")";
      return;
    case Kind::kSize:
      out += R"("type":"string","pattern":"\\$\\{|^[0-9.]+ ?([KMGT]i?)?B$")";
      return;
    case Kind::kEndpoint:
      out += R"("type":"string","pattern":"\\$\\{|:[0-9]+$")";
      return;
    case Kind::kEnum: {
      std::vector<std::string_view> names;
      for (const EnumName& name : type.names) {
        names.push_back(name.name);
      }
      append_names(out, names);
      return;
    }
    default:
      if (!meta.choices.empty()) {
        append_names(out, {meta.choices.begin(), meta.choices.end()});
      } else {
        out += R"("type":["string","number","boolean"])";  // YAML reads 1884 as a number
      }
  }
}

void append_type(std::string& out, const Type& type, const FieldMeta& meta, std::size_t depth) {
  switch (type.kind) {
    case Kind::kOptional:
      append_type(out, *type.element, meta, depth);
      return;
    case Kind::kList:
      out += R"("type":["array","null"],"items":{)";
      append_type(out, *type.element, of_items(meta), depth);
      out += '}';
      append_bounds(out, meta, "Items");
      return;
    case Kind::kMap:
      out += R"("type":["object","null"],"additionalProperties":{)";
      append_type(out, *type.element, of_items(meta), depth);
      out += '}';
      append_bounds(out, meta, "Properties");
      return;
    case Kind::kStruct: {
      const SchemaView& schema = type.schema();
      const FieldView* shorthand = schema.shorthand();
      if (depth >= kDeepest) {
        out += "\"type\":\"object\"";
      } else if (shorthand == nullptr) {
        append_schema(out, schema, depth + 1);
      } else {
        out += "\"anyOf\":[{";
        append_schema(out, schema, depth + 1);
        out += "},{";
        append_type(out, *shorthand->type, shorthand->meta, depth + 1);
        out += "}]";
      }
      return;
    }
    case Kind::kNode:
      out += "\"$comment\":\"checked by the part that reads it\"";
      return;
    default:
      append_scalar_type(out, type, meta);
  }
}

void append_default(std::string& out, const SchemaView& schema, const FieldView& field) {
  const std::string text = default_text(schema, field);
  if (text.empty()) {
    return;
  }
  if (field.type->kind == Kind::kBool || field.type->kind == Kind::kInteger ||
      field.type->kind == Kind::kNumber) {
    out += ",\"default\":" + text;
  } else if (field.type->kind != Kind::kList && field.type->kind != Kind::kMap) {
    const Node value = dump_value(field, schema.defaults);
    out += ',';
    append_string(out, "default", value.text());
  }
}

void append_properties(std::string& out, const SchemaView& schema, std::size_t depth,
                       std::vector<std::string_view>& required) {
  for (const FieldView& field : schema.fields) {
    if (field.meta.flatten) {
      append_properties(out, field.type->schema(), depth, required);
      continue;
    }
    if (out.back() != '{') {
      out += ',';
    }
    append_json_string(out, field.meta.name);
    out += ":{";
    append_type(out, *field.type, field.meta, depth);
    out += ',';
    append_string(out, "description", described({"", &schema, &field}, false));
    append_default(out, schema, field);
    if (field.meta.audience == Audience::kDeprecated) {
      out += ",\"deprecated\":true";
    }
    out += '}';
    // A required option with a variable of its own may be missing in the file.
    if (field.meta.required && field.meta.env.empty()) {
      required.push_back(field.meta.name);
    }
    for (const std::string_view alias : field.meta.aliases) {
      out += ',';
      append_json_string(out, alias);
      out += ":{\"deprecated\":true,";
      append_string(out, "description", fmt::format("Now called {}.", field.meta.name));
      out += '}';
    }
  }
}

void append_schema(std::string& out, const SchemaView& schema, std::size_t depth) {
  std::vector<std::string_view> required;
  std::string properties = "{";
  append_properties(properties, schema, depth, required);
  out += required.empty() ? R"("type":["object","null"],)" : R"("type":"object",)";
  append_string(out, "title", schema.name);
  if (depth == 0) {  // nested structs are described by their field
    out += ',';
    append_string(out, "description", schema.doc);
  }
  out += ",\"additionalProperties\":false,\"properties\":" + properties + '}';
  if (!required.empty()) {
    out += fmt::format(",\"required\":[\"{}\"]", fmt::join(required, "\",\""));
  }
}

}  // namespace

std::string type_text(const Type& type) {
  switch (type.kind) {
    case Kind::kBool:
      return "true or false";
    case Kind::kInteger:
      return "integer";
    case Kind::kNumber:
      return "number";
    case Kind::kString:
      return "text";
    case Kind::kDuration:
      return "duration";
    case Kind::kSize:
      return "size";
    case Kind::kPath:
      return "path";
    case Kind::kSecret:
      return "secret";
    case Kind::kEndpoint:
      return "host:port";
    case Kind::kEnum: {
      std::vector<std::string_view> names;
      for (const EnumName& name : type.names) {
        names.push_back(name.name);
      }
      return list_of_names(names);
    }
    case Kind::kOptional:
      return type_text(*type.element);
    case Kind::kList:
      return "list of " + type_text(*type.element);
    case Kind::kMap:
      return "name: " + type_text(*type.element);
    case Kind::kStruct:
      return "mapping";
    case Kind::kNode:
      break;
  }
  return "any";
}

std::string default_text(const SchemaView& schema, const FieldView& field) {
  if (field.meta.required || field.type->kind == Kind::kStruct) {
    return {};
  }
  const Node value = dump_value(field, schema.defaults);
  const bool empty =
      value.is_scalar() ? value.text().empty() : value.items().empty() && value.entries().empty();
  return empty ? std::string() : to_flow(value);
}

std::string bound_text(const Type& type, Bound bound) {
  if (type.element != nullptr) {
    return bound_text(*type.element, bound);
  }
  switch (type.kind) {
    case Kind::kDuration:
      return format_duration(Nanos(static_cast<std::int64_t>(bound.value)));
    case Kind::kSize:
      return format_size(static_cast<std::uint64_t>(bound.value));
    case Kind::kInteger:
      return fmt::format("{:.0f}", bound.value);
    default:
      return fmt::format("{:g}", bound.value);
  }
}

std::string item_bounds_text(const FieldMeta& meta) {
  const auto count = [](Bound bound) {
    return fmt::format("{:.0f} item{}", bound.value, bound.value == 1 ? "" : "s");
  };
  if (meta.min.set && meta.max.set) {
    return fmt::format("{:.0f} to {}", meta.min.value, count(meta.max));
  }
  return meta.min.set   ? fmt::format("at least {}", count(meta.min))
         : meta.max.set ? fmt::format("at most {}", count(meta.max))
                        : "";
}

std::string bounds_text(const FieldView& field) {
  const FieldMeta& meta = field.meta;
  if (field.type->kind == Kind::kList || field.type->kind == Kind::kMap) {
    return item_bounds_text(meta);
  }
  if (meta.min.set && meta.max.set) {
    return fmt::format("{} to {}", bound_text(*field.type, meta.min),
                       bound_text(*field.type, meta.max));
  }
  if (meta.min.set) {
    return fmt::format("at least {}", bound_text(*field.type, meta.min));
  }
  return meta.max.set ? fmt::format("at most {}", bound_text(*field.type, meta.max)) : "";
}

std::string markdown(const SchemaView& schema, int level) {
  std::string out = fmt::format("{:#<{}} {}\n\n{}\n", "", level, schema.name, schema.doc);
  const std::vector<Row> all = rows(schema);
  if (all.empty()) {
    return out;
  }
  out += "\n| option | type | default | |\n|---|---|---|---|\n";
  for (const Row& row : all) {
    const std::string value = default_text(*row.schema, *row.field);
    out += fmt::format("| `{}` | {} | {} | {} |\n", row.name, cell(described_type(*row.field)),
                       row.field->meta.required ? "required"
                       : value.empty()          ? ""
                                                : fmt::format("`{}`", cell(value)),
                       cell(described(row, true)));
  }
  return out;
}

std::string help_text(const SchemaView& schema) {
  std::string out;
  append_wrapped(out, fmt::format("{}: {}", schema.name, schema.doc), 0);
  for (const Row& row : rows(schema)) {
    const std::string value = default_text(*row.schema, *row.field);
    out += fmt::format("\n  {}  ({}{}{})\n", row.name, described_type(*row.field),
                       row.field->meta.required ? "; required" : "",
                       value.empty() ? "" : fmt::format("; default {}", value));
    append_wrapped(out, described(row, false), 6);
  }
  return out;
}

std::string json_schema(const SchemaView& schema) {
  std::string out = "{";
  append_schema(out, schema, 0);
  out += '}';
  return out;
}

}  // namespace headwater::config
