// Any bytes, both versions, as server and as client: no decoder reads outside its bytes, and what
// is accepted encodes to bytes that decode to the same again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "protocol/mqtt/codec.h"

namespace {

using namespace headwater::mqtt;

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

Frame framed(const std::string& bytes) {
  Frame frame;
  require(next_frame(bytes, kMaxRemainingLength + 5, &frame) == Framing::kFrame);
  require(frame.size == bytes.size());
  return frame;
}

void publish(const Frame& frame, Version version) {
  PublishPacket packet;
  if (!decode_publish(frame, version, &packet).ok()) {
    return;
  }
  UserProperty property;
  std::size_t bytes = 0;
  for (std::string_view rest = packet.properties; next_user_property(&rest, &property);) {
    bytes += property.name.size() + property.value.size();
  }
  require(bytes <= packet.properties.size());
  PublishPacket plain = packet;
  plain.topic_alias = 0;  // all of them are in the section already
  plain.has_expiry = false;
  plain.content_type = {};
  std::string again;
  encode(again, version, plain);
  const Frame second = framed(again);
  PublishPacket copy;
  require(decode_publish(second, version, &copy).ok());
  require(copy.topic == packet.topic && copy.payload == packet.payload &&
          copy.packet_id == packet.packet_id && copy.qos == packet.qos &&
          copy.topic_alias == packet.topic_alias && copy.content_type == packet.content_type);
}

void ack(const Frame& frame, Version version) {
  Ack packet;
  if (!decode(frame, version, &packet).ok()) {
    return;
  }
  std::string again;
  encode(again, version, frame.type, packet);
  Ack copy;
  require(decode(framed(again), version, &copy).ok());
  require(copy.packet_id == packet.packet_id && copy.reason == packet.reason &&
          copy.reason_string == packet.reason_string);
}

void connect(const Frame& frame) {
  Connect packet;
  if (!decode(frame, &packet).ok()) {
    return;
  }
  std::string again;
  encode(again, packet);
  Connect copy;
  require(decode(framed(again), &copy).ok());
  require(copy.client_id == packet.client_id && copy.username == packet.username &&
          copy.password == packet.password && copy.will.has_value() == packet.will.has_value() &&
          copy.keep_alive == packet.keep_alive);
  if (packet.will) {
    const Will& was = *packet.will;
    const Will& is = *copy.will;
    require(is.topic == was.topic && is.payload == was.payload && is.qos == was.qos &&
            is.retain == was.retain && is.properties.will_delay == was.properties.will_delay);
  }
}

void subscribe(const Frame& frame, Version version) {
  Subscribe packet;
  if (!decode(frame, version, &packet).ok()) {
    return;
  }
  std::string again;
  encode(again, version, packet);
  Subscribe copy;
  require(decode(framed(again), version, &copy).ok());
  require(copy.packet_id == packet.packet_id &&
          copy.subscriptions.size() == packet.subscriptions.size());
  for (std::size_t i = 0; i < packet.subscriptions.size(); ++i) {
    require(copy.subscriptions[i].filter == packet.subscriptions[i].filter &&
            copy.subscriptions[i].qos == packet.subscriptions[i].qos);
  }
}

template <class Packet, class Encode>
void round_trip(const Frame& frame, Version version, Encode encode_again) {
  Packet packet;
  if (!decode(frame, version, &packet).ok()) {
    return;
  }
  std::string again;
  encode_again(again, packet);
  Packet copy;
  require(decode(framed(again), version, &copy).ok());
}

void packet(const Frame& frame, Version version) {
  switch (frame.type) {
    case PacketType::kConnect:
      return connect(frame);
    case PacketType::kConnack:
      return round_trip<Connack>(
          frame, version, [&](std::string& out, const Connack& p) { encode(out, version, p); });
    case PacketType::kPublish:
      return publish(frame, version);
    case PacketType::kPuback:
    case PacketType::kPubrec:
    case PacketType::kPubrel:
    case PacketType::kPubcomp:
      return ack(frame, version);
    case PacketType::kSubscribe:
      return subscribe(frame, version);
    case PacketType::kUnsubscribe:
      return round_trip<Unsubscribe>(
          frame, version, [&](std::string& out, const Unsubscribe& p) { encode(out, version, p); });
    case PacketType::kSuback:
    case PacketType::kUnsuback:
      return round_trip<Suback>(frame, version, [&](std::string& out, const Suback& p) {
        encode(out, version, frame.type, p);
      });
    case PacketType::kDisconnect:
    case PacketType::kAuth:
      return round_trip<Disconnect>(frame, version, [&](std::string& out, const Disconnect& p) {
        encode(out, version, frame.type, p);
      });
    default:
      return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  // A copy of exactly this size, so that AddressSanitizer sees a read one byte past it.
  const std::string copy(reinterpret_cast<const char*>(bytes), size);
  std::string_view rest = copy;
  Frame frame;
  while (next_frame(rest, 1024 * 1024, &frame) == Framing::kFrame) {
    packet(frame, Version::k311);
    packet(frame, Version::k5);
    rest.remove_prefix(frame.size);
  }
  return 0;
}
