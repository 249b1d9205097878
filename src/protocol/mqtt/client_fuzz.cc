// A client towards a broker that sends any bytes, hangs up and comes again, while its owner takes
// and acknowledges. Positions ascend, what the client sends are whole packets, and no message of
// QoS 2 is given out a second time before its packet id was released or the broker forgot the
// session.
//
// The input is read byte by byte: an operation, its argument, its bytes.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "io/loop.h"
#include "io/socket.h"
#include "protocol/mqtt/client.h"
#include "protocol/mqtt/codec.h"

namespace {

using namespace headwater;
using namespace headwater::mqtt;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

struct Broker {
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  io::Fd listening = io::listen_tcp(io::parse_host_port("127.0.0.1:0").value()).value();
  std::uint16_t port = io::local_address(listening.get()).value().port();
};

Broker& broker() {
  static Broker made;
  return made;
}

class Play {
 public:
  explicit Play(std::uint8_t how) : version_((how & 1U) != 0 ? Version::k5 : Version::k311) {
    ClientOptions options;
    options.host = "127.0.0.1";
    options.port = broker().port;
    options.version = version_;
    options.client_id = "edge";
    options.clean_start = false;
    options.max_packet_bytes = 4096;
    options.min_backoff = options.max_backoff = Nanos{0};
    client_ = Client::open(options, *broker().loop).value();
    if ((how & 2U) != 0) {
      client_->restore_received_ids({1, 2});
      given_ = {1, 2};
    }
    require(client_->subscribe("t/#", 2).ok());
    accept((how & 4U) != 0);
  }
  ~Play() {
    client_.reset();
    broker().loop->run_once(Nanos{0});
  }

  void run(std::string_view input) {
    while (!input.empty()) {
      const auto operation = static_cast<std::uint8_t>(input.front());
      input.remove_prefix(1);
      const std::string_view bytes = input.substr(0, operation >> 3);
      const std::uint16_t id = bytes.empty() ? 1 : static_cast<std::uint8_t>(bytes[0]) % 4 + 1;
      switch (operation & 7U) {
        case 0:
          input.remove_prefix(bytes.size());
          anything_sent_ = true;  // releases among it
          send(bytes);
          break;
        case 1:
        case 2:
          publish(id, static_cast<std::uint8_t>(operation >> 3 & 3U) % 3);
          break;
        case 3:
          release(id);
          break;
        case 4:
          client_->acknowledge(last_);
          break;
        case 5:
          client_->acknowledge(last_ / 2);
          break;
        case 6:
          fd_.reset();
          accept((operation & 8U) != 0);
          break;
        default:
          (void)client_->publish({.topic = "out", .payload = bytes, .qos = 1, .token = 1});
      }
      round();
    }
  }

 private:
  void accept(bool session_present) {
    in_.clear();
    for (int i = 0; i < 50 && !fd_; ++i) {
      round();
      io::SocketAddress peer;
      auto taken = io::accept_tcp(broker().listening.get(), &peer);
      if (taken && *taken) {
        fd_ = *std::move(taken);
      }
    }
    if (!fd_) {
      return;
    }
    if (!session_present) {
      given_.clear();
    }
    std::string bytes;
    encode(bytes, version_, Connack{.session_present = session_present});
    send(bytes);
    for (int i = 0; i < 3; ++i) {
      round();
    }
  }

  void send(std::string_view bytes) {
    if (fd_) {
      (void)!::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
  }
  void publish(std::uint16_t id, std::uint8_t qos) {
    std::string bytes;
    encode(bytes, version_,
           PublishPacket{.topic = "t/x",
                         .payload = "p",
                         .packet_id = qos > 0 ? id : std::uint16_t{0},
                         .qos = qos});
    send(bytes);
  }
  void release(std::uint16_t id) {
    ++releases_[id];
    std::string bytes;
    encode(bytes, version_, PacketType::kPubrel, Ack{.packet_id = id});
    send(bytes);
  }

  void round() {
    broker().loop->run_once(Nanos{0});
    Arena arena;
    std::vector<ReceivedPublish> out;
    client_->take(2, arena, out);
    for (const ReceivedPublish& one : out) {
      require(one.position > last_);
      last_ = one.position;
      if (one.qos == 2) {
        require(given_.insert(one.packet_id).second || anything_sent_ ||
                releases_[one.packet_id]-- > 0);
      }
    }
    std::vector<std::uint16_t> ids;
    if (std::uint64_t position = 0; client_->take_received_ids(ids, &position)) {
      last_ = std::max(last_, position);
      require(std::is_sorted(ids.begin(), ids.end()));
    }
    std::array<char, 4096> chunk;
    const ssize_t got = fd_ ? recv(fd_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT) : 0;
    in_.append(chunk.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    Frame frame;
    std::size_t used = 0;
    for (;;) {
      const Framing framing = next_frame(std::string_view(in_).substr(used), 1 << 20, &frame);
      require(framing != Framing::kFault);
      if (framing == Framing::kMore) {
        break;
      }
      used += frame.size;
    }
    in_.erase(0, used);
    std::vector<Outcome> outcomes;
    client_->poll(outcomes);
  }

  Version version_;
  std::unique_ptr<Client> client_;
  io::Fd fd_;
  std::string in_;
  std::set<std::uint16_t> given_;          // packet ids of QoS 2
  std::map<std::uint16_t, int> releases_;  // that may have made an id another message's
  bool anything_sent_ = false;
  std::uint64_t last_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  Play play(bytes[0]);
  play.run({reinterpret_cast<const char*>(bytes) + 1, size - 1});
  return 0;
}
