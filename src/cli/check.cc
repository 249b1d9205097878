// headwater check CONFIG
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "edge/describe_plan.h"
#include "edge/known_fields.h"

namespace headwater {
namespace {

struct CheckFlags {
  std::string config;
  std::vector<std::string> sets;
  bool json = false;
  bool explain = false;
  double rate = 100;
  double size = 150;
  bool measure_disk = false;
};

void print_origins(const config::Origins& origins) {
  std::printf("\noptions:\n");
  for (const config::Origins::Entry& entry : origins.entries()) {
    std::printf("  %-44s %-24s %s%s%s\n", entry.path.c_str(), entry.value.c_str(),
                std::string(config::origin_name(entry.origin)).c_str(),
                entry.detail.empty() ? "" : " ", entry.detail.c_str());
  }
}

nlohmann::ordered_json fields_json(const std::vector<SourceFields>& sources) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const SourceFields& source : sources) {
    auto& fields = json[source.source] = nlohmann::ordered_json::array();
    for (const KnownField& field : source.fields) {
      fields.push_back({{"name", field.name},
                        {"type", std::string(type_name(field.type))},
                        {"from", field.declared ? "declared" : "learned"}});
    }
  }
  return json;
}

void print_fields(const std::vector<SourceFields>& sources) {
  for (const SourceFields& source : sources) {
    std::printf("\nfields of %s:\n", source.source.c_str());
    for (const KnownField& field : source.fields) {
      std::printf("  %-32s %-10s %s\n", field.name.c_str(),
                  std::string(type_name(field.type)).c_str(),
                  field.declared ? "declared" : "learned");
    }
  }
}

// Nothing, with a warning, where the disk cannot be measured.
std::optional<Nanos> commit_time_of(const Plan& plan) {
  Result<Nanos> measured = measure_commit_time(io::real_files(), plan.config().edge.data_dir.text);
  if (!measured) {
    std::fprintf(stderr, "warning: the disk was not measured: %s\n",
                 std::string(measured.error().text()).c_str());
    return std::nullopt;
  }
  return *measured;
}

int check(const CheckFlags& flags) {
  telemetry::Registry metrics;
  const std::unique_ptr<LoadedConfig> loaded = load_config(flags.config, flags.sets, metrics);
  const config::Diagnostics& diagnostics = loaded->diagnostics;
  ExpectedLoad load{flags.rate, flags.size};
  if (flags.measure_disk && diagnostics.ok()) {
    load.commit_time = commit_time_of(*loaded->plan);
  }
  if (flags.json) {
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(diagnostics.json());
    json["ok"] = diagnostics.ok();
    if (diagnostics.ok()) {
      json["plan"] = nlohmann::ordered_json::parse(describe_plan_json(*loaded->plan, load));
      if (const auto fields = known_fields(*loaded->plan)) {
        json["fields"] = fields_json(*fields);
      }
    }
    std::printf("%s\n", json.dump(2).c_str());
    return diagnostics.ok() ? 0 : exit_status(Code::kInvalid);
  }
  std::fputs(diagnostics.text(coloured()).c_str(), stderr);
  if (!diagnostics.ok()) {
    std::fprintf(stderr, "%s: %zu error%s\n", flags.config.c_str(), diagnostics.error_count(),
                 diagnostics.error_count() == 1 ? "" : "s");
    return exit_status(Code::kInvalid);
  }
  std::printf("%s: ok\n\n%s", flags.config.c_str(), describe_plan(*loaded->plan, load).c_str());
  if (const auto fields = known_fields(*loaded->plan)) {
    print_fields(*fields);
  } else if (fields.error().code() != Code::kNotFound) {
    std::fprintf(stderr, "warning: the fields learned so far: %s\n",
                 std::string(fields.error().text()).c_str());
  }
  if (flags.explain) {
    print_origins(loaded->origins);
  }
  return 0;
}

}  // namespace

void add_check(CLI::App& app, Action& action) {
  auto flags = std::make_shared<CheckFlags>();
  CLI::App* command = app.add_subcommand("check", "Check a config without running it");
  command->add_option("CONFIG", flags->config, "YAML file")->required()->check(CLI::ExistingFile);
  command->add_option("--set", flags->sets, "Override an option: PATH=VALUE");
  command->add_flag("--json", flags->json, "Print the result as JSON");
  command->add_flag("--explain", flags->explain,
                    "Print every option and where its value comes from");
  command->add_option("--rate", flags->rate, "Readings a second, for bytes written per day")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--size", flags->size, "Bytes of a reading, for the same")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--measure-disk", flags->measure_disk,
                    "Measure the commit time of data_dir's disk for the same (0.3 ms is taken "
                    "otherwise): 100 small writes with fdatasync to a file that is removed again");
  command->footer(
      "Prints all errors at once, each with file, line, column and the nearest name. Loads the\n"
      "models and lookup files; needs no network and writes nothing but for --measure-disk. Where "
      "data_dir has a spool,\n"
      "also shows the fields of each source with their types. Exit status 65 with errors.\n"
      "\nExamples:\n"
      "  headwater check edge.yaml\n"
      "  headwater check edge.yaml --explain --rate 5000 --size 200");
  command->callback([flags, &action] { action = [flags] { return check(*flags); }; });
}

}  // namespace headwater
