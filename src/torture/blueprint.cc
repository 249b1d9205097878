#include "torture/blueprint.h"

#include "config/load.h"
#include "edge/parts.h"

namespace headwater::torture {
namespace {

constexpr std::string_view kConfig = R"(edge: {id: torture}
sources:
  direct:
    type: mqtt_listen
    address: "127.0.0.1:0"
    topics: ["sensors/+/readings"]
    device: "topic[1]"
pipelines:
  main:
    from: [direct]
    steps:)";
constexpr std::size_t kRunRows = 97;
// Checkpoints come when the trial says, not by the clock: a seed must do the same each time.
constexpr Nanos kNever = std::chrono::hours(10'000);

class Run final : public Outputs {
 public:
  Status emit(Batch batch) override {
    done = std::move(batch);
    return {};
  }
  void alert(Alert alert) override { alerts.push_back(std::move(alert)); }

  Batch done;
  std::vector<Alert> alerts;
};

}  // namespace

Result<std::unique_ptr<Blueprint>> Blueprint::make() {
  std::unique_ptr<Blueprint> made(new Blueprint());
  config::Diagnostics diagnostics;
  const std::optional<config::Node> root = config::load_text(
      std::string(kConfig) + std::string(kSteps), "torture", diagnostics, config::Environment{});
  HW_TRY(diagnostics.status());
  made->plan_ = std::make_unique<Plan>(*root, made->metrics_, diagnostics);
  HW_TRY(diagnostics.status());
  made->sources_ = made->plan_->make_source("direct", {}, diagnostics);
  HW_TRY(diagnostics.status());
  return made;
}

std::unique_ptr<Decode> Blueprint::make_decode() const {
  return sources_.make_decode();
}

Scoring::Steps Blueprint::make_steps() const {
  config::Diagnostics diagnostics;
  const PipelineConfig& pipeline = *plan_->config().pipelines.find("main");
  PlannedSteps planned = plan_->make_steps(pipeline, "main", diagnostics);
  HW_CHECK(diagnostics.ok(), "the plan was checked when it was made");
  Scoring::Steps steps = scoring_steps(pipeline, plan_->revision(), planned);
  steps.checkpoint_every = kNever;
  return steps;
}

Result<Decided> Blueprint::decide(std::span<const StoredMessage> rows) const {
  Decided decided;
  const Scoring::Steps steps = make_steps();
  const std::unique_ptr<Decode> decode = make_decode();
  std::map<std::string, std::uint32_t, std::less<>> devices;
  for (std::size_t from = 0; from < rows.size(); from += kRunRows) {
    const auto part = rows.subspan(from, std::min(kRunRows, rows.size() - from));
    Batch batch;
    for (const StoredMessage& stored : part) {
      Row row;
      row.payload = batch.arena().copy(stored.payload);
      row.topic = batch.arena().copy(stored.topic);
      row.sender = batch.arena().copy(stored.sender);
      row.device = batch.arena().copy(stored.device);
      row.time = stored.time;
      row.received = stored.received;
      row.identity = stored.identity;
      row.flags = kRowReplayed;  // device and time stand
      batch.add_row(row);
      devices.emplace(stored.device, stored.name.device);
    }
    std::vector<Undecoded> failed;
    std::uint64_t unfit = 0;
    HW_TRY(decode->decode(batch, failed, unfit));
    Run run;
    run.done = std::move(batch);
    for (const std::unique_ptr<Stage>& stage : steps.stages) {
      HW_TRY(stage->process(std::move(run.done), run));
    }
    const Column* score = run.done.find(steps.score_column);
    for (std::uint32_t i = 0; i < part.size(); ++i) {
      if (score != nullptr && score->valid(i)) {
        decided.scores[part[i].name] = score->as_double(i);
      }
    }
    for (Alert& alert : run.alerts) {
      decided.alerts[devices.at(alert.device)].push_back(std::move(alert.json));
    }
  }
  return decided;
}

}  // namespace headwater::torture
