#include "protocol/mqtt/client.h"

#include <utility>

#include "io/socket.h"
#include "protocol/mqtt/client_core.h"
#include "protocol/mqtt/topic.h"

namespace headwater::mqtt {
namespace {

constexpr std::size_t kMostInFlight = 65'000;  // packet ids, with some left for SUBSCRIBE

}  // namespace

Status apply_url(std::string_view url, ClientOptions* options) {
  ClientOptions made = *options;
  std::string_view rest = url;
  const std::size_t scheme_end = rest.find("://");
  made.tls.enabled = false;
  if (scheme_end != std::string_view::npos) {
    const std::string_view scheme = rest.substr(0, scheme_end);
    if (scheme == "mqtts" || scheme == "ssl" || scheme == "tls") {
      made.tls.enabled = true;
    } else if (scheme != "mqtt" && scheme != "tcp") {
      return Error::invalid("'{}': write mqtt://HOST:PORT or mqtts://HOST:PORT", url);
    }
    rest.remove_prefix(scheme_end + 3);
  }
  if (rest.ends_with('/')) {
    rest.remove_suffix(1);
  }
  const std::size_t at = rest.rfind('@');
  if (at != std::string_view::npos) {
    const std::string_view who = rest.substr(0, at);
    const std::size_t colon = who.find(':');
    made.username = std::string(who.substr(0, colon));
    if (colon != std::string_view::npos) {
      made.password = std::string(who.substr(colon + 1));
    }
    rest.remove_prefix(at + 1);
  }
  if (rest.find('/') != std::string_view::npos) {
    return Error::invalid("'{}': nothing may follow the port", url);
  }
  const bool has_port = rest.rfind(':') != std::string_view::npos && !rest.ends_with(']');
  const std::string with_port =
      has_port ? std::string(rest) : fmt::format("{}:{}", rest, made.tls.enabled ? 8883 : 1883);
  const io::HostPort found = HW_TRY(io::parse_host_port(with_port));
  if (found.host.empty() || found.port == 0) {
    return Error::invalid("'{}': write mqtt://HOST:PORT or mqtts://HOST:PORT", url);
  }
  made.host = found.host;
  made.port = found.port;
  *options = std::move(made);
  return {};
}

Result<std::unique_ptr<Client>> Client::open(ClientOptions options, io::Loop& loop) {
  if (options.client_id.empty() && !options.clean_start) {
    return Error::invalid("a session that outlives the connection needs a client id");
  }
  if (options.version == Version::k311 && options.password && !options.username) {
    return Error::invalid("MQTT 3.1.1 has no password without a user name");
  }
  if (options.max_in_flight == 0 || options.max_in_flight > kMostInFlight) {
    return Error::invalid("max_in_flight {} is outside 1 to {}", options.max_in_flight,
                          kMostInFlight);
  }
  if (options.receive_maximum == 0) {
    return Error::invalid("receive_maximum must be 1 or more");
  }
  std::shared_ptr<io::TlsContext> tls;
  if (options.tls.enabled) {
    tls = HW_TRY(io::TlsContext::client(
        {options.tls.ca, options.tls.certificate, options.tls.key, options.tls.verify}));
  }
  auto core = std::make_unique<Core>(std::move(options), loop, std::move(tls));
  core->begin();
  return std::unique_ptr<Client>(new Client(std::move(core)));
}

Client::Client(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Client::~Client() = default;

ClientState Client::state() const {
  return core_->state();
}
const std::string& Client::last_error() const {
  return core_->last_error();
}
bool Client::session_present() const {
  return core_->session_present();
}
ClientStats Client::stats() const {
  return core_->stats();
}
Status Client::publish(const OutgoingPublish& message) {
  return core_->publish(message);
}
void Client::flush() {
  core_->flush();
}
void Client::poll(std::vector<Outcome>& out) {
  core_->poll(out);
}
Status Client::subscribe(std::string_view filter, std::uint8_t qos) {
  return core_->subscribe(filter, qos);
}
bool Client::subscription_refused() const {
  return core_->subscription_refused();
}
bool Client::take(std::size_t room, Arena& arena, std::vector<ReceivedPublish>& out) {
  return core_->take(room, arena, out);
}
void Client::acknowledge(std::uint64_t upto) {
  core_->acknowledge(upto);
}
bool Client::take_received_ids(std::vector<std::uint16_t>& ids, std::uint64_t* position) {
  return core_->take_received_ids(ids, position);
}
void Client::restore_received_ids(const std::vector<std::uint16_t>& ids) {
  core_->restore_received_ids(ids);
}
void Client::on_change(std::function<void()> call) {
  core_->on_change(std::move(call));
}
void Client::close() {
  core_->close();
}

}  // namespace headwater::mqtt
