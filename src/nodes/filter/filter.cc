#include "nodes/filter/filter.h"

#include <utility>
#include <vector>

#include "nodes/expression.h"

namespace headwater {
namespace {

class Filter final : public Stage {
 public:
  explicit Filter(expr::Expression when) : when_(std::move(when)) {}

  Status process(Batch batch, Outputs& out) override {
    when_.evaluate(batch, batch.arena(), result_, stats_);
    flags_.resize(batch.rows());
    expr::to_flags(result_, flags_);
    batch.keep(flags_);
    return out.emit(std::move(batch));
  }

 private:
  expr::Expression when_;
  expr::EvalStats stats_;
  Column result_;                    // reused
  std::vector<std::uint8_t> flags_;  // reused
};

}  // namespace

std::unique_ptr<Stage> make_filter(const FilterOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  auto when = compile_option(options.when, option_node(node, "when"), context.known,
                             expr::Type::kBool, diagnostics);
  return when ? std::make_unique<Filter>(std::move(*when)) : nullptr;
}

}  // namespace headwater
