#include "torture/real_trial.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "io/loop.h"
#include "protocol/mqtt/client.h"
#include "store/fsck.h"
#include "torture/alert_receiver.h"
#include "torture/edge_process.h"
#include "torture/links.h"
#include "torture/outbox.h"

namespace headwater::torture {
namespace {

constexpr std::size_t kDevices = 6;
constexpr std::size_t kWindow = 40;
// The load is spread over a trial so that faults strike while there is some.
constexpr std::size_t kTimesLoad = 3;
constexpr Nanos kPatience = std::chrono::seconds(60);
constexpr Nanos kStopPatience = std::chrono::seconds(30);
constexpr std::uint64_t kTmpfsBytes = std::uint64_t{24} << 20;
constexpr std::string_view kBroker = "/usr/sbin/mosquitto";

// A device: what it sent, in order; what was acknowledged.
struct RealDevice {
  std::string name;
  std::string topic;
  bool steady = false;
  std::vector<std::string> payloads;
  std::vector<bool> acknowledged;
  std::size_t answered = 0;
  std::unique_ptr<mqtt::Client> client;
};

Result<std::uint16_t> free_port() {
  const io::Fd probe = HW_TRY(io::listen_tcp({"127.0.0.1", 0}));
  return HW_TRY(io::local_address(probe.get())).port();
}

std::uint32_t number_in(std::string_view payload) {
  constexpr std::string_view kKey = "\"number\": ";
  const std::size_t at = payload.find(kKey);
  std::uint32_t number = 0;
  if (at != std::string_view::npos) {
    std::from_chars(payload.data() + at + kKey.size(), payload.data() + payload.size(), number);
  }
  return number;
}

class RealTrial {
 public:
  RealTrial(const Blueprint& blueprint, const RealOptions& options)
      : blueprint_(blueprint),
        options_(options),
        random_(options.trial.seed * 0x9E3779B97F4A7C15ULL + 7),
        total_(options.trial.load * kTimesLoad) {
    trial_.seed = options.trial.seed;
    trial_.kind = options.kind;
    trial_.strikes = 0;
  }
  ~RealTrial() {
    edge_.kill();
    broker_.kill();
    if (mounted_) {
      umount2(data_.c_str(), MNT_DETACH);
    }
    if (trial_.verdict.good()) {
      std::error_code ignored;
      std::filesystem::remove_all(options_.dir, ignored);
    }
  }
  RealTrial(const RealTrial&) = delete;
  RealTrial& operator=(const RealTrial&) = delete;

  Result<Trial> run() {
    const MonoTime began = io::mono_now();
    HW_TRY(prepare());
    HW_TRY(start_edge());
    HW_TRY(open_devices());
    if (work() && finish()) {
      HW_TRY(verify());
    }
    trial_.took = io::mono_now() - began;
    trial_.verdict.acknowledged = acknowledged_;
    return std::move(trial_);
  }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool is(FaultKind kind) const { return options_.kind == kind; }
  Verdict& verdict() { return trial_.verdict; }
  bool give_up(std::string text) {
    ++verdict().lost;
    verdict().find(std::move(text) + fmt::format("; kept: {}", options_.dir));
    return false;
  }
  std::string path(std::string_view name) const { return options_.dir + "/" + std::string(name); }

  // ---- the parts ----

  Status prepare() {
    std::error_code error;
    std::filesystem::create_directories(options_.dir, error);
    data_ = path("data");
    std::filesystem::create_directories(data_, error);
    if (error) {
      return Error::unavailable("make '{}': {}", data_, error.message());
    }
    if (is(FaultKind::kFullDisk)) {
      const std::string size = fmt::format("size={}", kTmpfsBytes);
      if (mount("tmpfs", data_.c_str(), "tmpfs", 0, size.c_str()) != 0) {
        return Error::from_errno(errno, fmt::format("mount a tmpfs at '{}'", data_));
      }
      mounted_ = true;
    }
    loop_ = HW_TRY(io::Loop::create());
    port_ = HW_TRY(free_port());
    links_ = HW_TRY(Links::open(*loop_, port_));
    HW_TRY(receiver_.open());
    if (is(FaultKind::kBrokerRestart)) {
      broker_port_ = HW_TRY(free_port());
      std::ofstream(path("broker.conf"))
          << fmt::format("listener {} 127.0.0.1\nallow_anonymous true\n", broker_port_);
      HW_TRY(start_broker());
    }
    std::ofstream(path("edge.yaml")) << config();
    return {};
  }

  std::string config() const {
    const std::string sink =
        is(FaultKind::kBrokerRestart)
            ? fmt::format(
                  R"({{type: mqtt, url: "mqtt://127.0.0.1:{}", topic: "alerts/${{device_id}}", qos: 1}})",
                  broker_port_)
            : fmt::format(
                  R"({{type: http, url: "http://127.0.0.1:{}/alerts", max_backoff: 500ms}})",
                  receiver_.port());
    return fmt::format(R"(edge: {{id: torture, data_dir: "{}"}}
sources:
  direct:
    type: mqtt_listen
    address: "127.0.0.1:{}"
    topics: ["sensors/+/readings"]
    device: "topic[1]"
    message_id: number
pipelines:
  main:
    from: [direct]
    steps:{}    alerts: [receiver]
    checkpoint_every: 200ms
sinks:
  receiver: {}
uplink: {{type: file, dir: "{}", every: 20ms, max_rows: 300}}
store: {{segment: 1MiB, max_bytes: {}, min_free: 0B, on_full: block}}
)",
                       data_, port_, kSteps, sink, path("outbox"),
                       is(FaultKind::kFullDisk) ? "16MiB" : "512MiB");
  }

  Status start_edge() {
    edge_ = HW_TRY(Process::start({options_.program, "run", path("edge.yaml")}, path("edge.log")));
    ++trial_.restarts;
    return {};
  }
  Status start_broker() {
    broker_ = HW_TRY(
        Process::start({std::string(kBroker), "-c", path("broker.conf")}, path("broker.log")));
    return {};
  }

  Status open_devices() {
    for (std::size_t i = 0; i < kDevices; ++i) {
      auto device = std::make_unique<RealDevice>();
      device->steady = i % 3 == 2;
      device->name = fmt::format("{}-{}", device->steady ? "steady" : "press", i);
      device->topic = fmt::format("sensors/{}/readings", device->name);
      mqtt::ClientOptions options;
      options.host = "127.0.0.1";
      options.port = links_->port();
      options.client_id = device->name;
      options.keep_alive = 1;
      options.clean_start = false;
      options.session_expiry = 3600;
      options.max_in_flight = kWindow;
      options.connect_timeout = std::chrono::seconds(2);
      options.min_backoff = std::chrono::milliseconds(5);
      options.max_backoff = std::chrono::milliseconds(50);
      device->client = HW_TRY(mqtt::Client::open(std::move(options), *loop_));
      devices_.push_back(std::move(device));
    }
    return {};
  }

  // ---- the work ----

  std::string payload_of(const RealDevice& device, std::size_t number) {
    if (device.steady) {
      return R"({"value": 20.5, "unit": "C"})";
    }
    const bool high = number % 40 < 9 && number > 40;
    return fmt::format(R"({{"value": {:.2f}, "number": {}, "note": "{}"}})",
                       (high ? 110.0 : 20.0) + static_cast<double>(below(1000)) / 100.0, number,
                       std::string(below(200), 'x'));
  }

  void send(RealDevice& device) {
    const std::size_t share = (total_ + kDevices - 1) / kDevices;
    while (device.payloads.size() < share && device.payloads.size() - device.answered < kWindow) {
      const std::size_t number = device.payloads.size() + 1;
      std::string payload = payload_of(device, number);
      const Status sent = device.client->publish(
          {.topic = device.topic, .payload = payload, .qos = 1, .token = number});
      if (!sent) {
        return;
      }
      trial_.bytes += payload.size();
      device.payloads.push_back(std::move(payload));
      device.acknowledged.push_back(false);
    }
  }

  // One round of the loop; false after the patience is at its end.
  bool round() {
    bool all = true;
    for (const auto& device : devices_) {
      send(*device);
      device->client->flush();
    }
    loop_->run_once(std::chrono::milliseconds(2));
    for (const auto& device : devices_) {
      outcomes_.clear();
      device->client->poll(outcomes_);
      for (const mqtt::Outcome& outcome : outcomes_) {
        if (outcome.kind != mqtt::OutcomeKind::kAcknowledged) {
          return give_up(fmt::format("a message of {} was refused", device->name));
        }
        ++device->answered;
        device->acknowledged[outcome.token - 1] = true;
        ++acknowledged_;
        last_answer_ = io::mono_now();
      }
      all = all && device->answered * kDevices >= total_;
    }
    finished_ = all;
    if (io::mono_now() - last_answer_ > kPatience) {
      return give_up(fmt::format("{} of {} messages acknowledged, and no more since {}",
                                 acknowledged_, total_, format_duration(kPatience)));
    }
    return true;
  }
  bool rounds_for(Nanos time) {
    const MonoTime until = io::mono_now() + time;
    while (io::mono_now() < until) {
      if (!round()) {
        return false;
      }
    }
    return true;
  }

  bool work() {
    last_answer_ = io::mono_now();
    const std::size_t strikes = is(FaultKind::kHalfOpen) ? 1 : 1 + below(3);
    std::vector<std::uint64_t> moments;
    for (std::size_t i = 0; i < strikes; ++i) {
      moments.push_back(1 + below(total_ * 8 / 10));
    }
    std::sort(moments.begin(), moments.end());
    std::size_t next = 0;
    while (!finished_) {
      if (!round()) {
        return false;
      }
      if (next < moments.size() && acknowledged_ >= moments[next]) {
        ++next;
        trial_.fired = true;
        ++trial_.strikes;
        if (!strike()) {
          return false;
        }
      }
      if (!edge_.running()) {
        return give_up("the edge ended by itself, " + edge_.ended());
      }
    }
    return true;
  }

  bool strike() {
    switch (options_.kind) {
      case FaultKind::kKill:
        edge_.kill();
        return start_edge().ok() || give_up("the edge does not start");
      case FaultKind::kStop: {
        edge_.signal(SIGSTOP);
        const bool good = rounds_for(std::chrono::milliseconds(50 + below(450)));
        edge_.signal(SIGCONT);
        return good;
      }
      case FaultKind::kLinkDrop:
        links_->reset_all();
        return true;
      case FaultKind::kHalfOpen:
        links_->freeze_all();
        return rounds_for(std::chrono::milliseconds(100));
      case FaultKind::kSlowReceiver: {
        receiver_.slow(true);
        bool good = true;
        for (int i = 0; i < 5 && good; ++i) {
          good = rounds_for(std::chrono::milliseconds(40));
          receiver_.answer_late();
        }
        receiver_.slow(false);
        return good;
      }
      case FaultKind::kFullDisk:
        return fill_disk();
      case FaultKind::kBrokerRestart:
        broker_.kill();
        return rounds_for(std::chrono::milliseconds(100)) &&
               (start_broker().ok() || give_up("the broker does not start"));
      default:
        return true;
    }
  }

  bool fill_disk() {
    const std::string ballast = data_ + "/ballast";
    const int fd = ::open(ballast.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const std::string block(64 * 1024, 'b');
    while (fd >= 0 && ::write(fd, block.data(), block.size()) > 0) {
    }
    const bool good = fd >= 0 && rounds_for(std::chrono::milliseconds(300));
    ::close(fd);
    ::unlink(ballast.c_str());
    return good;
  }

  // Everything is acknowledged: the edge decides and delivers the rest, and ends.
  bool finish() {
    for (const auto& device : devices_) {
      device->client->close();
    }
    loop_->run_once(std::chrono::milliseconds(20));
    const Result<int> status = edge_.stop(kStopPatience);
    if (!status || *status != 0) {
      return give_up(status ? fmt::format("the edge ended with {}", *status)
                            : "SIGTERM: " + status.error().text());
    }
    return true;
  }

  // ---- the verdict ----

  Status verify() {
    const std::string spool = data_ + "/spool";
    const std::unique_ptr<SpoolView> view = HW_TRY(SpoolView::open(io::real_files(), spool));
    Ledger ledger;
    std::vector<StoredMessage> rows;
    std::vector<std::uint32_t> steady(devices_.size(), 0);
    const auto reader = view->read(Lane::kReadings, 1, {.stream = std::nullopt, .decisions = true});
    for (ReadItem item = HW_TRY(reader->next()); item != ReadItem::kEnd;
         item = HW_TRY(reader->next())) {
      if (item == ReadItem::kDecisions) {
        ledger.decisions(reader->decisions(), verdict());
      } else if (item == ReadItem::kRow) {
        take_row(reader->row(), ledger, rows, steady);
      }
    }
    Ledger::Facts facts;
    facts.next_sequence = view->next_sequence(Lane::kReadings);
    facts.gaps = view->gaps();
    for (std::uint32_t i = 0; i < devices_.size(); ++i) {
      std::uint32_t count = 0;
      for (std::uint32_t n = 0; n < devices_[i]->acknowledged.size(); ++n) {
        if (devices_[i]->acknowledged[n]) {
          // Equal payloads without an id can only be counted.
          facts.acknowledged.push_back({i, devices_[i]->steady ? ++count : n + 1});
        }
      }
    }
    HW_TRY(take_outbox(*view, ledger));
    facts.decided_from = 1;
    const Decided expected = HW_TRY(blueprint_.decide(rows));
    facts.expected = &expected;
    trial_.compared = true;
    HW_TRY(take_alerts(*view, ledger));
    ledger.judge(facts, verdict());
    const FsckReport report = HW_TRY(fsck_spool(io::real_files(), spool));
    if (!report.sound()) {
      ++verdict().unexplained;
      verdict().find("verifying the store finds damage");
    }
    return {};
  }

  void take_row(const ReadRow& row, Ledger& ledger, std::vector<StoredMessage>& rows,
                std::vector<std::uint32_t>& steady) {
    const auto found = std::find_if(devices_.begin(), devices_.end(), [&](const auto& device) {
      return device->name == row.row.device;
    });
    if (found == devices_.end()) {
      ledger.row(row.sequence, nullptr, false, false, verdict());
      return;
    }
    const RealDevice& device = **found;
    const auto index = static_cast<std::uint32_t>(found - devices_.begin());
    const std::uint32_t number = device.steady ? ++steady[index] : number_in(row.row.payload);
    const MessageName name{index, number};
    const bool same = device.steady ? row.row.payload == device.payloads.front()
                                    : number > 0 && number <= device.payloads.size() &&
                                          device.payloads[number - 1] == row.row.payload;
    ledger.row(row.sequence, &name, same, false, verdict());
    rows.push_back({.name = name,
                    .device = std::string(row.row.device),
                    .topic = std::string(row.row.topic),
                    .sender = std::string(row.row.sender),
                    .payload = std::string(row.row.payload),
                    .time = row.row.time,
                    .received = row.row.received,
                    .identity = row.row.identity});
  }

  // What the uplink has sent on, and that it has sent what its cursor passed.
  Status take_outbox(SpoolView& view, Ledger& ledger) {
    HW_TRY(read_outbox(path("outbox"), lane_name(Lane::kReadings), [&](const BatchRow& row) {
      const auto stored = ledger.rows().find(row.sequence);
      const bool known = stored != ledger.rows().end();
      const MessageName name = known ? stored->second : MessageName{};
      const bool same =
          known && devices_[name.device]->name == row.device &&
          devices_[name.device]->payloads[devices_[name.device]->steady ? 0 : name.number - 1] ==
              row.payload;
      ledger.row(row.sequence, known ? &name : nullptr, same, true, verdict());
    }));
    for (const SpoolView::Cursor& cursor : view.cursors()) {
      if (cursor.consumer != "uplink" || cursor.lane != Lane::kReadings) {
        continue;
      }
      for (std::uint64_t sequence = 1; sequence <= cursor.upto; ++sequence) {
        if (!ledger.delivered(sequence)) {
          ++verdict().lost;
          verdict().find(fmt::format("row {} counts as sent on, and no batch has it", sequence));
        }
      }
    }
    return {};
  }

  // The store's alerts, and that the receiver has those that the sink's cursor passed.
  Status take_alerts(SpoolView& view, Ledger& ledger) {
    std::uint64_t upto = 0;
    for (const SpoolView::Cursor& cursor : view.cursors()) {
      if (cursor.consumer == "sink/receiver") {
        upto = cursor.upto;
      }
    }
    const std::vector<std::string> had = receiver_.alerts();
    const std::set<std::string, std::less<>> received(had.begin(), had.end());
    const auto reader = view.read(Lane::kAlerts, 1);
    for (ReadItem item = HW_TRY(reader->next()); item != ReadItem::kEnd;
         item = HW_TRY(reader->next())) {
      if (item != ReadItem::kRow) {
        continue;
      }
      const ReadRow& row = reader->row();
      ledger.alert(device_of(row.row.device), row.row.payload);
      if (!is(FaultKind::kBrokerRestart) && row.sequence <= upto &&
          !received.contains(row.row.payload)) {
        ++verdict().lost;
        verdict().find(
            fmt::format("alert {} counts as delivered, and the receiver has it not", row.sequence));
      }
    }
    for (const std::string& json : had) {
      constexpr std::string_view kKey = "\"device_id\":\"";
      const std::size_t at = json.find(kKey);
      const std::string_view rest =
          at == std::string::npos ? "" : std::string_view(json).substr(at + kKey.size());
      ledger.alert(device_of(rest.substr(0, rest.find('"'))), json);
    }
    return {};
  }
  std::uint32_t device_of(std::string_view name) const {
    for (std::uint32_t i = 0; i < devices_.size(); ++i) {
      if (devices_[i]->name == name) {
        return i;
      }
    }
    return kDevices;
  }

  const Blueprint& blueprint_;
  const RealOptions options_;
  std::mt19937_64 random_;
  std::size_t total_;
  Trial trial_;
  std::string data_;
  bool mounted_ = false;
  std::uint16_t port_ = 0;
  std::uint16_t broker_port_ = 0;
  Process edge_;
  Process broker_;
  AlertReceiver receiver_;
  std::unique_ptr<io::Loop> loop_;
  std::unique_ptr<Links> links_;
  std::vector<std::unique_ptr<RealDevice>> devices_;  // before the loop goes
  std::vector<mqtt::Outcome> outcomes_;
  std::uint64_t acknowledged_ = 0;
  MonoTime last_answer_;
  bool finished_ = false;
};

}  // namespace

std::string missing_for(FaultKind kind, const std::string& dir) {
  if (kind == FaultKind::kBrokerRestart && access(kBroker.data(), X_OK) != 0) {
    return fmt::format("{} is not installed", kBroker);
  }
  if (kind == FaultKind::kFullDisk) {
    std::error_code error;
    const std::string probe = dir + "/mount-probe";
    std::filesystem::create_directories(probe, error);
    const bool mounted = mount("tmpfs", probe.c_str(), "tmpfs", 0, "size=64k") == 0;
    const int why = errno;
    if (mounted) {
      umount2(probe.c_str(), MNT_DETACH);
    }
    std::filesystem::remove(probe, error);
    return mounted ? ""
                   : Error::from_errno(why, "mounting a small file system needs rights").text();
  }
  return {};
}

Result<Trial> run_real(const Blueprint& blueprint, const RealOptions& options) {
  return RealTrial(blueprint, options).run();
}

}  // namespace headwater::torture
