#include "nodes/decide/decide.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "compute/alarm.h"
#include "nodes/decide/alert_json.h"
#include "nodes/expression.h"
#include "pipeline/state_blob.h"

namespace headwater {
namespace {

constexpr std::string_view kStateKey = "alarms";

std::string_view severity_name(AlertSeverity severity) {
  for (const config::EnumName& name : config::kEnumNames<AlertSeverity>) {
    if (name.value == static_cast<std::int64_t>(severity)) {
      return name.name;
    }
  }
  return "";
}

class Decide final : public Stage {
 public:
  Decide(std::unique_ptr<AlarmMachine> machine, expr::Expression raise,
         std::optional<expr::Expression> clear, AlertFacts facts, std::string score_column)
      : machine_(std::move(machine)),
        raise_(std::move(raise)),
        clear_(std::move(clear)),
        facts_(std::move(facts)),
        score_column_(std::move(score_column)) {}

  Status process(Batch batch, Outputs& out) override {
    raise_.evaluate(batch, batch.arena(), raised_, eval_);
    if (clear_) {
      clear_->evaluate(batch, batch.arena(), cleared_, eval_);
    }
    events_.clear();
    machine_->process(batch, raised_, clear_ ? &cleared_ : nullptr, batch.find(score_column_),
                      stats_, events_);
    for (AlarmEvent& event : events_) {
      tell(event, batch, out);
    }
    return out.emit(std::move(batch));
  }

  void save(StateWriter& state) override { save_blob(state, kStateKey, *machine_); }
  Status restore(const StateReader& state) override {
    return restore_blob(state, kStateKey, *machine_);
  }

 private:
  void tell(AlarmEvent& event, const Batch& batch, Outputs& out) {
    Alert alert;
    alert.json = alert_json(facts_, event, batch);
    alert.id = std::move(event.id);
    alert.event = alert_event_name(event.kind);
    alert.device = std::move(event.key);
    alert.time = event.time;
    alert.identity = event.onset_identity;
    if (event.row != AlarmEvent::kNoRow) {
      alert.row = event.row;
      alert.arrived = batch.row(event.row).arrived;
    }
    out.alert(std::move(alert));
  }

  std::unique_ptr<AlarmMachine> machine_;
  expr::Expression raise_;
  std::optional<expr::Expression> clear_;
  AlertFacts facts_;
  std::string score_column_;
  expr::EvalStats eval_;
  AlarmStats stats_;
  Column raised_;   // reused
  Column cleared_;  // reused
  std::vector<AlarmEvent> events_;
};

std::optional<Delay> delay_option(const std::optional<std::string>& text, const config::Node& node,
                                  std::string_view name, config::Diagnostics& diagnostics) {
  if (!text) {
    return Delay{};
  }
  Result<Delay> delay = Delay::parse(*text);
  if (!delay) {
    diagnostics.error(option_node(node, name), delay.error().text());
    return std::nullopt;
  }
  return *delay;
}

}  // namespace

std::unique_ptr<Stage> make_decide(const DecideOptions& options, const config::Node& node,
                                   StageContext& context, config::Diagnostics& diagnostics) {
  const auto compile = [&](std::string_view text, std::string_view name) {
    return compile_option(text, option_node(node, name), context.known, expr::Type::kBool,
                          diagnostics);
  };
  auto raise = compile(options.alert_when, "alert_when");
  std::optional<expr::Expression> clear;
  bool good = raise.has_value();
  if (options.clear_when) {
    clear = compile(*options.clear_when, "clear_when");
    good = good && clear.has_value();
  }
  const auto on_delay = delay_option(options.on_delay, node, "on_delay", diagnostics);
  const auto off_delay = delay_option(options.off_delay, node, "off_delay", diagnostics);
  if (!good || !on_delay || !off_delay) {
    return nullptr;
  }
  AlarmOptions alarm;
  alarm.rule = options.rule;
  alarm.model_digest = context.model_digest;
  alarm.episodes = options.clear_when || options.on_delay || options.off_delay || options.cooldown;
  alarm.has_clear = options.clear_when.has_value();
  alarm.on_delay = *on_delay;
  alarm.off_delay = *off_delay;
  alarm.cooldown = options.cooldown.value_or(Nanos{0});
  alarm.hold_last = options.hold_last;
  alarm.max_active = options.max_active;
  alarm.max_keys = options.max_keys;
  auto machine = AlarmMachine::create(std::move(alarm));
  if (!machine) {
    diagnostics.error(node, machine.error().text());
    return nullptr;
  }
  AlertFacts facts;
  facts.edge_id = context.edge_id;
  facts.pipeline = context.pipeline;
  facts.rule = options.rule;
  facts.severity = severity_name(options.severity);
  facts.model_name = context.model_name;
  facts.model_digest = context.model_digest;
  facts.threshold = threshold_of(options.alert_when, context.score_column);
  facts.features = context.features;
  return std::make_unique<Decide>(std::move(*machine), std::move(*raise), std::move(clear),
                                  std::move(facts), context.score_column);
}

}  // namespace headwater
