// headwater tap: a few readings or alerts of a running edge.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "cli/command.h"
#include "protocol/http/client.h"

namespace headwater {
namespace {

struct TapFlags {
  std::string url = "http://127.0.0.1:9465";
  std::string pipeline;
  std::string kind = "readings";
  std::uint64_t limit = 0;
  double rate = 10;
  std::string ca;
};

int tap(const TapFlags& flags) {
  signal(SIGPIPE, SIG_IGN);
  http::ClientOptions options;
  options.ca_file = flags.ca;
  if (const char* token = std::getenv("HEADWATER_ADMIN_TOKEN")) {
    options.token = token;
  }
  const std::string url =
      fmt::format("{}/api/v1/tap?kind={}&pipeline={}&limit={}&rate={:g}", flags.url, flags.kind,
                  http::percent_encode(flags.pipeline), flags.limit, flags.rate);
  auto reader = http::EventReader::open(url, options);
  if (!reader) {
    return fail(std::move(reader).error().with("{}", flags.url));
  }
  for (;;) {
    const auto event = (*reader)->next(std::chrono::seconds(60));
    if (!event) {
      return 0;  // the edge has closed the stream: limit reached, or it stopped
    }
    if (!*event) {
      continue;
    }
    if ((*event)->event == "skipped") {
      std::fprintf(stderr, "left out: %s\n", (*event)->data.c_str());
    } else if ((*event)->event != "end") {
      std::printf("%s\n", (*event)->data.c_str());
      std::fflush(stdout);
    }
  }
}

}  // namespace

void add_tap(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TapFlags>();
  CLI::App* command = app.add_subcommand("tap", "Show a few readings or alerts of a running edge");
  command->add_option("--admin", flags->url, "URL of the admin listener")->capture_default_str();
  command->add_option("--kind", flags->kind, "readings or alerts")
      ->capture_default_str()
      ->check(CLI::IsMember({"readings", "alerts"}));
  command->add_option("--pipeline", flags->pipeline, "Only this pipeline");
  command->add_option("--limit", flags->limit, "Stop after so many; 0 is no limit");
  command->add_option("--rate", flags->rate, "At most so many a second")->capture_default_str();
  command->add_option("--ca", flags->ca, "PEM file of trusted authorities, for https://");
  command->footer(
      "A sample for debugging, not a delivery: what is over the rate is left out. The token is "
      "taken\n"
      "from HEADWATER_ADMIN_TOKEN.\n"
      "\nExamples:\n"
      "  headwater tap --limit 5\n"
      "  headwater tap --kind alerts --admin http://127.0.0.1:9465");
  command->callback([flags, &action] { action = [flags] { return tap(*flags); }; });
}

}  // namespace headwater
