// headwater expr 'EXPRESSION' [--data FILE.jsonl] [--json]
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "cli/command.h"
#include "compute/event_time.h"
#include "compute/json_decode.h"
#include "expr/expression.h"
#include "io/loop.h"

namespace headwater {
namespace {

struct ExprFlags {
  std::string text;
  std::string data;
  bool json = false;
};

// The first of these columns that the readings have, "" if none.
std::string first_column(const Batch& batch, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (batch.find(name) != nullptr) {
      return name;
    }
  }
  return {};
}

// In a pipeline the source's options say where device and time come from; here their usual fields
// do.
void set_row_facts(Batch& batch) {
  const Column* device = batch.find(first_column(batch, {"device_id", "device"}));
  for (std::uint32_t row = 0; row < batch.rows(); ++row) {
    if (device != nullptr && device->type() == Type::kString && device->valid(row)) {
      batch.row(row).device = device->values<std::string_view>()[row];
    }
  }
  EventTimeOptions time;
  time.field = first_column(batch, {"timestamp", "time"});
  EventTimeStats ignored;
  EventTime(time).resolve(batch, ignored);
}

// One reading per line: the fields of the first lines give the types, then each row is evaluated.
Result<Batch> read_rows(std::istream& in) {
  Batch batch;
  std::string line;
  while (std::getline(in, line)) {
    if (trim(line).empty()) {
      continue;
    }
    Row row;
    row.payload = batch.arena().copy(line);
    row.received = io::wall_now();
    row.time = row.received;
    batch.add_row(row);
  }
  JsonDecoder decoder{DecodeOptions{}};
  DecodeStats stats;
  std::vector<DecodeFailure> failures;
  HW_TRY(decoder.decode(batch, stats, failures));
  if (!failures.empty()) {
    return Error::invalid("reading {}: {}", failures.front().row + 1, failures.front().reason);
  }
  set_row_facts(batch);
  return batch;
}

void print(const expr::Value& value, bool json) {
  std::string text = expr::to_json(value);
  if (!json) {
    const nlohmann::json parts = nlohmann::json::parse(text, nullptr, false);
    if (parts.is_object() && parts.contains("value")) {
      text = parts["value"].is_string() ? parts["value"].get<std::string>() : parts["value"].dump();
    }
  }
  std::printf("%s\n", text.c_str());
}

int report(const Error& error, const ExprFlags& flags) {
  if (!flags.json) {
    return fail(error);
  }
  std::string out = "{\"error\":";
  append_json_string(out, error.text());
  std::printf("%s}\n", out.c_str());
  return exit_status(error.code());
}

int evaluate_rows(const ExprFlags& flags) {
  std::ifstream file;
  if (flags.data != "-") {
    file.open(flags.data);
    if (!file) {
      return report(Error::not_found("cannot read '{}'", flags.data), flags);
    }
  }
  auto batch = read_rows(flags.data == "-" ? std::cin : file);
  if (!batch) {
    return report(batch.error(), flags);
  }
  const auto compiled = expr::compile(flags.text, expr::Names::of(batch->schema()));
  if (!compiled) {
    return report(compiled.error(), flags);
  }
  int status = 0;
  for (std::size_t row = 0; row < batch->rows(); ++row) {
    const auto value = compiled->evaluate_row(*batch, row);
    if (value) {
      print(*value, flags.json);
    } else {
      status = report(value.error(), flags);
    }
  }
  return status;
}

int evaluate(const ExprFlags& flags) {
  if (!flags.data.empty()) {
    return evaluate_rows(flags);
  }
  const auto compiled = expr::compile(flags.text, expr::Names());
  if (!compiled) {
    return report(compiled.error(), flags);
  }
  const auto value = compiled->evaluate_scalar({});
  if (!value) {
    return report(value.error(), flags);
  }
  print(*value, flags.json);
  return 0;
}

}  // namespace

void add_expr(CLI::App& app, Action& action) {
  auto flags = std::make_shared<ExprFlags>();
  CLI::App* command = app.add_subcommand("expr", "Type-check and evaluate an expression");
  command->add_option("EXPRESSION", flags->text, "CEL syntax, as in filter, enrich and decide")
      ->required();
  command->add_option("--data", flags->data,
                      "Evaluate once per reading of this JSON-lines file (- is standard input)");
  command->add_flag("--json", flags->json, "Print {\"type\": …, \"value\": …}");
  command->footer(
      "With --data, `device` is the field device_id or device, `time` the field timestamp or "
      "time.\n"
      "\nExamples:\n"
      "  headwater expr '1 + 2 * 3'\n"
      "  headwater expr 'temperature > 80.0 && device.startsWith(\"press\")' --data "
      "readings.jsonl\n"
      "  headwater expr 'duration(\"90s\") > duration(\"1m\")' --json");
  command->callback([flags, &action] { action = [flags] { return evaluate(*flags); }; });
}

}  // namespace headwater
