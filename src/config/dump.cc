#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/strings.h"
#include "config/describe.h"
#include "config/origins.h"
#include "config/substitute.h"

namespace headwater::config {
namespace {

using Kind = Type::Kind;

constexpr std::string_view kHidden = "***";

// mqtt://user:password@host → mqtt://user:***@host.
std::string without_password(const std::string& text) {
  const std::size_t scheme = text.find("://");
  if (scheme == std::string::npos) {
    return text;
  }
  const std::size_t begin = scheme + 3;
  const std::size_t end = std::min(text.find_first_of("/?#", begin), text.size());
  const std::size_t at = text.rfind('@', end);
  const std::size_t colon = text.find(':', begin);
  if (at == std::string::npos || at < begin || at >= end || colon >= at) {
    return text;
  }
  return text.substr(0, colon + 1) + std::string(kHidden) + text.substr(at);
}

Node quoted(std::string text) {
  Node node = Node::scalar(std::move(text));
  node.set_quoted(true);
  return node;
}

std::uint64_t load_unsigned(const void* from, std::size_t bytes) {
  std::uint64_t value = 0;
  std::memcpy(&value, from, bytes);  // little-endian hosts only, as the formats on disk
  return value;
}

std::int64_t load_signed(const void* from, std::size_t bytes) {
  const unsigned shift = static_cast<unsigned>(64 - bytes * 8);
  return static_cast<std::int64_t>(load_unsigned(from, bytes) << shift) >> shift;
}

std::string number_text(double value) {
  return fmt::format("{}", value);
}

class Writer {
 public:
  Writer(bool reveal, const Origins* origins) : reveal_(reveal), origins_(origins) {}

  Node structure(const SchemaView& schema, const void* object, const std::string& path) const {
    std::vector<Node::Entry> entries;
    append_fields(entries, schema, object, path);
    return Node::mapping(std::move(entries));
  }

  Node value(const Type& type, const FieldMeta& meta, const void* from,
             const std::string& path) const {
    if (!reveal_ && hidden(type, meta, from, path)) {
      return quoted(std::string(kHidden));
    }
    switch (type.kind) {
      case Kind::kBool:
        return Node::scalar(*static_cast<const bool*>(from) ? "true" : "false");
      case Kind::kInteger:
        return Node::scalar(type.is_signed ? std::to_string(load_signed(from, type.bytes))
                                           : std::to_string(load_unsigned(from, type.bytes)));
      case Kind::kNumber:
        return Node::scalar(type.bytes == sizeof(float)
                                ? fmt::format("{}", *static_cast<const float*>(from))
                                : number_text(*static_cast<const double*>(from)));
      case Kind::kString:
        return text(*static_cast<const std::string*>(from));
      case Kind::kPath:
        return text(static_cast<const Path*>(from)->text);
      case Kind::kSecret:
        return quoted(static_cast<const Secret*>(from)->reveal());
      case Kind::kDuration:
        return Node::scalar(format_duration(*static_cast<const Duration*>(from)));
      case Kind::kSize:
        return Node::scalar(format_size(static_cast<const ByteSize*>(from)->bytes));
      case Kind::kEndpoint: {
        const auto& endpoint = *static_cast<const Endpoint*>(from);
        return quoted(endpoint.empty() ? "" : endpoint.text());
      }
      case Kind::kEnum:
        return enumerator(type, from);
      case Kind::kOptional: {
        std::string_view name;
        return type.size(from) == 0 ? Node()
                                    : value(*type.element, meta, type.at(from, 0, &name), path);
      }
      case Kind::kList:
        return list(type, meta, from, path);
      case Kind::kMap:
        return map(type, meta, from, path);
      case Kind::kStruct:
        return structure(type.schema(), from, path);
      case Kind::kNode:
        break;
    }
    return reveal_ ? *static_cast<const Node*>(from) : shown(*static_cast<const Node*>(from));
  }

 private:
  // An empty secret is shown as empty: that it is missing is no secret.
  bool hidden(const Type& type, const FieldMeta& meta, const void* from,
              const std::string& path) const {
    if (type.kind == Kind::kSecret) {
      return !static_cast<const Secret*>(from)->empty();
    }
    if (type.kind == Kind::kStruct || type.kind == Kind::kMap || type.kind == Kind::kNode) {
      return meta.secret;
    }
    if (type.kind == Kind::kOptional && type.size(from) == 0) {
      return false;
    }
    const Origins::Entry* origin = origins_ == nullptr ? nullptr : origins_->find(path);
    if (!meta.secret && (origin == nullptr || !origin->secret)) {
      return false;
    }
    return type.kind != Kind::kString || !static_cast<const std::string*>(from)->empty();
  }

  Node text(const std::string& value) const {
    return quoted(reveal_ ? value : without_password(value));
  }

  // A subtree kept as it is: what came from ${…} is shown as it was written.
  static Node shown(const Node& node) {
    if (node.is_scalar()) {
      Node copy = Node::scalar(without_password(node.shown()));
      copy.set_quoted(node.is_quoted());
      if (node.is_substituted()) {
        copy.set_written(copy.text());
      }
      return copy;
    }
    if (node.is_sequence()) {
      std::vector<Node> items;
      for (const Node& item : node.items()) {
        items.push_back(shown(item));
      }
      return Node::sequence(std::move(items));
    }
    if (node.is_mapping()) {
      std::vector<Node::Entry> entries;
      for (const Node::Entry& entry : node.entries()) {
        entries.push_back({entry.name, shown(entry.value)});
      }
      return Node::mapping(std::move(entries));
    }
    return {};
  }

  static Node enumerator(const Type& type, const void* from) {
    const std::int64_t value = load_signed(from, type.bytes);
    const std::uint64_t bits = load_unsigned(from, type.bytes);
    for (const EnumName& name : type.names) {
      if (name.value == value || static_cast<std::uint64_t>(name.value) == bits) {
        return Node::scalar(std::string(name.name));
      }
    }
    return Node::scalar(std::to_string(value));
  }

  Node list(const Type& type, const FieldMeta& meta, const void* from,
            const std::string& path) const {
    std::vector<Node> items;
    std::string_view name;
    for (std::size_t i = 0; i < type.size(from); ++i) {
      items.push_back(
          value(*type.element, meta, type.at(from, i, &name), fmt::format("{}[{}]", path, i)));
    }
    return Node::sequence(std::move(items));
  }

  Node map(const Type& type, const FieldMeta& meta, const void* from,
           const std::string& path) const {
    std::vector<Node::Entry> entries;
    for (std::size_t i = 0; i < type.size(from); ++i) {
      std::string_view name;
      const void* element = type.at(from, i, &name);
      entries.push_back({std::string(name),
                         value(*type.element, meta, element, fmt::format("{}.{}", path, name))});
    }
    return Node::mapping(std::move(entries));
  }

  void append_fields(std::vector<Node::Entry>& entries, const SchemaView& schema,
                     const void* object, const std::string& path) const {
    for (const FieldView& field : schema.fields) {
      if (field.meta.flatten) {
        append_fields(entries, field.type->schema(), field.of(object), path);
        continue;
      }
      const std::string own =
          path.empty() ? std::string(field.meta.name) : fmt::format("{}.{}", path, field.meta.name);
      Node written = value(*field.type, field.meta, field.of(object), own);
      if (!written.is_null()) {
        entries.push_back({std::string(field.meta.name), std::move(written)});
      }
    }
  }

  bool reveal_;
  const Origins* origins_;
};

bool plain_is_safe(std::string_view text) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/' || c == '.';
  };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (text.empty() || !(letter(text.front()) || digit(text.front()) ||
                        (text.front() == '-' && text.size() > 1 && digit(text[1])))) {
    return false;
  }
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || digit(c) || c == '-' || c == '+' || c == '%';
  });
}

// Whether a plain scalar of these letters would be read as something other than text.
bool looks_typed(std::string_view text) {
  for (const std::string_view word : {"true", "false", "null", "yes", "no", "on", "off"}) {
    if (text.size() == word.size() && std::equal(text.begin(), text.end(), word.begin(),
                                                 [](char a, char b) { return (a | 0x20) == b; })) {
      return true;
    }
  }
  return text.find_first_of("0123456789") != std::string_view::npos &&
         text.find_first_not_of("0123456789.eE+-_xXoO") == std::string_view::npos;
}

void append_scalar(std::string& out, const Node& node) {
  const std::string text = node.is_substituted() ? node.shown() : escape_substitutions(node.text());
  if (plain_is_safe(text) && !(node.is_quoted() && looks_typed(text))) {
    out += text;
  } else {
    append_json_string(out, text);
  }
}

// The loader substitutes in values only, so keys are not escaped.
void append_key(std::string& out, const std::string& name) {
  if (plain_is_safe(name) && !looks_typed(name)) {
    out += name;
  } else {
    append_json_string(out, name);
  }
}

void append_flow(std::string& out, const Node& node) {
  std::string_view separator;
  switch (node.kind()) {
    case Node::Kind::kNull:
      out += "null";
      return;
    case Node::Kind::kScalar:
      append_scalar(out, node);
      return;
    case Node::Kind::kSequence:
      out += '[';
      for (const Node& item : node.items()) {
        out += separator;
        separator = ", ";
        append_flow(out, item);
      }
      out += ']';
      return;
    case Node::Kind::kMapping:
      break;
  }
  out += '{';
  for (const Node::Entry& entry : node.entries()) {
    out += separator;
    separator = ", ";
    append_key(out, entry.name);
    out += ": ";
    append_flow(out, entry.value);
  }
  out += '}';
}

bool is_block(const Node& node) {
  const auto nested = [](const Node& item) { return item.is_mapping() || item.is_sequence(); };
  return (node.is_mapping() && !node.entries().empty()) ||
         (node.is_sequence() && std::any_of(node.items().begin(), node.items().end(), nested));
}

void append_block(std::string& out, const Node& node, std::size_t indent) {
  const auto value = [&](const Node& child) {
    if (is_block(child)) {
      out += '\n';
      append_block(out, child, indent + 2);
    } else {
      out += ' ';
      append_flow(out, child);
      out += '\n';
    }
  };
  for (const Node::Entry& entry : node.entries()) {
    out.append(indent, ' ');
    append_key(out, entry.name);
    out += ':';
    value(entry.value);
  }
  for (const Node& item : node.items()) {
    out.append(indent, ' ');
    out += '-';
    if (is_block(item)) {
      std::string block;
      append_block(block, item, indent + 2);
      out += ' ';
      out += std::string_view(block).substr(indent + 2);  // begins on the line of the dash
    } else {
      value(item);
    }
  }
}

void compare_fields(const SchemaView& schema, const void* before, const void* after, bool live,
                    const std::string& path, Diff& out);

// Down to the deepest nodes that differ. Values stay out: what is secret in a node is known to the
// schema of its kind, which is not known here.
void compare_nodes(const Node& before, const Node& after, bool live, const std::string& path,
                   Diff& out) {
  if (before == after) {
    return;
  }
  if (before.is_sequence() && after.is_sequence() &&
      before.items().size() == after.items().size()) {
    for (std::size_t i = 0; i < before.items().size(); ++i) {
      compare_nodes(before.items()[i], after.items()[i], live, fmt::format("{}[{}]", path, i), out);
    }
    return;
  }
  const std::size_t already = out.changes.size();
  if (before.is_mapping() && after.is_mapping()) {
    const Node none;
    const auto in = [&](const Node& node, const std::string& name) -> const Node& {
      const Node* found = node.find(name);
      return found == nullptr ? none : *found;
    };
    for (const Node::Entry& entry : before.entries()) {
      compare_nodes(entry.value, in(after, entry.name), live, path + "." + entry.name, out);
    }
    for (const Node::Entry& entry : after.entries()) {
      if (before.find(entry.name) == nullptr) {
        compare_nodes(none, entry.value, live, path + "." + entry.name, out);
      }
    }
  }
  if (out.changes.size() == already) {  // a value, another kind of node, or the order of entries
    out.changes.push_back({path, "", "", live});
  }
}

void compare(const Type& type, const FieldMeta& meta, const void* before, const void* after,
             bool live, const std::string& path, Diff& out) {
  if (type.kind == Kind::kStruct) {
    compare_fields(type.schema(), before, after, live, path, out);
    return;
  }
  if (type.kind == Kind::kNode) {
    compare_nodes(*static_cast<const Node*>(before), *static_cast<const Node*>(after), live, path,
                  out);
    return;
  }
  if (type.kind == Kind::kList && type.element->kind == Kind::kNode &&
      type.size(before) == type.size(after)) {
    std::string_view name;
    for (std::size_t i = 0; i < type.size(before); ++i) {
      compare(*type.element, meta, type.at(before, i, &name), type.at(after, i, &name), live,
              fmt::format("{}[{}]", path, i), out);
    }
    return;
  }
  const Writer plain(true, nullptr);
  const Writer redacted(false, nullptr);
  if (type.kind == Kind::kOptional && type.size(before) == 1 && type.size(after) == 1) {
    std::string_view name;
    compare(*type.element, meta, type.at(before, 0, &name), type.at(after, 0, &name), live, path,
            out);
    return;
  }
  if (type.kind == Kind::kMap) {
    const auto element = [&](const void* map, std::string_view wanted) -> const void* {
      for (std::size_t i = 0; i < type.size(map); ++i) {
        std::string_view name;
        const void* found = type.at(map, i, &name);
        if (name == wanted) {
          return found;
        }
      }
      return nullptr;
    };
    const auto one = [&](const void* was, const void* is, std::string_view name) {
      const std::string own = fmt::format("{}.{}", path, name);
      if (was != nullptr && is != nullptr) {
        compare(*type.element, meta, was, is, live, own, out);
        return;
      }
      const auto text = [&](const void* from) {
        return from == nullptr ? std::string()
                               : to_flow(redacted.value(*type.element, meta, from, own));
      };
      out.changes.push_back({own, text(was), text(is), live});
    };
    std::string_view name;
    for (std::size_t i = 0; i < type.size(before); ++i) {
      const void* was = type.at(before, i, &name);
      one(was, element(after, name), name);
    }
    for (std::size_t i = 0; i < type.size(after); ++i) {
      const void* is = type.at(after, i, &name);
      if (element(before, name) == nullptr) {
        one(nullptr, is, name);
      }
    }
    return;
  }
  if (plain.value(type, meta, before, path) == plain.value(type, meta, after, path)) {
    return;
  }
  const auto text = [&](const void* from) {
    const Node node = redacted.value(type, meta, from, path);
    return node.is_null() ? std::string() : to_flow(node);
  };
  out.changes.push_back({path, text(before), text(after), live});
}

void compare_fields(const SchemaView& schema, const void* before, const void* after, bool live,
                    const std::string& path, Diff& out) {
  for (const FieldView& field : schema.fields) {
    const bool own_live = live || field.meta.live;
    const std::string own = field.meta.flatten ? path
                            : path.empty()     ? std::string(field.meta.name)
                                               : fmt::format("{}.{}", path, field.meta.name);
    compare(*field.type, field.meta, field.of(before), field.of(after), own_live, own, out);
  }
}

}  // namespace

Node dump(const SchemaView& schema, const void* options, const Origins* origins,
          std::string_view path) {
  return Writer(false, origins).structure(schema, options, std::string(path));
}

Node dump_value(const FieldView& field, const void* options) {
  return Writer(false, nullptr)
      .value(*field.type, field.meta, field.of(options), std::string(field.meta.name));
}

std::string to_flow(const Node& node) {
  std::string out;
  append_flow(out, node);
  return out;
}

std::string to_yaml(const Node& node) {
  if (!is_block(node)) {
    return to_flow(node) + "\n";
  }
  std::string out;
  append_block(out, node, 0);
  return out;
}

bool Diff::all_live() const {
  return std::all_of(changes.begin(), changes.end(),
                     [](const Change& change) { return change.live; });
}

Diff diff(const SchemaView& schema, const void* before, const void* after) {
  Diff out;
  compare_fields(schema, before, after, false, "", out);
  return out;
}

}  // namespace headwater::config
