// headwater torture
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "cli/command.h"
#include "io/loop.h"
#include "telemetry/log.h"
#include "torture/campaign.h"

namespace headwater {
namespace {

constexpr int kFoundStatus = 74;  // as for damaged data
constexpr Nanos kProgressEvery = std::chrono::milliseconds(200);
constexpr int kBarWidth = 30;

std::atomic<bool> interrupted{false};

struct TortureFlags {
  torture::CampaignOptions campaign;
  double minutes = 0;
  std::string faults = "all";
  bool json = false;
};

void show_progress(const TortureFlags& flags, const torture::Report& report) {
  const double share =
      flags.minutes > 0
          ? static_cast<double>(report.took.count()) * 1e-9 / (flags.minutes * 60)
          : static_cast<double>(report.trials) / static_cast<double>(flags.campaign.trials);
  const int full = static_cast<int>(std::min(share, 1.0) * kBarWidth);
  std::fprintf(stderr, "\r[%s%s] %llu trials, %llu rows acknowledged, %llu lost, %llu failed   ",
               std::string(static_cast<std::size_t>(full), '#').c_str(),
               std::string(static_cast<std::size_t>(kBarWidth - full), '.').c_str(),
               static_cast<unsigned long long>(report.trials),
               static_cast<unsigned long long>(report.acknowledged),
               static_cast<unsigned long long>(report.lost),
               static_cast<unsigned long long>(report.failed));
}

int run_torture(TortureFlags& flags) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, [](int) { interrupted = true; });
  signal(SIGTERM, [](int) { interrupted = true; });
  log::set_level(log::Level::kOff);  // faults make trouble on purpose
  auto faults = torture::parse_faults(flags.faults);
  if (!faults) {
    return fail(std::move(faults).error().with("--faults"));
  }
  flags.campaign.faults = std::move(*faults);
  flags.campaign.limit = Nanos(static_cast<std::int64_t>(flags.minutes * 60e9));
  char self[4096];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
  flags.campaign.program = length > 0 ? std::string(self, static_cast<std::size_t>(length)) : "";
  const bool own_dir = flags.campaign.dir.empty();
  if (own_dir) {
    std::string made = "headwater-torture-XXXXXX";
    if (mkdtemp(made.data()) == nullptr) {
      return fail(
          Error::from_errno(errno, "make a folder here for real trials; give one by --dir"));
    }
    flags.campaign.dir = made;
  }
  flags.campaign.dir = std::filesystem::absolute(flags.campaign.dir).string();
  const bool terminal = isatty(STDERR_FILENO) != 0;
  MonoTime shown;
  const auto report = torture::run_campaign(flags.campaign, [&](const torture::Report& so_far) {
    const MonoTime now = io::mono_now();
    if (terminal && now - shown > kProgressEvery) {
      shown = now;
      show_progress(flags, so_far);
    }
    return !interrupted.load();
  });
  if (terminal) {
    std::fputs("\r\033[K", stderr);
  }
  if (own_dir) {
    rmdir(flags.campaign.dir.c_str());  // what a failed trial left stays
  }
  if (!report) {
    return fail(report.error());
  }
  const std::string text =
      flags.json ? torture::report_json(*report) + "\n" : torture::report_text(*report);
  std::fputs(text.c_str(), stdout);
  return report->good() ? 0 : kFoundStatus;
}

std::string fault_list() {
  std::string text = "Faults for --faults (a list with commas; or simulated, real, all):\n";
  for (const torture::FaultFacts& facts : torture::all_faults()) {
    text += fmt::format("  {:<16}{} {}\n", facts.name,
                        facts.real ? "real:     " : "simulated:", facts.doc);
  }
  return text;
}

}  // namespace

void add_torture(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TortureFlags>();
  CLI::App* command = app.add_subcommand(
      "torture", "Check on your own board that nothing acknowledged is lost, whatever fails");
  auto* trials = command
                     ->add_option("--trials", flags->campaign.trials,
                                  "Trials that count; void ones are made up for")
                     ->capture_default_str()
                     ->check(CLI::PositiveNumber);
  command->add_option("--minutes", flags->minutes, "Run for so long instead")
      ->excludes(trials)
      ->check(CLI::PositiveNumber);
  command->add_option("--seed", flags->campaign.seed, "Of the first trial; the next ones count up")
      ->capture_default_str();
  command->add_option("--load", flags->campaign.load, "Rows acknowledged in each trial, at least")
      ->capture_default_str()
      ->check(CLI::Range(100, 1'000'000));
  command->add_option("--faults", flags->faults, "Which faults; see below")->capture_default_str();
  command->add_option("--dir", flags->campaign.dir,
                      "Folder for real trials, on the disk to be tested; a new one under the "
                      "current folder if not given");
  command->add_flag("--json", flags->json, "Print the report as one JSON object");
  command->footer(
      "Runs the real pipeline against generated devices, breaks things, and keeps account of "
      "every\n"
      "row that was acknowledged: it must be with the receiver, in the store, or in a gap record;\n"
      "once, in order, and with the same scores and alerts as without the fault.\n\n" +
      fault_list() +
      "\nExit status: 0 nothing was found; 74 something was lost, doubled, reordered or decided\n"
      "otherwise, and the report has the seed that shows it again.\n"
      "\nExamples:\n"
      "  headwater torture --minutes 10 --dir /data/torture      the disk of this board\n"
      "  headwater torture --trials 5000 --faults simulated      thousands of power cuts\n"
      "  headwater torture --trials 1 --seed 4711 --faults power_cut   one trial again");
  command->callback([flags, &action] { action = [flags] { return run_torture(*flags); }; });
}

}  // namespace headwater
