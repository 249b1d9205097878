// Every step kind of the catalogue against its tests/conformance/KIND.yaml.
//
//   options: {when: "temperature > 0.0"}      files are named from the repository's folder
//   cases:
//     - name: keeps what is true
//       rows: ['{"device_id": "a", "timestamp": 1, "temperature": 5}', …]     one JSON message each
//       keep: [0]                                    rows that are still in; all when not given
//       columns: {ratio: [0.5, null]}                values of columns by row, to six digits; null
//       is missing alerts: [{row: 0, event: alert}]             in order; none when not given
//       options: {…}                                 in place of those above
//
// Each case runs as one batch, row by row, and with a save and restore into a new instance between
// any two rows: all must agree. Also for every kind: an empty batch passes, and an unknown option
// is refused with its place.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "compute/json_decode.h"
#include "config/load.h"
#include "model/binding.h"
#include "nodes/catalogue.h"
#include "nodes/testing.h"

namespace headwater {
namespace {

const std::string kFolder = HW_SOURCE_DIR "/tests/conformance/";

// What one run of a case gave, row by row.
struct Outcome {
  std::vector<std::size_t> kept;
  std::map<std::string, std::vector<std::string>> columns;
  std::vector<std::pair<std::size_t, std::string>> alerts;
  std::vector<std::string> alert_ids;
};

std::string shown(const Column* column, std::size_t row) {
  if (column == nullptr || !column->valid(row)) {
    return "null";
  }
  switch (column->type()) {
    case Type::kString:
      return std::string(column->values<std::string_view>()[row]);
    case Type::kBool:
      return column->values<std::uint8_t>()[row] != 0 ? "true" : "false";
    default:
      return fmt::format("{:.6g}", column->as_double(row));
  }
}

// A number is written the way shown() writes it.
std::string expected_text(const config::Node& node) {
  if (node.is_null()) {
    return "null";
  }
  char* end = nullptr;
  const double number = std::strtod(node.text().c_str(), &end);
  const bool is_number = !node.text().empty() && *end == '\0' && !node.is_quoted();
  return is_number ? fmt::format("{:.6g}", number) : node.text();
}

class Kind {
 public:
  explicit Kind(const StageKind& kind) : kind_(kind) {
    std::filesystem::current_path(HW_SOURCE_DIR);
    auto loaded = config::load_file(kFolder + std::string(kind.kind) + ".yaml", diagnostics_);
    if (loaded) {
      root_ = std::move(*loaded);
    }
  }

  const config::Node& root() const { return root_; }
  std::string errors() const { return diagnostics_.text(); }

  std::unique_ptr<Stage> make(const config::Node& options, config::Diagnostics& diagnostics) {
    StageContext context;
    context.pipeline = "conformance";
    context.edge_id = "edge";
    context.metrics = &metrics_;
    context.models = {"anomaly", "autoencoder", "autoencoder_window"};
    context.bind = [](std::string_view name, std::size_t max_rows) {
      model::BindingOptions binding;
      binding.inputs = {{"input", {"temperature", "pressure", "vibration"}}};
      if (name == "autoencoder") {
        binding.inputs = {{"x", {"temperature", "pressure", "vibration"}}};
        binding.outputs = {{"score", "mse(y, x)"}};
      } else if (name == "autoencoder_window") {
        binding.inputs = {{"x", {"temperature", "pressure"}}};
        binding.outputs = {{"score", "mse(y, x)"}};
      }
      binding.max_rows = max_rows;
      auto loaded = model::Model::load(
          {.path = fmt::format(HW_SOURCE_DIR "/tests/data/models/{}.onnx", name)});
      return loaded ? model::Binding::create(std::move(*loaded), std::move(binding))
                    : Result<std::unique_ptr<model::Binding>>(loaded.error());
    };
    return kind_.make(options, context, diagnostics);
  }

  // Rows as batches of `size`; with `restore`, each batch goes through a fresh instance with the
  // last one's state.
  Outcome run(const config::Node& options, const config::Node& rows,
              const std::vector<std::string>& columns, std::size_t size, bool restore) {
    Outcome outcome;
    config::Diagnostics diagnostics;
    std::unique_ptr<Stage> stage = make(options, diagnostics);
    EXPECT_NE(stage, nullptr) << diagnostics.text();
    if (stage == nullptr) {
      return outcome;
    }
    for (std::size_t begin = 0; begin < rows.items().size(); begin += size) {
      if (restore && begin != 0) {
        MapState state;
        stage->save(state);
        stage = make(options, diagnostics);
        const Status restored = stage->restore(state);
        EXPECT_TRUE(restored.ok()) << (restored ? "" : restored.error().text());
      }
      Collected out;
      const std::size_t count = std::min(size, rows.items().size() - begin);
      const Status done = stage->process(batch_of(rows, begin, count), out);
      EXPECT_TRUE(done.ok()) << (done ? "" : done.error().text());
      EXPECT_EQ(out.batches.size(), 1U) << "a stage hands on exactly once";
      if (out.batches.empty()) {
        return outcome;
      }
      const Batch& batch = out.batches.front();
      EXPECT_EQ(batch.rows(), count) << "a stage keeps all rows in the batch";
      for (const std::uint32_t row : batch.selection()) {
        outcome.kept.push_back(begin + row);
      }
      for (const std::string& name : columns) {
        for (std::size_t row = 0; row < count; ++row) {
          outcome.columns[name].push_back(shown(batch.find(name), row));
        }
      }
      for (const Alert& alert : out.alerts) {
        outcome.alerts.emplace_back(begin + alert.row, alert.event);
        outcome.alert_ids.push_back(alert.id);
      }
    }
    return outcome;
  }

 private:
  static Batch batch_of(const config::Node& rows, std::size_t begin, std::size_t count) {
    Batch batch;
    for (std::size_t i = 0; i < count; ++i) {
      Row row;
      row.payload = batch.arena().copy(rows.items()[begin + i].text());
      row.identity = {7, begin + i};
      row.sequence = begin + i + 1;
      batch.add_row(row);
    }
    JsonDecoder decoder{DecodeOptions{}};
    DecodeStats stats;
    std::vector<DecodeFailure> failures;
    EXPECT_TRUE(decoder.decode(batch, stats, failures).ok());
    EXPECT_TRUE(failures.empty()) << failures.front().reason;
    for (std::size_t i = 0; i < count; ++i) {
      const Column* device = batch.find("device_id");
      const Column* time = batch.find("timestamp");
      Row& row = batch.row(i);
      if (device != nullptr && device->valid(i)) {
        row.device = device->values<std::string_view>()[i];
      }
      if (time != nullptr && time->valid(i)) {
        row.time = {static_cast<std::int64_t>(time->as_double(i) * 1e9)};
      }
    }
    return batch;
  }

  const StageKind& kind_;
  config::Diagnostics diagnostics_;
  config::Node root_;
  telemetry::Registry metrics_;
};

class Conformance : public testing::TestWithParam<StageKind> {};

TEST_P(Conformance, EachCaseHoldsHoweverRowsAreCutAndAcrossARestart) {
  Kind kind(GetParam());
  ASSERT_TRUE(kind.root().is_mapping())
      << "tests/conformance/" << GetParam().kind << ".yaml is missing or wrong: " << kind.errors();
  const config::Node* cases = kind.root().find("cases");
  ASSERT_TRUE(cases != nullptr && !cases->items().empty());
  for (const config::Node& one : cases->items()) {
    SCOPED_TRACE(one.find("name")->text());
    const config::Node* own = one.find("options");
    const config::Node& options = own != nullptr ? *own : *kind.root().find("options");
    const config::Node& rows = *one.find("rows");
    std::vector<std::string> columns;
    Outcome expected;
    if (const config::Node* wanted = one.find("columns")) {
      for (const config::Node::Entry& column : wanted->entries()) {
        columns.push_back(column.name);
        for (const config::Node& value : column.value.items()) {
          expected.columns[column.name].push_back(expected_text(value));
        }
      }
    }
    const config::Node* keep = one.find("keep");
    for (std::size_t row = 0; row < rows.items().size(); ++row) {
      const auto is_row = [&](const config::Node& n) { return n.text() == std::to_string(row); };
      if (keep == nullptr || std::any_of(keep->items().begin(), keep->items().end(), is_row)) {
        expected.kept.push_back(row);
      }
    }
    if (const config::Node* alerts = one.find("alerts")) {
      for (const config::Node& alert : alerts->items()) {
        expected.alerts.emplace_back(std::stoul(alert.find("row")->text()),
                                     alert.find("event")->text());
      }
    }
    const Outcome whole = kind.run(options, rows, columns, rows.items().size(), false);
    EXPECT_EQ(whole.kept, expected.kept);
    EXPECT_EQ(whole.columns, expected.columns);
    EXPECT_EQ(whole.alerts, expected.alerts);
    for (const bool restore : {false, true}) {
      const Outcome cut = kind.run(options, rows, columns, 1, restore);
      EXPECT_EQ(cut.kept, whole.kept) << "row by row, restore " << restore;
      EXPECT_EQ(cut.columns, whole.columns) << "row by row, restore " << restore;
      EXPECT_EQ(cut.alerts, whole.alerts) << "row by row, restore " << restore;
      EXPECT_EQ(cut.alert_ids, whole.alert_ids) << "row by row, restore " << restore;
    }
  }
}

TEST_P(Conformance, AnEmptyBatchPasses) {
  Kind kind(GetParam());
  const config::Node* options = kind.root().find("options");
  ASSERT_NE(options, nullptr) << kind.errors();
  config::Diagnostics diagnostics;
  const std::unique_ptr<Stage> stage = kind.make(*options, diagnostics);
  ASSERT_NE(stage, nullptr) << diagnostics.text();
  Collected out;
  EXPECT_TRUE(stage->process(Batch(), out).ok());
  EXPECT_EQ(out.batches.size(), 1U);
  EXPECT_TRUE(out.alerts.empty());
}

TEST_P(Conformance, AnUnknownOptionIsRefusedByName) {
  Kind kind(GetParam());
  config::Diagnostics diagnostics;
  const config::Node options =
      config::Node::mapping({{"no_such_option", config::Node::scalar("1")}});
  EXPECT_EQ(kind.make(options, diagnostics), nullptr);
  EXPECT_NE(diagnostics.text().find("no_such_option"), std::string::npos) << diagnostics.text();
}

INSTANTIATE_TEST_SUITE_P(Catalogue, Conformance, testing::ValuesIn(stage_kinds()),
                         [](const auto& param) { return std::string(param.param.kind); });

}  // namespace
}  // namespace headwater
