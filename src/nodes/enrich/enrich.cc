#include "nodes/enrich/enrich.h"

#include <utility>

#include "compute/lookup.h"
#include "io/files.h"
#include "nodes/expression.h"

namespace headwater {
namespace {

struct Computed {
  std::string name;
  expr::Expression value;
};

struct Rename {
  std::string from;
  std::string to;
};

bool is_number(Type type) {
  return type == Type::kFloat64 || type == Type::kFloat32 || type == Type::kInt64 ||
         type == Type::kBool;
}

// Whether values of both can stand in one column: as they are, or as float64.
bool can_merge(Type a, Type b) {
  return a == b || (is_number(a) && is_number(b));
}

// `into` takes the values of `from` in rows where it has none; both of one type.
template <class T>
void fill(const Column& from, Column& into) {
  for (std::size_t row = 0; row < into.rows(); ++row) {
    if (!into.valid(row) && from.valid(row)) {
      into.set(row, from.values<T>()[row]);
    }
  }
}

void fill_same_type(const Column& from, Column& into) {
  switch (into.type()) {
    case Type::kFloat64:
      return fill<double>(from, into);
    case Type::kFloat32:
      return fill<float>(from, into);
    case Type::kInt64:
    case Type::kTimestamp:
      return fill<std::int64_t>(from, into);
    case Type::kBool:
      return fill<std::uint8_t>(from, into);
    case Type::kString:
    case Type::kBytes:
    case Type::kFrame:
      return fill<std::string_view>(from, into);
  }
}

void fill_as_double(const Column& from, Column& into) {
  for (std::size_t row = 0; row < into.rows(); ++row) {
    if (!into.valid(row) && from.valid(row)) {
      into.set(row, from.as_double(row));
    }
  }
}

// A batch may have both names, of devices with other firmware: each row keeps the value it has.
Status rename_column(Batch& batch, const Rename& rename, Column& scratch) {
  const Column* const from = batch.find(rename.from);
  if (from == nullptr) {
    return {};
  }
  const Column* const into = batch.find(rename.to);
  if (into != nullptr && !can_merge(from->type(), into->type())) {
    return Error::invalid("rename: '{}' is {} and '{}' is {}", rename.from, type_name(from->type()),
                          rename.to, type_name(into->type()));
  }
  const bool same = into == nullptr || into->type() == from->type();
  scratch.reset(same ? from->type() : Type::kFloat64, batch.rows());
  for (const Column* const column : {into, from}) {
    if (column != nullptr) {
      same ? fill_same_type(*column, scratch) : fill_as_double(*column, scratch);
    }
  }
  std::swap(batch.add_column(rename.to, scratch.type()), scratch);
  batch.drop_column(rename.from);
  return {};
}

class Enrich final : public Stage {
 public:
  Enrich(std::vector<Rename> renames, std::optional<LookupTable> table,
         std::vector<Computed> computed, std::vector<std::string> drop)
      : renames_(std::move(renames)),
        table_(std::move(table)),
        computed_(std::move(computed)),
        drop_(std::move(drop)) {}

  Status process(Batch batch, Outputs& out) override {
    Status renamed;
    for (const Rename& rename : renames_) {
      if (Status one = rename_column(batch, rename, result_); !one) {
        renamed = std::move(one);
      }
    }
    if (table_) {
      table_->apply(batch, lookups_);
    }
    for (const Computed& column : computed_) {
      column.value.evaluate(batch, batch.arena(), result_, stats_);
      std::swap(batch.add_column(column.name, result_.type()), result_);
    }
    for (const std::string& name : drop_) {
      batch.drop_column(name);
    }
    HW_TRY(out.emit(std::move(batch)));
    return renamed;
  }

 private:
  std::vector<Rename> renames_;
  std::optional<LookupTable> table_;
  std::vector<Computed> computed_;
  std::vector<std::string> drop_;
  LookupStats lookups_;
  expr::EvalStats stats_;
  Column result_;  // reused
};

Result<LookupTable> read_table(const EnrichLookupOptions& options) {
  const std::string text = HW_TRY(io::real_files().read_all(options.file.text));
  return LookupTable::parse(text, {.name = options.file.text,
                                   .key = options.key,
                                   .take = options.take,
                                   .types = Schema(),
                                   .batch_key = options.match});
}

}  // namespace

Status EnrichOptions::validate() const {
  if (set.empty() && !lookup && rename.empty() && drop.empty()) {
    return Error::invalid("enrich needs `set`, `lookup`, `rename` or `drop`");
  }
  for (const auto& [from, to] : rename) {
    if (to.empty()) {
      return Error::invalid("rename: '{}' needs a new name", from);
    }
    if (rename.contains(to)) {
      return Error::invalid("rename: '{}' is an old and a new name", to);
    }
  }
  return {};
}

std::unique_ptr<Stage> make_enrich(const EnrichOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  bool good = true;
  std::vector<Rename> renames;
  for (const auto& [from, to] : options.rename) {
    if (const auto old = context.known.find(from)) {
      Field field = context.known[*old];
      const auto there = context.known.find(to);
      if (there && !can_merge(field.type, context.known[*there].type)) {
        diagnostics.error(option_node(option_node(node, "rename"), from),
                          fmt::format("'{}' is {} and '{}' is {}", from, type_name(field.type), to,
                                      type_name(context.known[*there].type)));
        good = false;
        continue;
      }
      if (there && field.type != context.known[*there].type) {
        field.type = Type::kFloat64;
      }
      field.name = to;
      context.known.erase(*old);
      context.known.set(std::move(field));
    }
    renames.push_back({from, to});
  }
  std::optional<LookupTable> table;
  if (options.lookup) {
    Result<LookupTable> read = read_table(*options.lookup);
    if (read) {
      for (const Field& field : read->schema().fields()) {
        context.known.set(field);
      }
      table = std::move(*read);
    } else {
      diagnostics.error(option_node(option_node(node, "lookup"), "file"), read.error().text());
      good = false;
    }
  }
  std::vector<Computed> computed;
  for (const auto& [name, text] : options.set) {
    auto value = compile_option(text, option_node(option_node(node, "set"), name), context.known,
                                expr::Type::kDyn, diagnostics);
    if (!value) {
      good = false;
      continue;
    }
    if (const auto type = value->column_type()) {
      context.known.set({name, *type, {}});
    }
    computed.push_back({name, std::move(*value)});
  }
  for (const std::string& name : options.drop) {
    if (const auto known = context.known.find(name)) {
      context.known.erase(*known);
    }
  }
  return good ? std::make_unique<Enrich>(std::move(renames), std::move(table), std::move(computed),
                                         options.drop)
              : nullptr;
}

}  // namespace headwater
