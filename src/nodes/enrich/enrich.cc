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

class Enrich final : public Stage {
 public:
  Enrich(std::optional<LookupTable> table, std::vector<Computed> computed)
      : table_(std::move(table)), computed_(std::move(computed)) {}

  Status process(Batch batch, Outputs& out) override {
    if (table_) {
      table_->apply(batch, lookups_);
    }
    for (const Computed& column : computed_) {
      column.value.evaluate(batch, batch.arena(), result_, stats_);
      std::swap(batch.add_column(column.name, result_.type()), result_);
    }
    return out.emit(std::move(batch));
  }

 private:
  std::optional<LookupTable> table_;
  std::vector<Computed> computed_;
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
  if (set.empty() && !lookup) {
    return Error::invalid("enrich needs `set` or `lookup`");
  }
  return {};
}

std::unique_ptr<Stage> make_enrich(const EnrichOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  bool good = true;
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
  return good ? std::make_unique<Enrich>(std::move(table), std::move(computed)) : nullptr;
}

}  // namespace headwater
