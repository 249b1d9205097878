// headwater simulate FILE --to mqtt://HOST:PORT
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/player.h"
#include "io/loop.h"
#include "protocol/mqtt/client.h"

namespace headwater {
namespace {

struct SimulateFlags {
  PlayerOptions player;
  std::string to;
  int qos = 1;
  std::string client_id = "simulate";
  std::string username;
  std::string ca;
  bool json = false;
  bool quiet = false;
  double patience = 30;
};

std::atomic<bool> interrupted{false};

// Sends what the player yields when it is due, and counts what was acknowledged.
class Simulation {
 public:
  Simulation(const SimulateFlags& flags, std::unique_ptr<Player> player, io::Loop& loop)
      : flags_(flags), player_(std::move(player)), loop_(loop), begun_(io::mono_now()) {}

  Status run(mqtt::ClientOptions options) {
    client_ = HW_TRY(mqtt::Client::open(std::move(options), loop_));
    MonoTime last_progress = begun_;
    MonoTime last_answer = begun_;
    std::uint64_t answered_before = 0;
    while (!done()) {
      if (interrupted) {
        return Error::cancelled("interrupted after {} of {} messages were acknowledged", answered_,
                                sent_);
      }
      HW_TRY(send_due());
      client_->flush();
      loop_.run_once(wait());
      take_outcomes();
      const MonoTime now = io::mono_now();
      if (answered_ != answered_before || sent_ == answered_) {
        answered_before = answered_;
        last_answer = now;
      } else if (now - last_answer > Nanos(static_cast<std::int64_t>(flags_.patience * 1e9))) {
        return Error::unavailable(
            "no acknowledgement for {} s ({} of {} messages): {}", flags_.patience, answered_,
            sent_,
            client_->last_error().empty() ? "the receiver is silent" : client_->last_error());
      }
      if (!flags_.quiet && now - last_progress > std::chrono::milliseconds(200)) {
        last_progress = now;
        std::fprintf(stderr, "\r%llu sent, %llu acknowledged, %.0f/s   ",
                     static_cast<unsigned long long>(sent_),
                     static_cast<unsigned long long>(answered_), rate());
      }
    }
    client_->close();
    loop_.run_once(std::chrono::milliseconds(50));
    return {};
  }

  void summary() const {
    if (!flags_.quiet) {
      std::fputs("\r\033[K", stderr);
    }
    if (flags_.json) {
      const nlohmann::ordered_json json = {
          {"sent", sent_},       {"acknowledged", answered_ - refused_},
          {"refused", refused_}, {"skipped_lines", skipped_},
          {"bytes", bytes_},     {"seconds", seconds()},
          {"rate", rate()}};
      std::printf("%s\n", json.dump().c_str());
    } else {
      std::printf(
          "%llu messages sent, %llu acknowledged, %llu refused, %llu lines skipped, "
          "%.1f s, %.0f/s\n",
          static_cast<unsigned long long>(sent_),
          static_cast<unsigned long long>(answered_ - refused_),
          static_cast<unsigned long long>(refused_), static_cast<unsigned long long>(skipped_),
          seconds(), rate());
    }
  }

 private:
  bool done() const { return ended_ && answered_ == sent_; }
  double seconds() const { return static_cast<double>((io::mono_now() - begun_).count()) * 1e-9; }
  double rate() const { return static_cast<double>(answered_) / std::max(seconds(), 1e-9); }

  Status send_due() {
    const Nanos now = io::mono_now() - begun_;
    while (!ended_) {
      if (!pending_) {
        auto next = player_->next();
        if (!next) {
          ++skipped_;
          std::fprintf(stderr, "\nskipped: %s\n", next.error().text().c_str());
          continue;
        }
        if (!*next) {
          ended_ = true;
          return {};
        }
        pending_ = **next;
      }
      if (pending_->due > now) {
        return {};
      }
      const Status sent = client_->publish({.topic = pending_->topic,
                                            .payload = pending_->payload,
                                            .qos = static_cast<std::uint8_t>(flags_.qos),
                                            .token = sent_,
                                            .content_type = {}});
      if (!sent) {
        // Full, or QoS 0 while not connected: when something was answered or in a moment.
        if (sent.error().code() == Code::kExhausted || sent.error().code() == Code::kUnavailable) {
          return {};
        }
        return sent;
      }
      bytes_ += pending_->payload.size();
      ++sent_;
      pending_.reset();
    }
    return {};
  }

  Nanos wait() const {
    if (pending_ && pending_->due > io::mono_now() - begun_) {
      return std::min<Nanos>(pending_->due - (io::mono_now() - begun_),
                             std::chrono::milliseconds(100));
    }
    return std::chrono::milliseconds(ended_ ? 20 : 1);
  }

  void take_outcomes() {
    outcomes_.clear();
    client_->poll(outcomes_);
    answered_ += outcomes_.size();
    for (const mqtt::Outcome& outcome : outcomes_) {
      refused_ += outcome.kind == mqtt::OutcomeKind::kAcknowledged ? 0 : 1;
    }
  }

  const SimulateFlags& flags_;
  std::unique_ptr<Player> player_;
  io::Loop& loop_;
  MonoTime begun_;
  std::unique_ptr<mqtt::Client> client_;
  std::optional<PlayedMessage> pending_;
  std::vector<mqtt::Outcome> outcomes_;
  std::uint64_t sent_ = 0;
  std::uint64_t answered_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t skipped_ = 0;
  std::uint64_t bytes_ = 0;
  bool ended_ = false;
};

int simulate(const SimulateFlags& flags) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGINT, [](int) { interrupted = true; });
  signal(SIGTERM, [](int) { interrupted = true; });
  mqtt::ClientOptions options;
  if (Status applied = mqtt::apply_url(flags.to, &options); !applied) {
    return fail(std::move(applied).error().with("--to"));
  }
  options.client_id = flags.client_id;
  options.tls.ca = flags.ca;
  if (!flags.username.empty()) {
    options.username = flags.username;
  }
  if (const char* password = std::getenv("MQTT_PASSWORD")) {
    options.password = password;
  }
  auto player = Player::open(flags.player);
  if (!player) {
    return fail(player.error());
  }
  auto loop = io::Loop::create();
  if (!loop) {
    return fail(loop.error());
  }
  Simulation simulation(flags, std::move(*player), **loop);
  const Status played = simulation.run(std::move(options));
  simulation.summary();
  return played ? 0 : fail(played.error());
}

}  // namespace

void add_simulate(CLI::App& app, Action& action) {
  auto flags = std::make_shared<SimulateFlags>();
  flags->quiet = isatty(STDERR_FILENO) == 0;
  CLI::App* command =
      app.add_subcommand("simulate", "Play a CSV or JSONL recording as devices would");
  PlayerOptions& player = flags->player;
  command->add_option("FILE", player.path, "CSV with a header line, or JSON lines")
      ->required()
      ->check(CLI::ExistingFile);
  command
      ->add_option("--to", flags->to,
                   "mqtt://HOST:PORT or mqtts://…; the edge's own listener, or a broker")
      ->required();
  auto* rate = command->add_option("--rate", player.rate,
                                   "Messages a second; as fast as it goes if not given");
  command->add_option("--speed", player.speed, "Multiple of the recording's own pace")
      ->excludes(rate);
  command->add_option("--topic", player.topic, "${NAME} is a column or field")
      ->capture_default_str();
  command->add_option("--device", player.device,
                      "Device id where the rows have none; the file's name if not given");
  command->add_option("--device-field", player.device_field, "Column that names the device")
      ->capture_default_str();
  command->add_option("--devices", player.devices, "Play each row as that many devices")
      ->capture_default_str();
  command->add_option("--rename", player.rename, "Rename a CSV column: --rename value temperature");
  command->add_option("--time-field", player.time_field,
                      "Column of the event time; found by name if not given");
  command->add_option("--message-id", player.message_id_field,
                      "Add this field with an id per message");
  command->add_option("--repeat", player.repeat, "Passes over the file; 0 is for ever")
      ->capture_default_str();
  command->add_option("--qos", flags->qos, "0 or 1")
      ->capture_default_str()
      ->check(CLI::Range(0, 1));
  command->add_option("--client-id", flags->client_id, "MQTT client id")->capture_default_str();
  command->add_option("--username", flags->username,
                      "User name; the password is taken from MQTT_PASSWORD");
  command->add_option("--ca", flags->ca, "PEM file of trusted authorities, for mqtts://");
  command
      ->add_option("--patience", flags->patience,
                   "Seconds without any acknowledgement before giving up")
      ->capture_default_str();
  command->add_flag("--json", flags->json, "Print the summary as JSON");
  command->add_flag("--quiet", flags->quiet, "No progress line");
  command->footer(
      "Ends when every message is acknowledged (exit 0).\n"
      "\nExamples:\n"
      "  headwater simulate machine.csv --to mqtt://127.0.0.1:1884 --rate 1000 --device machine-1\n"
      "  headwater simulate day.jsonl --to mqtts://edge:8883 --ca ca.pem --speed 60");
  command->callback([flags, &action] { action = [flags] { return simulate(*flags); }; });
}

}  // namespace headwater
