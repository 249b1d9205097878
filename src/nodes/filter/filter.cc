#include "nodes/filter/filter.h"

#include <utility>
#include <vector>

#include "compute/thinning.h"
#include "nodes/expression.h"

namespace headwater {
namespace {

constexpr std::string_view kStateKey = "filter";

class Filter final : public Stage {
 public:
  Filter(std::optional<expr::Expression> when, std::optional<expr::Expression> drop_when,
         std::unique_ptr<Thinning> thinning)
      : when_(std::move(when)), drop_when_(std::move(drop_when)), thinning_(std::move(thinning)) {}

  bool may_lead() const override { return thinning_ == nullptr; }

  Status process(Batch batch, Outputs& out) override {
    flags_.assign(batch.rows(), 1);
    if (when_) {
      when_->evaluate(batch, batch.arena(), result_, stats_);
      expr::to_flags(result_, flags_);
    }
    if (drop_when_) {
      drop_when_->evaluate(batch, batch.arena(), result_, stats_);
      dropped_.resize(batch.rows());
      expr::to_flags(result_, dropped_);
      for (std::size_t row = 0; row < flags_.size(); ++row) {
        flags_[row] = static_cast<std::uint8_t>(flags_[row] & (dropped_[row] ^ 1));
      }
    }
    if (thinning_ != nullptr) {
      thinning_->process(batch, flags_);
    }
    batch.keep(flags_);
    return out.emit(std::move(batch));
  }

  void save(StateWriter& state) override {
    if (thinning_ != nullptr) {
      std::string blob;
      ByteWriter writer(blob);
      thinning_->save(writer);
      state.put(kStateKey, blob);
    }
  }

  Status restore(const StateReader& state) override {
    const std::string blob = state.get(kStateKey);
    if (thinning_ == nullptr || blob.empty()) {
      return {};
    }
    ByteReader reader(blob);
    return thinning_->restore(reader);
  }

 private:
  std::optional<expr::Expression> when_;
  std::optional<expr::Expression> drop_when_;
  std::unique_ptr<Thinning> thinning_;  // null without deadband, rate limit and dedupe
  expr::EvalStats stats_;
  Column result_;                      // reused
  std::vector<std::uint8_t> flags_;    // reused
  std::vector<std::uint8_t> dropped_;  // reused
};

// Null without deadband, rate limit and dedupe, and after an error.
std::unique_ptr<Thinning> make_thinning(const FilterOptions& options, const config::Node& node,
                                        const StageContext& context,
                                        config::Diagnostics& diagnostics) {
  if (!options.deadband && !options.rate_limit && !options.dedupe) {
    return nullptr;
  }
  ThinningOptions thinning{.max_keys = options.max_keys};
  if (options.deadband) {
    const std::string& field = options.deadband->field;
    const auto known = context.known.find(field);
    if (known && context.known[*known].type == Type::kString) {
      diagnostics.error(option_node(option_node(node, "deadband"), "field"),
                        fmt::format("'{}' is text; a deadband needs a number", field));
      return nullptr;
    }
    thinning.deadband = {field, options.deadband->band, options.deadband->per};
  }
  if (options.rate_limit) {
    thinning.rate_limit = {options.rate_limit->every, options.rate_limit->per};
  }
  if (options.dedupe) {
    thinning.dedupe = {options.dedupe->fields, options.dedupe->within, options.dedupe->per};
  }
  auto made = Thinning::create(std::move(thinning));
  if (!made) {
    diagnostics.error(option_node(node, options.rate_limit ? "rate_limit"
                                        : options.deadband ? "deadband"
                                                           : "dedupe"),
                      made.error().text());
    return nullptr;
  }
  return std::move(*made);
}

}  // namespace

Status FilterOptions::validate() const {
  if (!when && !drop_when && !deadband && !rate_limit && !dedupe) {
    return Error::invalid("filter needs `when`, `drop_when`, `deadband`, `rate_limit` or `dedupe`");
  }
  return {};
}

std::unique_ptr<Stage> make_filter(const FilterOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  const std::size_t before = diagnostics.error_count();
  const auto compile = [&](const std::optional<std::string>& text, std::string_view name) {
    return text ? compile_option(*text, option_node(node, name), context.known, expr::Type::kBool,
                                 diagnostics)
                : std::nullopt;
  };
  auto when = compile(options.when, "when");
  auto drop_when = compile(options.drop_when, "drop_when");
  auto thinning = make_thinning(options, node, context, diagnostics);
  if (diagnostics.error_count() != before) {
    return nullptr;
  }
  return std::make_unique<Filter>(std::move(when), std::move(drop_when), std::move(thinning));
}

}  // namespace headwater
