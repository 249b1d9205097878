#include "nodes/enrich/enrich.h"

#include <utility>

#include "io/loop.h"
#include "nodes/enrich/lookup_file.h"
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

// The table of a step and what it counts.
class Lookup {
 public:
  Lookup(std::unique_ptr<LookupFile> file, telemetry::Registry& metrics,
         const telemetry::Labels& pipeline)
      : file_(std::move(file)),
        missing_(metrics.counter("headwater_lookup_missing_rows_total",
                                 "Rows whose key is null or not in the lookup table.", pipeline)),
        loaded_(metrics.counter("headwater_lookup_reloads_total",
                                "Lookup tables taken over from a changed file.", pipeline)),
        failed_(metrics.counter("headwater_lookup_failed_reloads_total",
                                "Changed files that were wrong: the table before them stayed.",
                                pipeline)) {}

  void look() {
    const std::uint64_t loaded = file_->loaded();
    const std::uint64_t failed = file_->failed();
    file_->look(io::mono_now());
    loaded_.add(file_->loaded() - loaded);
    failed_.add(file_->failed() - failed);
  }
  void apply(Batch& batch) {
    look();
    LookupStats stats;
    file_->table().apply(batch, stats);
    missing_.add(stats.missing);
  }

 private:
  std::unique_ptr<LookupFile> file_;
  telemetry::Counter& missing_;
  telemetry::Counter& loaded_;
  telemetry::Counter& failed_;
};

class Enrich final : public Stage {
 public:
  Enrich(std::vector<Rename> renames, std::optional<Lookup> lookup, std::vector<Computed> computed,
         std::vector<std::string> drop)
      : renames_(std::move(renames)),
        lookup_(std::move(lookup)),
        computed_(std::move(computed)),
        drop_(std::move(drop)) {}

  Status process(Batch batch, Outputs& out) override {
    Status renamed;
    for (const Rename& rename : renames_) {
      if (Status one = rename_column(batch, rename, result_); !one) {
        renamed = std::move(one);
      }
    }
    if (lookup_) {
      lookup_->apply(batch);
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

  Status tick(WallTime now, Outputs& out) override {
    (void)now;
    (void)out;
    if (lookup_) {
      lookup_->look();
    }
    return {};
  }

 private:
  std::vector<Rename> renames_;
  std::optional<Lookup> lookup_;
  std::vector<Computed> computed_;
  std::vector<std::string> drop_;
  expr::EvalStats stats_;
  Column result_;  // reused
};

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
  std::optional<Lookup> lookup;
  if (options.lookup) {
    const EnrichLookupOptions& from = *options.lookup;
    auto trouble = std::make_shared<Trouble>("lookup", context.pipeline);
    auto file = LookupFile::open({.file = from.file.text,
                                  .table = from.table,
                                  .options = {.key = from.key,
                                              .take = from.take,
                                              .types = Schema(),
                                              .max_rows = from.max_rows,
                                              .max_bytes = from.max_bytes.bytes,
                                              .batch_key = from.match}},
                                 trouble);
    if (file) {
      for (const Field& field : (*file)->table().schema().fields()) {
        context.known.set(field);
      }
      lookup.emplace(std::move(*file), *context.metrics,
                     telemetry::Labels{{"pipeline", context.pipeline}});
      context.troubles.push_back(std::move(trouble));
    } else {
      diagnostics.error(option_node(option_node(node, "lookup"), "file"), file.error().text());
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
  return good ? std::make_unique<Enrich>(std::move(renames), std::move(lookup), std::move(computed),
                                         options.drop)
              : nullptr;
}

}  // namespace headwater
