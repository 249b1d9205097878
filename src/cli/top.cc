// headwater top: what a running edge does, refreshed.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "cli/command.h"
#include "protocol/http/client.h"

namespace headwater {
namespace {

using Json = nlohmann::json;

struct TopFlags {
  std::string url = "http://127.0.0.1:9465";
  double every = 1;
  bool once = false;
  bool json = false;
  std::string ca;
};

std::string human(double value) {
  constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  std::size_t unit = 0;
  while (value >= 10'000 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f}{}", value, unit == 0 ? 0 : 1, kUnits[unit]);
}

// Growth of a number between two status documents, a second.
double rate(const Json& before, const Json& now, const Json::json_pointer& at, double seconds) {
  if (before.is_null() || !before.contains(at) || seconds <= 0) {
    return 0;
  }
  return (now.at(at).get<double>() - before.at(at).get<double>()) / seconds;
}

std::string render(const Json& now, const Json& before) {
  const double seconds =
      before.is_null() ? 0 : now.at("uptime_s").get<double>() - before.at("uptime_s").get<double>();
  const auto pointer = [](const char* list, std::size_t i, const char* key) {
    return Json::json_pointer(fmt::format("/{}/{}/{}", list, i, key));
  };
  std::string out = fmt::format(
      "{}  {}  up {:.0f} s  rss {:.1f} MB  cpu {:.0f}%\n\n", now.at("edge_id").get<std::string>(),
      now.at("ready").get<bool>() ? "ready" : "NOT READY", now.at("uptime_s").get<double>(),
      now.at("process").at("rss_bytes").get<double>() / 1e6,
      100 * rate(before, now, Json::json_pointer("/process/cpu_s"), seconds));
  out += fmt::format("{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}\n", "source", "in/s",
                     "received", "stored", "filtered", "dead", "refused", "flight");
  for (std::size_t i = 0; i < now.at("sources").size(); ++i) {
    const Json& source = now.at("sources")[i];
    const auto count = [&](const char* key) { return human(source.at(key).get<double>()); };
    out += fmt::format("{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}\n",
                       source.at("name").get<std::string>(),
                       human(rate(before, now, pointer("sources", i, "received"), seconds)),
                       count("received"), count("stored"), count("filtered"), count("dead_letter"),
                       count("refused"), count("in_flight"));
  }
  out += fmt::format("\n{:<16}{:>10}{:>10}{:>10}{:>10}{:>12}{:>12}{:>10}\n", "pipeline", "scored/s",
                     "scored", "alerts", "rows/call", "p50", "p99", "waiting");
  for (std::size_t i = 0; i < now.at("pipelines").size(); ++i) {
    const Json& pipeline = now.at("pipelines")[i];
    out += fmt::format("{:<16}{:>10}{:>10}{:>10}{:>10.1f}{:>9.2f} ms{:>9.2f} ms{:>10}\n",
                       pipeline.at("name").get<std::string>(),
                       human(rate(before, now, pointer("pipelines", i, "scored"), seconds)),
                       human(pipeline.at("scored").get<double>()),
                       human(pipeline.at("alerts").get<double>()),
                       pipeline.at("rows_per_call").get<double>(),
                       pipeline.at("latency_p50_s").get<double>() * 1e3,
                       pipeline.at("latency_p99_s").get<double>() * 1e3,
                       human(pipeline.at("pending_rows").get<double>() +
                             pipeline.at("behind_rows").get<double>()));
  }
  bool head = false;
  for (const Json& pipeline : now.at("pipelines")) {
    const auto objective = pipeline.find("objective");
    if (objective == pipeline.end() || !objective->is_object()) {
      continue;
    }
    if (!std::exchange(head, true)) {
      out += fmt::format("\n{:<16}{:>12}{:>10}{:>10}{:>12}  {}\n", "objective", "p99", "met",
                         "rows", "commit", "model: a call + each row (1 in 100 takes more)");
    }
    out += fmt::format(
        "{:<16}{:>9.1f} ms{:>8.1f} %{:>10}{:>9.2f} ms", pipeline.at("name").get<std::string>(),
        objective->at("p99_s").get<double>() * 1e3, objective->at("met").get<double>() * 100,
        human(objective->at("chosen_rows").get<double>()),
        objective->at("commit_p95_s").get<double>() * 1e3);
    for (const Json& model : objective->at("models")) {
      out += fmt::format(
          "  {}: {:.1f} µs + {:.3f} µs (+ {:.0f} µs)", model.at("name").get<std::string>(),
          model.at("call_fixed_s").get<double>() * 1e6, model.at("call_row_s").get<double>() * 1e6,
          model.at("call_tail_s").get<double>() * 1e6);
    }
    out += '\n';
  }
  const Json& store = now.at("store");
  out += fmt::format("\nstore {}: {:.1f} MB in {} segments, {:.0f} commits/s, p99 {:.2f} ms\n",
                     store.at("health").get<std::string>(), store.at("bytes").get<double>() / 1e6,
                     store.at("segments").get<std::uint64_t>(),
                     rate(before, now, Json::json_pointer("/store/commits"), seconds),
                     store.at("commit_p99_s").get<double>() * 1e3);
  if (const auto text = store.at("health_text").get<std::string>(); !text.empty()) {
    out += fmt::format("  {}\n", text);
  }
  for (const Json& sink : now.at("sinks")) {
    out += fmt::format(
        "sink {}: {} delivered, {} retried, {} rejected\n", sink.at("name").get<std::string>(),
        sink.at("delivered").get<std::uint64_t>(), sink.at("retried").get<std::uint64_t>(),
        sink.at("rejected").get<std::uint64_t>());
  }
  if (const auto uplink = now.find("uplink"); uplink != now.end() && uplink->is_object()) {
    out +=
        fmt::format("\n{:<16}{:>10}{:>10}{:>12}{:>10}{:>10}  to {}\n", "uplink", "state", "pending",
                    "oldest", "delivered", "retries", uplink->at("to").get<std::string>());
    for (const Json& lane : uplink->at("lanes")) {
      out += fmt::format(
          "{:<16}{:>10}{:>10}{:>10.0f} s{:>10}{:>10}\n", lane.at("lane").get<std::string>(),
          lane.at("state").get<std::string>(), human(lane.at("pending").get<double>()),
          lane.at("oldest_pending_s").get<double>(), human(lane.at("delivered").get<double>()),
          human(lane.at("retries").get<double>()));
    }
  }
  for (const char* list : {"sources", "pipelines", "sinks"}) {
    for (const Json& part : now.at(list)) {
      if (const std::string trouble = part.value("trouble", ""); !trouble.empty()) {
        out += fmt::format("\n{}: {}\n", part.at("name").get<std::string>(), trouble);
      }
    }
  }
  return out;
}

int top(const TopFlags& flags) {
  signal(SIGPIPE, SIG_IGN);
  http::ClientOptions options;
  options.ca_file = flags.ca;
  if (const char* token = std::getenv("HEADWATER_ADMIN_TOKEN")) {
    options.token = token;
  }
  Json before;
  for (;;) {
    const auto answer = http::fetch(flags.url + "/api/v1/status", options);
    if (!answer) {
      return fail(Error(answer.error()).with("{}", flags.url));
    }
    if (answer->status != 200) {
      return fail(Error::invalid("{}: status {}: {}", flags.url, answer->status, answer->body));
    }
    if (flags.json) {
      std::printf("%s\n", answer->body.c_str());
      return 0;
    }
    const Json now = Json::parse(answer->body, nullptr, false);
    if (!now.is_object()) {
      return fail(Error::invalid("{}: the answer is no status document", flags.url));
    }
    if (isatty(STDOUT_FILENO) != 0 && !flags.once) {
      std::fputs("\033[H\033[2J", stdout);
    }
    std::fputs(render(now, before).c_str(), stdout);
    std::fflush(stdout);
    if (flags.once) {
      return 0;
    }
    before = now;
    std::this_thread::sleep_for(std::chrono::duration<double>(flags.every));
  }
}

}  // namespace

void add_top(CLI::App& app, Action& action) {
  auto flags = std::make_shared<TopFlags>();
  CLI::App* command = app.add_subcommand("top", "Show what a running edge does");
  command->add_option("--admin", flags->url, "URL of the admin listener")->capture_default_str();
  command->add_option("--every", flags->every, "Seconds between refreshes")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_flag("--once", flags->once, "Print once and stop");
  command->add_flag("--json", flags->json, "Print the status document and stop");
  command->add_option("--ca", flags->ca, "PEM file of trusted authorities, for https://");
  command->footer(
      "Needs `admin: {address: …}` in the edge's config. The token is taken from\n"
      "HEADWATER_ADMIN_TOKEN.\n"
      "\nExamples:\n"
      "  headwater top\n"
      "  headwater top --json --admin http://127.0.0.1:9465 | jq .pipelines");
  command->callback([flags, &action] { action = [flags] { return top(*flags); }; });
}

}  // namespace headwater
