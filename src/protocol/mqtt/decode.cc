#include <array>
#include <cstring>

#include "base/strings.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/packet_reader.h"
#include "protocol/mqtt/topic.h"

namespace headwater::mqtt {
namespace {

Fault finish(const PacketReader& reader) {
  if (!reader.ok()) {
    return reader.fault();
  }
  return reader.empty() ? Fault{} : malformed("bytes follow the last field");
}

Fault decode_will(PacketReader& reader, Version version, std::uint8_t flags, Will* out) {
  out->qos = flags >> 3 & 3;
  out->retain = (flags & 0x20) != 0;
  if (version == Version::k5) {
    const Fault fault = decode_properties(reader, kWillPlace, &out->properties);
    if (!fault.ok()) {
      return fault;
    }
  }
  out->topic = reader.text();
  out->payload = reader.binary();
  if (!reader.ok()) {
    return reader.fault();
  }
  if (!valid_topic_name(out->topic)) {
    return {Reason::kTopicNameInvalid, "the will's topic is not a topic name"};
  }
  if (out->properties.payload_is_utf8.value_or(false) && !valid_text(out->payload)) {
    return {Reason::kPayloadFormatInvalid, "the will's payload is not UTF-8 as announced"};
  }
  return {};
}

Fault check_qos(std::uint8_t qos) {
  return qos == 3 ? malformed("QoS 3") : Fault{};
}

Fault check_packet_id(std::uint16_t id) {
  return id == 0 ? protocol_error("packet id 0") : Fault{};
}

// The reason codes of 3.1.1 CONNACK and SUBACK become those of 5.0.
Reason connack_reason_311(std::uint8_t code) {
  constexpr std::array kReasons = {Reason::kSuccess,          Reason::kUnsupportedVersion,
                                   Reason::kClientIdNotValid, Reason::kServerUnavailable,
                                   Reason::kBadCredentials,   Reason::kNotAuthorized};
  return kReasons[code];
}

// Fast where it can be: sixteen bytes at a time while they are plain ASCII without wildcards.
bool is_plain_topic(std::string_view topic) {
  constexpr std::uint64_t kOnes = 0x0101010101010101ULL;
  constexpr std::uint64_t kHighs = kOnes * 0x80;
  const auto has_zero = [](std::uint64_t word) { return (word - kOnes) & ~word & kHighs; };
  while (topic.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, topic.data(), 8);
    if (((word & kHighs) | has_zero(word) | has_zero(word ^ kOnes * '+') |
         has_zero(word ^ kOnes * '#')) != 0) {
      return false;
    }
    topic.remove_prefix(8);
  }
  for (const char c : topic) {
    if (c <= 0 || c == '+' || c == '#') {
      return false;
    }
  }
  return true;
}

}  // namespace

bool valid_text(std::string_view text) {
  return text.find('\0') == std::string_view::npos && is_utf8(text);
}

std::uint8_t connect_code_311(Reason reason) {
  switch (reason) {
    case Reason::kSuccess:
      return 0;
    case Reason::kUnsupportedVersion:
      return 1;
    case Reason::kClientIdNotValid:
      return 2;
    case Reason::kBadCredentials:
      return 4;
    case Reason::kNotAuthorized:
    case Reason::kBanned:
    case Reason::kBadAuthenticationMethod:
      return 5;
    default:
      return 3;
  }
}

Framing next_frame(std::string_view bytes, std::size_t max_packet, Frame* frame) {
  frame->size = 0;
  frame->fault = {};
  if (bytes.empty()) {
    return Framing::kMore;
  }
  const auto first = static_cast<std::uint8_t>(bytes[0]);
  frame->type = static_cast<PacketType>(first >> 4);
  frame->flags = first & 0x0F;
  const auto type = static_cast<unsigned>(first >> 4);
  constexpr unsigned kFlagsTwo = place_of(PacketType::kPubrel) | place_of(PacketType::kSubscribe) |
                                 place_of(PacketType::kUnsubscribe);
  if (type == 0) {
    frame->fault = malformed("packet type 0");
    return Framing::kFault;
  }
  if (frame->type != PacketType::kPublish &&
      frame->flags != ((kFlagsTwo >> type & 1) != 0 ? 2 : 0)) {
    frame->fault = malformed("reserved flags of the fixed header are set wrongly");
    return Framing::kFault;
  }
  std::size_t length = 0;
  std::size_t at = 1;
  while (true) {
    if (at > 4) {
      frame->fault = malformed("the remaining length has more than four bytes");
      return Framing::kFault;
    }
    if (at >= bytes.size()) {
      return Framing::kMore;
    }
    const auto part = static_cast<std::uint8_t>(bytes[at]);
    length |= static_cast<std::size_t>(part & 0x7F) << (7 * (at - 1));
    ++at;
    if ((part & 0x80) == 0) {
      break;
    }
  }
  frame->size = at + length;
  if (frame->size > max_packet) {
    frame->fault = {Reason::kPacketTooLarge, "the packet is larger than the maximum packet size"};
    return Framing::kFault;
  }
  if (bytes.size() < frame->size) {
    return Framing::kMore;
  }
  frame->body = bytes.substr(at, length);
  return Framing::kFrame;
}

Fault decode_publish(const Frame& frame, Version version, PublishPacket* out, TopicCheck check) {
  const std::string_view body = frame.body;
  const auto byte = [&](std::size_t at) {
    return static_cast<unsigned>(static_cast<unsigned char>(body[at]));
  };
  out->qos = frame.flags >> 1 & 3;
  out->dup = (frame.flags & 8) != 0;
  out->retain = (frame.flags & 1) != 0;
  if (out->qos == 3) {
    return malformed("QoS 3");
  }
  if (out->dup && out->qos == 0) {
    return malformed("DUP with QoS 0");
  }
  if (body.size() < 2) {
    return malformed("the packet ends inside a field");
  }
  const std::size_t topic_size = byte(0) << 8 | byte(1);
  std::size_t at = 2 + topic_size;
  if (body.size() < at + (out->qos > 0 ? 2U : 0U)) {
    return malformed("the packet ends inside a field");
  }
  out->topic = body.substr(2, topic_size);
  out->packet_id = 0;
  if (out->qos > 0) {
    out->packet_id = static_cast<std::uint16_t>(byte(at) << 8 | byte(at + 1));
    at += 2;
    if (out->packet_id == 0) {
      return protocol_error("packet id 0");
    }
  }
  out->properties = {};
  out->content_type = {};
  out->topic_alias = 0;
  out->has_expiry = false;
  bool payload_is_utf8 = false;
  if (version == Version::k5) {
    if (at < body.size() && byte(at) == 0) {
      ++at;  // no properties: the common case
    } else {
      PacketReader reader(body.substr(at));
      Properties properties;
      const Fault fault = decode_properties(reader, place_of(PacketType::kPublish), &properties);
      if (!fault.ok()) {
        return fault;
      }
      at = body.size() - reader.rest().size();
      out->properties = properties.section;
      out->content_type = properties.content_type.value_or(std::string_view());
      out->topic_alias = properties.topic_alias.value_or(0);
      out->has_expiry = properties.message_expiry.has_value();
      out->message_expiry = properties.message_expiry.value_or(0);
      payload_is_utf8 = properties.payload_is_utf8.value_or(false);
    }
  }
  out->payload = body.substr(at);
  if (topic_size == 0) {
    if (out->topic_alias == 0) {
      return version == Version::k5 ? protocol_error("neither a topic nor a topic alias")
                                    : malformed("an empty topic");
    }
  } else if (check == TopicCheck::kFull && !is_plain_topic(out->topic) &&
             !valid_topic_name(out->topic)) {
    return valid_text(out->topic) ? Fault{Reason::kTopicNameInvalid, "the topic has wildcards"}
                                  : malformed("the topic is not valid UTF-8");
  }
  if (payload_is_utf8 && !is_utf8(out->payload)) {
    return {Reason::kPayloadFormatInvalid, "the payload is not UTF-8 as announced"};
  }
  return {};
}

Fault decode(const Frame& frame, Connect* out) {
  *out = Connect{};
  PacketReader reader(frame.body);
  const std::string_view protocol = reader.text();
  const std::uint8_t level = reader.u8();
  if (!reader.ok()) {
    return reader.fault();
  }
  if (protocol != "MQTT" || (level != 4 && level != 5)) {
    return {Reason::kUnsupportedVersion, "not MQTT 3.1.1 or 5.0"};
  }
  out->version = static_cast<Version>(level);
  const std::uint8_t flags = reader.u8();
  out->keep_alive = reader.u16();
  if (!reader.ok()) {
    return reader.fault();
  }
  const bool has_will = (flags & 0x04) != 0;
  const bool has_username = (flags & 0x80) != 0;
  const bool has_password = (flags & 0x40) != 0;
  if ((flags & 0x01) != 0) {
    return malformed("the reserved flag of CONNECT is set");
  }
  if ((flags >> 3 & 3) == 3) {
    return malformed("the will has QoS 3");
  }
  if (!has_will && (flags & 0x38) != 0) {
    return malformed("will flags without a will");
  }
  if (out->version == Version::k311 && has_password && !has_username) {
    return malformed("a password without a user name");
  }
  out->clean_start = (flags & 0x02) != 0;
  if (out->version == Version::k5) {
    const Fault fault = decode_properties(reader, place_of(PacketType::kConnect), &out->properties);
    if (!fault.ok()) {
      return fault;
    }
    if (out->properties.authentication_data && !out->properties.authentication_method) {
      return protocol_error("authentication data without a method");
    }
  }
  out->client_id = reader.text();
  if (has_will) {
    const Fault fault = decode_will(reader, out->version, flags, &out->will.emplace());
    if (!fault.ok()) {
      return fault;
    }
  }
  if (has_username) {
    out->username = reader.text();
  }
  if (has_password) {
    out->password = reader.binary();
  }
  return finish(reader);
}

Fault decode(const Frame& frame, Version version, Connack* out) {
  *out = Connack{};
  PacketReader reader(frame.body);
  const std::uint8_t flags = reader.u8();
  const std::uint8_t code = reader.u8();
  if (!reader.ok()) {
    return reader.fault();
  }
  if (flags > 1) {
    return malformed("reserved flags of CONNACK are set");
  }
  out->session_present = flags == 1;
  if (version == Version::k311) {
    if (code > 5) {
      return malformed("an unknown return code");
    }
    out->reason = connack_reason_311(code);
  } else {
    out->reason = static_cast<Reason>(code);
    const Fault fault = decode_properties(reader, place_of(PacketType::kConnack), &out->properties);
    if (!fault.ok()) {
      return fault;
    }
  }
  if (out->session_present && out->reason != Reason::kSuccess) {
    return protocol_error("a session is present in a refused connection");
  }
  return finish(reader);
}

Fault decode(const Frame& frame, Version version, Ack* out) {
  *out = Ack{};
  PacketReader reader(frame.body);
  out->packet_id = reader.u16();
  if (!reader.ok()) {
    return reader.fault();
  }
  if (const Fault fault = check_packet_id(out->packet_id); !fault.ok()) {
    return fault;
  }
  if (version == Version::k5 && !reader.empty()) {
    out->reason = static_cast<Reason>(reader.u8());
    if (!reader.empty()) {
      Properties properties;
      const Fault fault = decode_properties(reader, place_of(frame.type), &properties);
      if (!fault.ok()) {
        return fault;
      }
      out->reason_string = properties.reason_string.value_or(std::string_view());
    }
  }
  return finish(reader);
}

Fault decode(const Frame& frame, Version version, Subscribe* out) {
  *out = Subscribe{};
  PacketReader reader(frame.body);
  out->packet_id = reader.u16();
  if (version == Version::k5) {
    const Fault fault =
        decode_properties(reader, place_of(PacketType::kSubscribe), &out->properties);
    if (!fault.ok()) {
      return fault;
    }
  }
  while (!reader.empty()) {
    Subscription one;
    one.filter = reader.text();
    const std::uint8_t options = reader.u8();
    if (!reader.ok()) {
      return reader.fault();
    }
    one.qos = options & 3;
    if (const Fault fault = check_qos(one.qos); !fault.ok()) {
      return fault;
    }
    if ((options & (version == Version::k5 ? 0xC0 : 0xFC)) != 0) {
      return malformed("reserved subscription options are set");
    }
    one.no_local = (options & 0x04) != 0;
    one.retain_as_published = (options & 0x08) != 0;
    one.retain_handling = options >> 4 & 3;
    if (one.retain_handling == 3) {
      return protocol_error("retain handling 3");
    }
    if (!valid_topic_filter(one.filter)) {
      return {Reason::kTopicFilterInvalid, "not a topic filter"};
    }
    out->subscriptions.push_back(one);
  }
  if (!reader.ok()) {
    return reader.fault();
  }
  if (out->subscriptions.empty()) {
    return protocol_error("SUBSCRIBE without a topic filter");
  }
  return check_packet_id(out->packet_id);
}

Fault decode(const Frame& frame, Version version, Unsubscribe* out) {
  *out = Unsubscribe{};
  PacketReader reader(frame.body);
  out->packet_id = reader.u16();
  if (version == Version::k5) {
    const Fault fault =
        decode_properties(reader, place_of(PacketType::kUnsubscribe), &out->properties);
    if (!fault.ok()) {
      return fault;
    }
  }
  while (!reader.empty()) {
    const std::string_view filter = reader.text();
    if (!reader.ok()) {
      return reader.fault();
    }
    if (!valid_topic_filter(filter)) {
      return {Reason::kTopicFilterInvalid, "not a topic filter"};
    }
    out->filters.push_back(filter);
  }
  if (!reader.ok()) {
    return reader.fault();
  }
  if (out->filters.empty()) {
    return protocol_error("UNSUBSCRIBE without a topic filter");
  }
  return check_packet_id(out->packet_id);
}

Fault decode(const Frame& frame, Version version, Suback* out) {
  *out = Suback{};
  PacketReader reader(frame.body);
  out->packet_id = reader.u16();
  if (version == Version::k5) {
    Properties properties;
    const Fault fault = decode_properties(reader, place_of(frame.type), &properties);
    if (!fault.ok()) {
      return fault;
    }
    out->reason_string = properties.reason_string.value_or(std::string_view());
  }
  if (!reader.ok()) {
    return reader.fault();
  }
  const bool has_reasons = version == Version::k5 || frame.type == PacketType::kSuback;
  while (has_reasons && !reader.empty()) {
    const std::uint8_t code = reader.u8();
    if (version == Version::k311 && code > 2 && code != 0x80) {
      return malformed("an unknown return code");
    }
    out->reasons.push_back(static_cast<Reason>(code));
  }
  if (has_reasons && out->reasons.empty()) {
    return protocol_error("no reason codes");
  }
  if (const Fault fault = check_packet_id(out->packet_id); !fault.ok()) {
    return fault;
  }
  return finish(reader);
}

Fault decode(const Frame& frame, Version version, Disconnect* out) {
  *out = Disconnect{};
  PacketReader reader(frame.body);
  if (version == Version::k5 && !reader.empty()) {
    out->reason = static_cast<Reason>(reader.u8());
    if (!reader.empty()) {
      const Fault fault = decode_properties(reader, place_of(frame.type), &out->properties);
      if (!fault.ok()) {
        return fault;
      }
    }
  }
  return finish(reader);
}

}  // namespace headwater::mqtt
