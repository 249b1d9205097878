// headwater model bench MODEL [MODEL…]
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/strings.h"
#include "cli/model_view.h"
#include "io/files.h"
#include "workbench/bench.h"
#include "workbench/confine.h"

namespace headwater {
namespace {

struct BenchFlags {
  workbench::BenchOptions options;
  DataFlags data;
  std::string limit_cpu;
  std::string limit_memory;
  std::string svg;
  bool json = false;
};

Result<int> bench(BenchFlags flags) {
  flags.options.feeds = HW_TRY(feed_options(flags.data));
  flags.options.data = flags.data.data;
  const auto report = HW_TRY(workbench::bench(flags.options, terminal_progress()));
  end_progress();
  if (!flags.svg.empty()) {
    HW_TRY(io::real_files().write_all(flags.svg, workbench::to_svg(report)));
  }
  const std::string text = flags.json ? workbench::to_json(report) : workbench::to_text(report);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

// 73 when a limit of memory ended it.
int end_of(const Error& error) {
  end_progress();
  return error.code() == Code::kExhausted ? fail(error) : model_fail(error);
}

int bench_status(const BenchFlags& flags) {
  const auto status = bench(flags);
  return status ? *status : end_of(status.error());
}

Result<int> confined(BenchFlags flags) {
  workbench::Limits limits;
  if (!flags.limit_cpu.empty()) {
    limits.cpus = HW_TRY(workbench::parse_cpus(flags.limit_cpu));
  }
  if (!flags.limit_memory.empty()) {
    limits.memory_bytes = HW_TRY(workbench::parse_memory(flags.limit_memory));
  }
  if (!limits.any()) {
    return bench_status(flags);
  }
  flags.options.limits = fmt::format("{}{}{}", limits.cpus > 0 ? "cpu " + flags.limit_cpu : "",
                                     limits.cpus > 0 && limits.memory_bytes > 0 ? ", " : "",
                                     limits.memory_bytes > 0 ? "memory " + flags.limit_memory : "");
  return workbench::run_confined(limits, [&] { return bench_status(flags); });
}

}  // namespace

void add_model_bench(CLI::App* model, Action& action) {
  auto flags = std::make_shared<BenchFlags>();
  workbench::BenchOptions& options = flags->options;
  CLI::App* command = model->add_subcommand(
      "bench", "Latency, throughput, memory and load time; two or more models side by side");
  command->add_option("MODEL", options.models, "Files; the first is the one to compare with")
      ->required();
  add_data_flags(command, flags->data);
  command->add_option("--threads", options.threads, "Threads inside a call, a list")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--batch", options.batches, "Rows a call, a list; needs an open first axis")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--seconds", options.seconds, "For each measurement")
      ->capture_default_str()
      ->check(CLI::Range(0.05, 3600.0));
  command->add_option("--limit-cpu", flags->limit_cpu, "As a pod's limit: 500m, 0.5, 2");
  command->add_option("--limit-memory", flags->limit_memory, "As a pod's limit: 512Mi");
  command->add_option("--config", options.config, "KEY=VALUE for ONNX Runtime's session")
      ->expected(1);
  command->add_option("--svg", flags->svg, "Write a chart of latencies");
  command->add_flag("--json", flags->json, "JSON for scripts");
  command->footer(
      "With several models the first is the reference; each other one is measured in turns with "
      "it. A\nratio above 1 says faster than the first, with its 95 % interval; it is of CPU time, "
      "which a busy\nneighbour disturbs least. Spinning is off. Limits need control groups of "
      "version 1 and the rights\nto make one.");
  command->callback([flags, &action] {
    action = [flags] {
      const auto status = confined(*flags);
      return status ? *status : end_of(status.error());
    };
  });
}

}  // namespace headwater
