// MQTT 3.1.1 and 5.0 on the wire: frames, and packets to and from bytes. Sans I/O: it never reads,
// writes, allocates for PUBLISH, or keeps state; the caller hands it the bytes it has.
//
//   Frame frame;
//   switch (next_frame(bytes, max_packet, &frame)) {
//     case Framing::kMore: read more; break;           // frame.size, when not 0: bytes needed in
//     all case Framing::kFault: close with frame.fault.reason; break; case Framing::kFrame:
//       if (frame.type == PacketType::kPublish) {
//         PublishPacket publish;
//         Fault fault = decode_publish(frame, Version::k5, &publish);   // views into `bytes`
//       }
//       bytes.remove_prefix(frame.size);
//   }
//
// Decoders are strict: reserved bits, lengths, UTF-8 (no U+0000, no surrogates), packet id 0,
// wildcards in topic names, properties that do not belong, properties given twice. A Fault has the
// reason code that MQTT 5 prescribes for it; after a fault the packet's fields are unspecified.
// Encoders append to `out` and take what they are given; texts longer than 65,535 bytes are cut
// there by contract of the caller (checked in debug builds).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/mqtt/packets.h"

namespace headwater::mqtt {

inline constexpr std::size_t kMaxRemainingLength = 268'435'455;  // [2.1.4]
inline constexpr std::size_t kMaxText = 65'535;

struct Frame {
  PacketType type = PacketType::kConnect;
  std::uint8_t flags = 0;  // low four bits of the first byte
  std::string_view body;   // what follows the fixed header
  std::size_t size = 0;    // header and body
  Fault fault;
};

enum class Framing : std::uint8_t { kFrame, kMore, kFault };

// The first frame of `bytes`. Faults: type 0, flags that the type does not allow, a remaining
// length of more than four bytes, a packet larger than `max_packet` bytes (kPacketTooLarge).
Framing next_frame(std::string_view bytes, std::size_t max_packet, Frame* frame);

// kSkip is for a caller that compares the topic with one it has already checked.
enum class TopicCheck : std::uint8_t { kFull, kSkip };
Fault decode_publish(const Frame& frame, Version version, PublishPacket* out,
                     TopicCheck check = TopicCheck::kFull);

// CONNECT names its own version. Fault kUnsupportedVersion for a protocol other than MQTT 4 and 5.
Fault decode(const Frame& frame, Connect* out);
Fault decode(const Frame& frame, Version version, Connack* out);
Fault decode(const Frame& frame, Version version, Ack* out);
Fault decode(const Frame& frame, Version version, Subscribe* out);
Fault decode(const Frame& frame, Version version, Unsubscribe* out);
Fault decode(const Frame& frame, Version version, Suback* out);
Fault decode(const Frame& frame, Version version, Disconnect* out);

void encode(std::string& out, const Connect& packet);
void encode(std::string& out, Version version, const Connack& packet);
// `packet.properties` is written as it is; topic_alias, message_expiry (with has_expiry) and
// content_type are added to it.
void encode(std::string& out, Version version, const PublishPacket& packet);
void encode(std::string& out, Version version, PacketType type, const Ack& packet);
void encode(std::string& out, Version version, const Subscribe& packet);
void encode(std::string& out, Version version, const Unsubscribe& packet);
void encode(std::string& out, Version version, PacketType type, const Suback& packet);
// 3.1.1: DISCONNECT only, without a reason.
void encode(std::string& out, Version version, PacketType type, const Disconnect& packet);
void encode_pingreq(std::string& out);
void encode_pingresp(std::string& out);

// Walks the user properties of an encoded and checked property section:
//   UserProperty property;
//   for (auto rest = publish.properties; next_user_property(&rest, &property);) …
bool next_user_property(std::string_view* rest, UserProperty* out);

// Return code of a 3.1.1 CONNACK for a reason: 1 version, 2 client id, 3 unavailable, 4 bad
// credentials, 5 not authorized [3.1.1 3.2.2.3].
std::uint8_t connect_code_311(Reason reason);

// UTF-8 as MQTT wants it [1.5.4]: well formed, no U+0000.
bool valid_text(std::string_view text);

}  // namespace headwater::mqtt
