#include "config/parse.h"

#include <fmt/format.h>

#include <limits>

#include "base/strings.h"
#include "config/describe.h"
#include "config/load.h"
#include "config/origins.h"
#include "config/scalar.h"

namespace headwater::config {

const FieldView* SchemaView::shorthand() const {
  for (const FieldView& field : fields) {
    if (field.meta.shorthand) {
      return &field;
    }
  }
  return nullptr;
}

bool SchemaView::knows(std::string_view option) const {
  for (const FieldView& field : fields) {
    if (field.meta.flatten ? field.type->schema().knows(option) : field.meta.name == option) {
      return true;
    }
    for (const std::string_view alias : field.meta.aliases) {
      if (alias == option) {
        return true;
      }
    }
  }
  return false;
}

namespace {

using Kind = Type::Kind;

constexpr std::size_t kMostNamed = 16;  // options listed in a note

void collect_fields(const SchemaView& schema, std::vector<const FieldView*>& out) {
  for (const FieldView& field : schema.fields) {
    if (field.meta.flatten) {
      collect_fields(field.type->schema(), out);
    } else {
      out.push_back(&field);
    }
  }
}

bool is_scalar_type(const Type& type) {
  if (type.kind == Kind::kOptional) {
    return is_scalar_type(*type.element);
  }
  return type.kind < Kind::kOptional;
}

bool is_secret(const FieldMeta& meta, const Type& type) {
  return meta.secret || type.kind == Kind::kSecret ||
         (type.element != nullptr && is_secret(meta, *type.element));
}

class Parser {
 public:
  Parser(Diagnostics& diagnostics, Origins* origins)
      : diagnostics_(diagnostics), origins_(origins) {}

  // Met a value whose ${…} the loader could not replace.
  bool broken() const { return broken_; }

  // `where` is what an error about the whole mapping points to.
  void structure(const Node& node, const SchemaView& schema, void* out, const std::string& path,
                 const std::string& label, const Place& where) {
    const FieldView* shorthand = schema.shorthand();
    if (shorthand != nullptr &&
        (node.is_scalar() || (node.is_sequence() && shorthand->type->kind == Kind::kList))) {
      std::vector<Node::Entry> entries;
      entries.push_back({std::string(shorthand->meta.name), node});
      Node mapping = Node::mapping(std::move(entries));
      mapping.set_place(node.source(), node.mark(), node.key_mark());
      mapping.set_trail(node.trail());
      fields(mapping, schema, out, path, where);
      return;
    }
    if (!node.is_mapping() && !node.is_null()) {
      wrong_kind(node, label.empty() ? std::string(schema.name) : label,
                 shorthand != nullptr ? "a mapping or text" : "a mapping", diagnostics_);
      return;
    }
    unknown_keys(node, schema);
    fields(node, schema, out, path, where);
  }

 private:
  void unknown_keys(const Node& node, const SchemaView& schema) {
    for (const Node::Entry& entry : node.entries()) {
      if (schema.knows(entry.name)) {
        continue;
      }
      std::vector<const FieldView*> known;
      collect_fields(schema, known);
      std::vector<std::string_view> names;
      for (const FieldView* field : known) {
        names.push_back(field->meta.name);
      }
      const std::string_view near = nearest_name(entry.name, names);
      for (const FieldView* field : known) {
        if (field->meta.name == near && is_secret(field->meta, *field->type)) {
          hide(entry.value);
        }
      }
      if (!near.empty()) {
        diagnostics_.error(
            entry.value.key_place(),
            fmt::format("unknown option '{}', did you mean '{}'?", entry.name, near));
      } else if (names.empty()) {
        diagnostics_.error(entry.value.key_place(), fmt::format("unknown option '{}'", entry.name),
                           fmt::format("{} takes no options", schema.name));
      } else {
        const bool many = names.size() > kMostNamed;
        names.resize(std::min(names.size(), kMostNamed));
        diagnostics_.error(
            entry.value.key_place(), fmt::format("unknown option '{}'", entry.name),
            fmt::format("{} takes {}{}", schema.name, fmt::join(names, ", "), many ? ", …" : ""));
      }
    }
  }

  void fields(const Node& node, const SchemaView& schema, void* out, const std::string& path,
              const Place& where) {
    const std::size_t errors = diagnostics_.error_count();
    for (const FieldView& field : schema.fields) {
      if (field.meta.flatten) {
        fields(node, field.type->schema(), field.of(out), path, where);
      } else {
        one_field(node, schema, field, out, path, where);
      }
    }
    if (schema.validate == nullptr || broken_ || diagnostics_.error_count() != errors) {
      return;
    }
    const Status status = schema.validate(out);
    if (!status) {
      // "clear_when: …" points at that option where the file has it.
      const std::string& text = status.error().text();
      const Node* named = node.find(std::string_view(text).substr(0, text.find(':')));
      diagnostics_.error(named != nullptr ? named->place() : where, text);
    }
  }

  const Node* find_field(const Node& node, const FieldView& field) {
    const Node* found = node.find(field.meta.name);
    for (const std::string_view alias : field.meta.aliases) {
      const Node* old = node.find(alias);
      if (old == nullptr) {
        continue;
      }
      if (found != nullptr) {
        diagnostics_.error(old->key_place(),
                           fmt::format("'{}' is the old name of '{}', which is given too", alias,
                                       field.meta.name));
      } else {
        diagnostics_.warning(old->key_place(),
                             fmt::format("'{}' is now called '{}'", alias, field.meta.name));
        found = old;
      }
    }
    if (found != nullptr && field.meta.audience == Audience::kDeprecated) {
      diagnostics_.warning(found->key_place(), fmt::format("'{}' is deprecated", field.meta.name),
                           std::string(field.meta.doc));
    }
    return found;
  }

  void one_field(const Node& node, const SchemaView& schema, const FieldView& field, void* out,
                 const std::string& path, const Place& where) {
    const std::string own_path =
        path.empty() ? std::string(field.meta.name) : fmt::format("{}.{}", path, field.meta.name);
    const std::string label(field.meta.name);
    const Node* found = find_field(node, field);
    const bool overridable = is_scalar_type(*field.type) || field.type->kind == Kind::kList;
    if (origins_ != nullptr && overridable) {
      const auto given =
          origins_->override_for(own_path, field.meta.env, field.meta.live, diagnostics_);
      if (given) {
        take_override(field, out, own_path, *given);
        return;
      }
    }
    if (found != nullptr) {
      const std::size_t errors = diagnostics_.error_count();
      value(*found, *field.type, field.meta, field.of(out), own_path, label);
      if (field.meta.required && !found->is_broken() && errors == diagnostics_.error_count() &&
          is_empty(*field.type, field.of(out))) {
        diagnostics_.error(*found, fmt::format("{}: must not be empty", label));
      }
      record(field, out, own_path, Origin::kFile, *found);
      return;
    }
    if (field.type->kind == Kind::kStruct && !field.meta.required) {
      structure(Node(), field.type->schema(), field.of(out), own_path, label, where);
      return;
    }
    if (field.meta.required) {
      Place at = where;
      at.path = own_path;
      diagnostics_.error(std::move(at), fmt::format("{}: required", label),
                         fmt::format("{}: {}", schema.name, field.meta.doc));
      return;
    }
    record(field, out, own_path, Origin::kDefault, Node());
  }

  void take_override(const FieldView& field, void* out, const std::string& path,
                     const Origins::Override& given) {
    const bool secret = is_secret(field.meta, *field.type);
    const std::string name =
        given.origin == Origin::kEnvironment ? fmt::format("environment variable {}", given.detail)
        : given.origin == Origin::kFlag      ? given.detail
                                             : fmt::format("remote config {}", given.detail);
    Node node;
    if (field.type->kind == Kind::kList) {
      // Nothing is substituted: what a remote party sends must not read our files.
      auto loaded = load_text(escape_all(given.value), name, diagnostics_, Environment());
      if (!loaded) {
        return;
      }
      node = *std::move(loaded);
    } else {
      node = Node::scalar(given.value);
      auto source = std::make_shared<Source>();
      source->name = name;
      node.set_place(std::move(source), {}, {});
    }
    node.set_trail(std::make_shared<const Node::Trail>(Node::Trail{nullptr, path}));
    if (secret) {
      node.set_written("***");
    }
    value(node, *field.type, field.meta, field.of(out), path, std::string(field.meta.name));
    if (origins_ != nullptr) {
      origins_->record({path, given.origin, given.detail, secret ? "***" : given.value, secret});
    }
  }

  static std::string escape_all(const std::string& text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
      out += std::string_view(text).substr(at).starts_with("${") ? "$$" : text.substr(at, 1);
    }
    return out;
  }

  void record(const FieldView& field, const void* out, const std::string& path, Origin origin,
              const Node& node) {
    if (origins_ == nullptr || !(is_scalar_type(*field.type) || field.type->kind == Kind::kList)) {
      return;
    }
    std::string detail;
    if (origin == Origin::kFile && node.source()) {
      detail = fmt::format("{}:{}:{}", node.source()->name, node.mark().line, node.mark().column);
    }
    const bool secret = is_secret(field.meta, *field.type);
    const bool tainted = any_substituted(node);
    std::string text = secret    ? "***"
                       : tainted ? (node.is_scalar() ? node.shown() : "***")
                                 : to_flow(dump_value(field, out));
    origins_->record({path, origin, std::move(detail), std::move(text), secret || tainted});
  }

  static bool any_substituted(const Node& node) {
    bool any = node.is_substituted();
    for (const Node& item : node.items()) {
      any = any || any_substituted(item);
    }
    for (const Node::Entry& entry : node.entries()) {
      any = any || any_substituted(entry.value);
    }
    return any;
  }

  static bool is_empty(const Type& type, const void* value) {
    switch (type.kind) {
      case Kind::kString:
        return static_cast<const std::string*>(value)->empty();
      case Kind::kPath:
        return static_cast<const Path*>(value)->empty();
      case Kind::kSecret:
        return static_cast<const Secret*>(value)->empty();
      case Kind::kEndpoint:
        return static_cast<const Endpoint*>(value)->empty();
      case Kind::kOptional:
      case Kind::kList:
      case Kind::kMap:
        return type.size(value) == 0;
      case Kind::kNode:
        return static_cast<const Node*>(value)->is_null();
      default:
        return false;
    }
  }

  // A secret written in the file: its characters are covered in caret lines.
  static void hide(const Node& node) {
    if (node.source() && node.mark().line != 0 && !node.is_substituted()) {
      const Place place = node.place();
      const bool whole = node.is_scalar() && place.length > 1;
      node.source()->hidden.push_back(
          {place.mark, whole ? place.length : std::numeric_limits<std::size_t>::max()});
    }
  }

  void value(const Node& node, const Type& type, const FieldMeta& meta, void* out,
             const std::string& path, const std::string& label) {
    if (is_secret(meta, type)) {
      hide(node);
    }
    if (node.is_broken() && type.kind != Kind::kNode) {
      broken_ = true;
      return;
    }
    switch (type.kind) {
      case Kind::kNode:
        *static_cast<Node*>(out) = node;
        return;
      case Kind::kOptional:
        type.clear(out);
        if (!node.is_null()) {
          value(node, *type.element, meta, type.append(out, {}), path, label);
        }
        return;
      case Kind::kList:
        list(node, type, meta, out, path, label);
        return;
      case Kind::kMap:
        map(node, type, meta, out, path, label);
        return;
      case Kind::kStruct:
        structure(node, type.schema(), out, path, label, node.key_place());
        return;
      default:
        if (!node.is_scalar()) {
          wrong_kind(node, label, wanted_text(type), diagnostics_);
          return;
        }
        parse_scalar(node, type, meta, out, label, diagnostics_);
    }
  }

  // The bounds of a list or map are those of its size.
  void count_within(const Node& node, std::size_t count, const FieldMeta& meta,
                    const std::string& label) {
    const auto items = static_cast<double>(count);
    if ((meta.min.set && items < meta.min.value) || (meta.max.set && items > meta.max.value)) {
      diagnostics_.error(
          node, fmt::format("{}: expected {}, got {}", label, item_bounds_text(meta), count));
    }
  }

  static FieldMeta of_items(FieldMeta meta) {
    meta.min = {};
    meta.max = {};
    return meta;
  }

  void list(const Node& node, const Type& type, const FieldMeta& meta, void* out,
            const std::string& path, const std::string& label) {
    if (!node.is_sequence() && !node.is_null()) {
      wrong_kind(node, label, "a list", diagnostics_);
      return;
    }
    type.clear(out);
    count_within(node, node.items().size(), meta, label);
    const FieldMeta item_meta = of_items(meta);
    std::size_t index = 0;
    for (const Node& item : node.items()) {
      const std::string step = fmt::format("[{}]", index++);
      value(item, *type.element, item_meta, type.append(out, {}), path + step, label + step);
    }
  }

  void map(const Node& node, const Type& type, const FieldMeta& meta, void* out,
           const std::string& path, const std::string& label) {
    if (!node.is_mapping() && !node.is_null()) {
      wrong_kind(node, label, "a mapping", diagnostics_);
      return;
    }
    type.clear(out);
    count_within(node, node.entries().size(), meta, label);
    const FieldMeta item_meta = of_items(meta);
    for (const Node::Entry& entry : node.entries()) {
      value(entry.value, *type.element, item_meta, type.append(out, entry.name),
            fmt::format("{}.{}", path, entry.name), fmt::format("{}.{}", label, entry.name));
    }
  }

  Diagnostics& diagnostics_;
  Origins* origins_;
  bool broken_ = false;
};

}  // namespace

bool detail::parse(const Node& node, const SchemaView& schema, void* out, Diagnostics& diagnostics,
                   Origins* origins) {
  const std::size_t errors = diagnostics.error_count();
  Parser parser(diagnostics, origins != nullptr ? origins : diagnostics.origins());
  parser.structure(node, schema, out, node.path(), "", node.key_place());
  return diagnostics.error_count() == errors && !parser.broken();
}

}  // namespace headwater::config
