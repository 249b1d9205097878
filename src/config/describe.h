// What follows from a schema besides parsing: the reference, help, JSON Schema, dumps and diffs.
//
// A catalogue keeps {kind, const SchemaView*, make} in one table; view<T>() gives the view.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/node.h"
#include "config/schema.h"

namespace headwater::config {

class Origins;

// "integer", "duration", "list of text", "map of …", "one of a, b": the type column of the docs.
std::string type_text(const Type& type);
// The default as YAML text; "" when there is none to show (required, empty, absent).
std::string default_text(const SchemaView& schema, const FieldView& field);
// "1 to 4096", "at least 1s"; "" without bounds.
std::string bounds_text(const FieldView& field);
// "1 to 3 items", "at least 1 item": the bounds of a list or map, which are those of its size.
std::string item_bounds_text(const FieldMeta& meta);
// A bound in the notation of the type: "4096", "30s", "64MiB".
std::string bound_text(const Type& type, Bound bound);

// A section: heading of `level` #s, doc, a table of options; those of nested structs stand in the
// same table as `objective.p99`, `columns[].name`, `inputs.NAME.path`. No trailing blank line.
// Deprecated options are left out.
std::string markdown(const SchemaView& schema, int level = 2);

// A JSON Schema (draft 2020-12) object: {"type": "object", "properties": …}. Without "$schema", so
// that the caller can place it in a larger one.
std::string json_schema(const SchemaView& schema);

// Help for the terminal, 80 columns: option, type, default, doc.
std::string help_text(const SchemaView& schema);

// The options as a tree, without optionals that hold nothing; secrets as "***", passwords in URLs
// too. With `origins`, values that came from ${…} or a secret override are "***" as well; `path` is
// where the options stand.
Node dump(const SchemaView& schema, const void* options, const Origins* origins = nullptr,
          std::string_view path = {});
template <HasSchema T>
Node dump(const T& options, const Origins* origins = nullptr, std::string_view path = {}) {
  return dump(view<T>(), &options, origins, path);
}
// One field of an options struct, in the same way.
Node dump_value(const FieldView& field, const void* options);
// Block-style YAML that loads back to an equal tree.
std::string to_yaml(const Node& node);
// The same tree on one line, as a flow mapping.
std::string to_flow(const Node& node);

struct Change {
  std::string path;
  std::string before;  // "" when it was not there, or within a Node; "***" when secret
  std::string after;
  bool live = false;
};
struct Diff {
  std::vector<Change> changes;
  bool empty() const { return changes.empty(); }
  // Whether the change can be applied without a restart.
  bool all_live() const;
};
Diff diff(const SchemaView& schema, const void* before, const void* after);
template <HasSchema T>
Diff diff(const T& before, const T& after) {
  return diff(view<T>(), &before, &after);
}

}  // namespace headwater::config
