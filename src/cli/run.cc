// headwater run CONFIG
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/command.h"
#include "cli/config_file.h"
#include "edge/agent.h"
#include "telemetry/log.h"
#include "telemetry/process.h"

namespace headwater {
namespace {

struct RunFlags {
  std::string config;
  std::vector<std::string> sets;
  bool exit_when_done = false;
  int drain_seconds = 20;
};

void log_start(const Agent& agent, const Plan& plan) {
  for (const auto& [name, source] : plan.config().sources) {
    const std::string address = agent.address_of(name);
    if (!address.empty()) {
      log::info("listening", {{"source", name}, {"address", address}});
    }
  }
  if (const std::string address = agent.health_address(); !address.empty()) {
    log::info("health listener", {{"address", address}});
  }
  if (const std::string address = agent.admin_address(); !address.empty()) {
    log::info("admin listener", {{"address", address}});
  }
  if (const std::string window = plan.loss_window(); !window.empty()) {
    log::warn("LOSS WINDOW", {{"why", window}});
  }
}

void configure_log(const LogConfig& config) {
  const Result<log::Level> level = log::parse_level(config.level);
  const Result<log::Format> format = log::parse_format(config.format);
  log::configure({.level = level ? *level : log::Level::kInfo,
                  .format = format ? *format : log::Format::kLogfmt,
                  .sink = {},
                  .clock = {}});
}

// SIGHUP. `running` is what the agent's plan came from; it is replaced when the agent takes over.
void reload(Agent& agent, const RunFlags& flags, telemetry::Registry& metrics,
            std::unique_ptr<LoadedConfig>& running) {
  std::unique_ptr<LoadedConfig> fresh = load_config(flags.config, flags.sets, metrics);
  if (!fresh->diagnostics.ok()) {
    std::fputs(fresh->diagnostics.text(coloured()).c_str(), stderr);
    log::error("reload refused, the running config stays",
               {{"config", flags.config}, {"errors", fresh->diagnostics.error_count()}});
    return;
  }
  const LogConfig wanted = fresh->plan->config().log;
  const auto reloaded = agent.reload(std::move(fresh->plan));
  if (!reloaded) {
    log::error("reload refused, the running config stays", {{"error", reloaded.error()}});
    return;
  }
  configure_log(wanted);
  std::size_t applied = 0;
  for (const ReloadedOption& option : *reloaded) {
    if (option.applied) {
      ++applied;
      log::info("option changed",
                {{"option", option.path}, {"before", option.before}, {"after", option.after}});
    } else {
      log::warn("option not changed, it needs a restart", {{"option", option.path}});
    }
  }
  if (applied != 0) {
    running = std::move(fresh);
  }
  log::info(
      "reloaded",
      {{"config", flags.config}, {"applied", applied}, {"refused", reloaded->size() - applied}});
}

int run(const RunFlags& flags) {
  const MonoTime begun = io::mono_now();
  // Before any thread starts, so that all inherit the mask and the signals come here.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // Errors of the write that meets them, not ends of the process: a peer that is gone, a file size
  // limit.
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);

  telemetry::Registry metrics;
  const auto process_metrics = telemetry::register_process_metrics(metrics);
  std::unique_ptr<LoadedConfig> loaded = load_config(flags.config, flags.sets, metrics);
  if (!loaded->diagnostics.ok()) {
    std::fputs(loaded->diagnostics.text(coloured()).c_str(), stderr);
    return exit_status(Code::kInvalid);
  }
  if (loaded->diagnostics.warning_count() != 0) {
    std::fputs(loaded->diagnostics.text(coloured()).c_str(), stderr);
  }
  const EdgeConfig config = loaded->plan->config();
  configure_log(config.log);
  const Plan& plan = *loaded->plan;
  auto started = Agent::start(std::move(loaded->plan), metrics, {.version = version()});
  if (!started) {
    return fail(started.error());
  }
  Agent& agent = **started;
  log_start(agent, plan);
  log::info("ready", {{"edge", config.edge.id},
                      {"data_dir", config.edge.data_dir.text},
                      {"start_ms", static_cast<double>((io::mono_now() - begun).count()) * 1e-6}});

  const int fd = signalfd(-1, &signals, SFD_CLOEXEC);
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = poll(&waiting, 1, flags.exit_when_done ? 100 : -1);
    if (ready > 0) {
      signalfd_siginfo info{};
      (void)!read(fd, &info, sizeof info);
      if (info.ssi_signo == SIGHUP) {
        reload(agent, flags, metrics, loaded);
        continue;
      }
      log::info("stopping", {{"signal", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT"}});
      break;
    }
    if (flags.exit_when_done && agent.finished()) {
      log::info("every source has ended");
      break;
    }
  }
  close(fd);
  // A second signal ends the process the hard way; the next start goes on from the spool.
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  agent.drain(std::chrono::seconds(flags.drain_seconds));
  log::info("stopped");
  return 0;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* command = app.add_subcommand("run", "Run the edge");
  command->add_option("CONFIG", flags->config, "YAML file")->required()->check(CLI::ExistingFile);
  command->add_option("--set", flags->sets,
                      "Override an option: PATH=VALUE, for example edge.data_dir=/tmp/data");
  command->add_flag("--exit-when-done", flags->exit_when_done,
                    "Stop when every source has ended (files read to their end)");
  command
      ->add_option("--drain", flags->drain_seconds,
                   "Seconds that SIGTERM waits for what was taken to be scored and delivered")
      ->capture_default_str();
  command->footer(
      "SIGTERM and SIGINT stop taking, finish, commit, acknowledge, disconnect and exit 0.\n"
      "SIGHUP reads CONFIG again: what the reference marks Live (models, steps, log) changes "
      "while\n"
      "readings flow, the rest is named and waits for a restart; a config with an error changes\n"
      "nothing.\n"
      "\nExamples:\n"
      "  headwater run edge.yaml\n"
      "  headwater run edge.yaml --set edge.data_dir=/var/lib/headwater\n"
      "  MODEL_PATH=/models/m.onnx BATCH_SIZE=32 headwater run edge.yaml");
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace headwater
