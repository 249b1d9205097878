// A script of what devices do to a listener, and when the owner acknowledges or declines: two
// clients send any bytes, subscribe, vanish and return, commands come for them. Positions ascend,
// every departure was announced by a will, each client is sent whole packets and no command but its
// own, and all that was given out can be acknowledged.
//
// The input is read byte by byte: an operation, its argument, its bytes.
#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "io/loop.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/connection_table.h"

namespace {

using namespace headwater;
using namespace headwater::mqtt;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  std::uint8_t byte() {
    const std::uint8_t made = empty() ? 0 : static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(empty() ? 0 : 1);
    return made;
  }
  std::string_view bytes(std::size_t count) {
    const std::string_view made = rest_.substr(0, count);
    rest_.remove_prefix(made.size());
    return made;
  }

 private:
  std::string_view rest_;
};

struct Device {
  std::string id;
  Version version = Version::k311;
  io::Fd fd;
  std::string in;
};

class Play {
 public:
  explicit Play(std::uint8_t how) : how_(how) {
    ListenerOptions options;
    options.topics = {"s/+", "will"};
    options.write_own = (how & 1U) != 0 ? std::vector<std::string>{"s/%c"} : options.write_own;
    options.receive_maximum = 3;
    options.max_packet_bytes = 4096;
    options.wills = true;
    WriteRules rules = WriteRules::create(options.topics, options.write_own).value();
    table_ = std::make_unique<ConnectionTable>(options, std::move(rules),
                                               TopicPattern::parse("c/%c/#").value(), loop());
    devices_[0].id = "a";
    devices_[1].id = "b";
  }

  void run(Input& input) {
    while (!input.empty()) {
      const std::uint8_t operation = input.byte();
      Device& device = devices_[operation & 1U];
      switch (operation >> 1 & 7U) {
        case 0:
        case 1:
          send(device, input.bytes(input.byte()));
          break;
        case 2:
          connect(device, input.byte());
          break;
        case 3:
          device.fd.reset();
          break;
        case 4:
          command(input.byte(), input.bytes(8));
          break;
        case 5:
          subscribe(device, input.byte());
          break;
        case 6:
          acknowledge(input.byte());
          break;
        default:
          room_ = input.byte() % 4;
      }
      round();
    }
    room_ = 1000;
    for (int i = 0; i < 4; ++i) {
      round();
    }
    acknowledge(255);
    round();
    require(table_->stats().in_flight == 0);
    table_->close_all();
    require(departures_ <= wills_);
  }

 private:
  static io::Loop& loop() {
    static const std::unique_ptr<io::Loop> made = io::Loop::create().value();
    return *made;
  }

  void connect(Device& device, std::uint8_t how) {
    std::array<int, 2> ends{};
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    device.fd = io::Fd(ends[1]);
    device.in.clear();
    device.version = (how & 1U) != 0 ? Version::k5 : Version::k311;
    Admission admission;
    admission.stream = io::Stream(io::Fd(ends[0]));
    admission.version = device.version;
    admission.client_id = device.id;
    admission.clean_start = (how & 2U) != 0;
    admission.session_expiry = (how & 4U) != 0 ? 3600 : 0;
    admission.receive_maximum = 2;
    admission.max_packet = (how & 16U) != 0 ? 64 : 0xFFFFFFFF;
    if ((how & 8U) != 0) {
      admission.will = KeptWill{"will", "gone", (how & 32U) != 0 ? 1U : 0U};
      ++wills_;
    }
    table_->admit(std::move(admission));
  }

  static void send(Device& device, std::string_view bytes) {
    if (device.fd) {
      (void)!::send(device.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
  }

  static void subscribe(Device& device, std::uint8_t how) {
    constexpr std::array<std::string_view, 4> kFilters = {"c/a/#", "c/b/x", "c/+/x", "#"};
    Subscribe packet;
    packet.packet_id = 1;
    packet.subscriptions.push_back(
        {kFilters[how & 3U], static_cast<std::uint8_t>(how >> 2 & 1U), false, false, 0});
    std::string bytes;
    encode(bytes, device.version, packet);
    if ((how & 8U) != 0) {
      bytes.clear();
      encode(bytes, device.version, Unsubscribe{.packet_id = 2, .filters = {kFilters[how & 3U]}});
    }
    send(device, bytes);
  }

  void command(std::uint8_t how, std::string_view payload) {
    auto made = std::make_shared<Command>();
    made->topic = (how & 1U) != 0 ? "c/a/x" : "c/b/x";
    made->payload = payload;
    made->qos = how >> 1 & 1U;
    made->until = io::mono_now() + ((how & 4U) != 0 ? Nanos{0} : Nanos{std::chrono::hours(1)});
    table_->send(std::move(made));
  }

  void acknowledge(std::uint8_t upto) {
    for (const auto& [client, last] : given_) {
      if (upto % 3 == 1) {
        table_->decline(client, upto / 2, upto);
      }
      table_->acknowledge(client, upto == 255 ? last : std::min<std::uint64_t>(last, upto));
    }
    table_->flush();
  }

  void round() {
    loop().run_once(Nanos{0});
    Arena arena;
    std::vector<Publish> out;
    table_->take(room_, arena, out);
    require(out.size() <= room_);
    for (const Publish& publish : out) {
      std::uint64_t& last = given_[publish.client];
      require(publish.position > last);
      last = publish.position;
      departures_ += publish.offline ? 1 : 0;
      require(!publish.offline || publish.topic == "will");
      require(publish.offline || (how_ & 1U) == 0 || publish.topic != "will");
      require(publish.client_id == "a" || publish.client_id == "b");
    }
    std::vector<SessionChange> changes;
    table_->take_changes(changes);
    for (const SessionChange& change : changes) {
      Session stored;
      require(change.removed || decode_session(change.blob, &stored).ok());
      std::uint64_t& last = given_[change.client];
      last = std::max(last, change.position);
    }
    for (Device& device : devices_) {
      read(device);
    }
  }

  static void read(Device& device) {
    std::array<char, 4096> chunk;
    while (device.fd) {
      const ssize_t got = recv(device.fd.get(), chunk.data(), chunk.size(), 0);
      if (got <= 0) {
        break;
      }
      device.in.append(chunk.data(), static_cast<std::size_t>(got));
    }
    Frame frame;
    std::size_t used = 0;
    for (;;) {
      const Framing framing = next_frame(std::string_view(device.in).substr(used), 1 << 20, &frame);
      require(framing != Framing::kFault);
      if (framing == Framing::kMore) {
        break;
      }
      if (frame.type == PacketType::kPublish) {
        PublishPacket packet;
        require(decode_publish(frame, device.version, &packet).ok());
        require(packet.topic == "c/" + device.id + "/x");
        if (packet.qos > 0 && packet.payload.size() % 2 == 0) {
          std::string bytes;
          encode(bytes, device.version, PacketType::kPuback, Ack{.packet_id = packet.packet_id});
          send(device, bytes);
        }
      }
      used += frame.size;
    }
    device.in.erase(0, used);
  }

  std::uint8_t how_;
  std::unique_ptr<ConnectionTable> table_;
  std::array<Device, 2> devices_;
  std::map<std::uint32_t, std::uint64_t> given_;  // handle → last position
  std::size_t room_ = 4;
  std::size_t wills_ = 0;
  std::size_t departures_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  Input input({reinterpret_cast<const char*>(bytes), size});
  Play play(input.byte());
  play.run(input);
  return 0;
}
