// headwater bench CONFIG
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <set>

#include "base/strings.h"
#include "bench/report.h"
#include "cli/command.h"
#include "cli/config_file.h"
#include "cli/player.h"
#include "io/cgroup.h"
#include "io/loop.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr std::uint64_t kMostSampleBytes = std::uint64_t{256} << 20;
constexpr std::uint32_t kMadeUpDevices = 10;
constexpr Nanos kSettle = std::chrono::seconds(10);
// A step of the search: as long as it takes for so many readings, within these bounds.
constexpr double kStepReadings = 500;
constexpr double kShortestStep = 0.7;
constexpr double kWarmUp = 0.3;
constexpr int kNotHeldStatus = 73;  // a limit is reached

struct BenchFlags {
  std::string config;
  std::vector<std::string> sets;
  std::string messages;
  std::string topic;
  std::string source;
  std::string rate = "search";
  std::string objective;
  std::string through;
  std::string dir;
  double seconds = 10;
  std::uint32_t devices = 0;
  std::size_t connections = 100;
  bool json = false;
};

std::atomic<bool> interrupted{false};

Nanos nanos(double seconds) {
  return Nanos(static_cast<std::int64_t>(seconds * 1e9));
}

// The sample, each message as the devices it is played as would send it.
Result<std::vector<bench::Message>> read_sample(const BenchFlags& flags,
                                                const bench::SourceFacts& facts) {
  if (flags.messages.empty()) {
    return bench::made_up_messages(facts, flags.devices == 0 ? kMadeUpDevices : flags.devices);
  }
  PlayerOptions options;
  options.path = flags.messages;
  options.devices = std::max<std::uint32_t>(1, flags.devices);
  options.device_field = facts.device_field.empty() ? "device_id" : facts.device_field;
  options.topic = flags.topic;
  if (options.topic.empty()) {
    options.topic = facts.topic;
    if (const std::size_t at = options.topic.find("${DEVICE}"); at != std::string::npos) {
      options.topic.replace(at, 9, "${" + options.device_field + "}");
    }
  }
  const std::unique_ptr<Player> player = HW_TRY(Player::open(std::move(options)));
  std::vector<bench::Message> messages;
  std::uint64_t bytes = 0;
  for (;;) {
    const auto next = HW_TRY(player->next());
    if (!next) {
      break;
    }
    bytes += next->payload.size() + next->topic.size() + sizeof(bench::Message);
    if (bytes > kMostSampleBytes) {
      return Error::exhausted(
          "{}: as {} devices it takes more than {} of memory; a part of it will do", flags.messages,
          std::max<std::uint32_t>(1, flags.devices), format_size(kMostSampleBytes));
    }
    messages.push_back(bench::make_message(
        {std::string(next->topic), std::string(next->payload), std::string(next->device)}, facts));
  }
  if (messages.empty()) {
    return Error::invalid("{}: no messages", flags.messages);
  }
  return messages;
}

struct Asked {
  bench::Mode mode = bench::Mode::kInProcess;
  double rate = 0;  // 0: search
  Nanos objective{0};
};

Result<Asked> read_flags(const BenchFlags& flags, const Plan& plan) {
  Asked asked;
  if (flags.through == "listener") {
    asked.mode = bench::Mode::kListener;
  } else if (!flags.through.empty()) {
    return Error::invalid(
        "--through {}: there is 'listener'; without it the load comes from "
        "inside the process",
        flags.through);
  }
  if (flags.rate != "search") {
    char* end = nullptr;
    asked.rate = std::strtod(flags.rate.c_str(), &end);
    if (end == flags.rate.c_str() || *end != '\0' || !(asked.rate >= 0.1 && asked.rate <= 1e8)) {
      return Error::invalid("--rate {}: expected messages a second, or search", flags.rate);
    }
  }
  asked.objective = flags.objective.empty()
                        ? bench::objective_of(plan)
                        : HW_TRY(bench::parse_objective(flags.objective).with("--objective"));
  return asked;
}

// Shows the rate that is tried, on a terminal.
class Progress {
 public:
  Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}
  ~Progress() {
    if (terminal_) {
      std::fputs("\r\033[K", stderr);
    }
  }
  void show(std::string_view what, double rate) const {
    if (terminal_) {
      std::fprintf(stderr, "\r\033[K%s %s/s …", std::string(what).c_str(),
                   bench::human_count(rate).c_str());
      std::fflush(stderr);
    }
  }

 private:
  bool terminal_;
};

Status measure(bench::Trial& trial, const BenchFlags& flags, const Asked& asked,
               bench::Report& report) {
  const Progress progress;
  const auto watch = [] { return !interrupted.load(); };
  if (asked.rate != 0) {
    progress.show("measuring", asked.rate);
    report.measured = HW_TRY(trial.measure(asked.rate, nanos(std::min(1.0, flags.seconds / 4)),
                                           nanos(flags.seconds), watch));
    return {};
  }
  const bench::Measure probe = [&](double rate, bool confirmation) -> Result<bool> {
    progress.show(confirmation ? "confirming" : "trying", rate);
    const double step = std::min(std::max(kShortestStep, kStepReadings / rate), flags.seconds);
    const Nanos time = nanos(confirmation ? flags.seconds : step);
    report.measured = HW_TRY(trial.measure(rate, nanos(kWarmUp), time, watch));
    if (!report.measured->holds) {
      (void)trial.settle(kSettle, watch);
    }
    return report.measured->holds;
  };
  report.search = HW_TRY(bench::search_rate({}, probe));
  return {};
}

Status bench_config(const BenchFlags& flags, LoadedConfig& checked, bench::Report& report) {
  const Plan& plan = *checked.plan;
  const Asked asked = HW_TRY(read_flags(flags, plan));
  const bench::SourceFacts facts = HW_TRY(bench::source_facts(plan, flags.source));
  if (asked.mode == bench::Mode::kListener) {
    HW_TRY(bench::check_listener(plan, facts));
  }
  const std::vector<bench::Message> messages = HW_TRY(read_sample(flags, facts));
  const auto place = HW_TRY(bench::Workplace::make(plan.config().edge.data_dir.text, flags.dir));

  report.config = flags.config;
  report.mode = asked.mode;
  report.source = facts.source;
  report.source_kind = facts.kind;
  report.messages = messages.size();
  std::set<std::string_view> devices;
  for (const bench::Message& message : messages) {
    report.message_bytes += message.payload.size();
    devices.insert(message.device);
  }
  report.devices = devices.size();
  report.connections = std::min(devices.size(), flags.connections);
  report.made_up = flags.messages.empty();
  report.objective = asked.objective;
  const io::ResourceLimits limits = io::read_resource_limits();
  report.cpus =
      std::min(limits.cpu_quota.value_or(limits.affinity), static_cast<double>(limits.affinity));
  report.workers = plan.config().workers;
  report.sinks = plan.config().sinks.size();
  report.has_uplink = plan.has_uplink();
  report.configured_store_bytes = plan.config().store.max_bytes.bytes;

  telemetry::Registry metrics;
  std::vector<std::string> sets = flags.sets;
  for (std::string& set : bench::trial_sets(plan, *place, asked.mode, facts.source)) {
    sets.push_back(std::move(set));
  }
  const std::unique_ptr<LoadedConfig> loaded = load_config(flags.config, sets, metrics);
  if (!loaded->diagnostics.ok()) {
    return Error::invalid("the config does not fit a trial:\n{}", loaded->diagnostics.text(false));
  }
  report.store_bytes = loaded->plan->config().store.max_bytes.bytes;
  const auto trial =
      HW_TRY(bench::Trial::start(std::move(loaded->plan), metrics, messages,
                                 {.version = version(),
                                  .mode = asked.mode,
                                  .source = facts.source,
                                  .pipeline = facts.pipeline,
                                  .connections = flags.connections,
                                  .objective = asked.objective,
                                  .commit_wait = bench::commit_wait_of(plan.config().store)}));
  HW_TRY(measure(*trial, flags, asked, report));
  report.trouble = trial->trouble();
  report.totals = trial->finish();
  return {};
}

int run_bench(const BenchFlags& flags) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, [](int) { interrupted = true; });
  signal(SIGTERM, [](int) { interrupted = true; });
  log::set_level(log::Level::kError);  // what goes wrong is in the report
  telemetry::Registry metrics;
  const std::unique_ptr<LoadedConfig> checked = load_config(flags.config, flags.sets, metrics);
  if (!checked->diagnostics.ok()) {
    std::fputs(checked->diagnostics.text(coloured()).c_str(), stderr);
    return exit_status(Code::kInvalid);
  }
  if (checked->diagnostics.warning_count() != 0) {
    std::fputs(checked->diagnostics.text(coloured()).c_str(), stderr);
  }
  bench::Report report;
  if (const Status done = bench_config(flags, *checked, report); !done) {
    return fail(done.error());
  }
  const std::string text =
      flags.json ? bench::report_json(report) + "\n" : bench::report_text(report);
  std::fputs(text.c_str(), stdout);
  const bool held = report.search ? report.search->held != 0 : report.measured->holds;
  return held ? 0 : kNotHeldStatus;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure how much a config can take on this machine");
  command->add_option("CONFIG", flags->config, "YAML file")->required()->check(CLI::ExistingFile);
  command
      ->add_option("--messages", flags->messages,
                   "Sample: JSON lines, or CSV with a header line; played over and over with new "
                   "times and ids. Made up from the fields the config reads if not given")
      ->check(CLI::ExistingFile);
  command
      ->add_option("--rate", flags->rate,
                   "Messages a second; or search, for the highest rate that holds the objective")
      ->capture_default_str();
  command->add_option("--seconds", flags->seconds, "Measure for so long")
      ->capture_default_str()
      ->check(CLI::Range(0.5, 3600.0));
  command->add_option("--objective", flags->objective,
                      "p99=20ms; that of the detect steps if not given, else 20ms");
  command->add_option("--devices", flags->devices, "Play each message as that many devices")
      ->check(CLI::Range(1, 100'000));
  command->add_option("--through", flags->through,
                      "listener: publish over MQTT to the config's own listener, opened on a free "
                      "port of loopback");
  command
      ->add_option("--connections", flags->connections,
                   "Through the listener: connections at most; below it each device has its own")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  command->add_option("--source", flags->source,
                      "Source that gets the load; the first listener, else the first source, if "
                      "not given");
  command->add_option("--topic", flags->topic,
                      "Topic of the sample's messages, ${NAME} is a field; from the source's "
                      "topics if not given");
  command
      ->add_option("--dir", flags->dir,
                   "Where the run keeps its store, in a folder that is removed again; beside "
                   "data_dir, on its disk, if not given")
      ->check(CLI::ExistingDirectory);
  command->add_option("--set", flags->sets, "Override an option: PATH=VALUE");
  command->add_flag("--json", flags->json, "Print the result as JSON");
  command->footer(
      "Runs the config's pipelines as `headwater run` does, commits included, in a folder of its "
      "own:\n"
      "data_dir is not touched. Other sources give nothing, alerts and uploads go to counters: "
      "nothing\n"
      "leaves this machine. Messages come at an even pace whether or not they are taken, and "
      "latency is\n"
      "measured from the moment each was due. A rate holds while p99 to the decision is within "
      "the\n"
      "objective, the backlog does not grow and the store refuses nothing; through the listener "
      "p99 to\n"
      "the PUBACK must be within it and two commits.\n"
      "\nExit status: 0 it holds, 73 it does not.\n"
      "\nExamples:\n"
      "  headwater bench edge.yaml --messages sample.jsonl                 how much is too much\n"
      "  headwater bench edge.yaml --messages sample.jsonl --rate 1000     will it cope\n"
      "  headwater bench edge.yaml --messages sample.jsonl --devices 500 --through listener");
  command->callback([flags, &action] { action = [flags] { return run_bench(*flags); }; });
}

}  // namespace headwater
