#include <algorithm>

#include "base/result.h"
#include "protocol/mqtt/codec.h"

namespace headwater::mqtt {
namespace {

void put_u8(std::string& out, std::uint8_t value) {
  out.push_back(static_cast<char>(value));
}
void put_u16(std::string& out, std::uint16_t value) {
  put_u8(out, static_cast<std::uint8_t>(value >> 8));
  put_u8(out, static_cast<std::uint8_t>(value & 0xFF));
}
void put_u32(std::string& out, std::uint32_t value) {
  put_u16(out, static_cast<std::uint16_t>(value >> 16));
  put_u16(out, static_cast<std::uint16_t>(value & 0xFFFF));
}
void put_varint(std::string& out, std::size_t value) {
  do {
    const auto part = static_cast<std::uint8_t>(value & 0x7F);
    value >>= 7;
    put_u8(out, value > 0 ? part | 0x80 : part);
  } while (value > 0);
}
void put_text(std::string& out, std::string_view text) {
  HW_DCHECK(text.size() <= kMaxText, "callers check the length of texts");
  text = text.substr(0, kMaxText);
  put_u16(out, static_cast<std::uint16_t>(text.size()));
  out.append(text);
}

std::uint8_t first_byte(PacketType type, unsigned flags = 0) {
  return static_cast<std::uint8_t>(static_cast<unsigned>(type) << 4 | flags);
}

void put_frame(std::string& out, std::uint8_t first, std::string_view body) {
  HW_DCHECK(body.size() <= kMaxRemainingLength, "callers check the size of packets");
  put_u8(out, first);
  put_varint(out, body.size());
  out.append(body);
}

void put_property(std::string& out, std::uint8_t id, const std::optional<bool>& value) {
  if (value) {
    put_u8(out, id);
    put_u8(out, *value ? 1 : 0);
  }
}
void put_property(std::string& out, std::uint8_t id, const std::optional<std::uint8_t>& value) {
  if (value) {
    put_u8(out, id);
    put_u8(out, *value);
  }
}
void put_property(std::string& out, std::uint8_t id, const std::optional<std::uint16_t>& value) {
  if (value) {
    put_u8(out, id);
    put_u16(out, *value);
  }
}
void put_property(std::string& out, std::uint8_t id, const std::optional<std::uint32_t>& value) {
  if (value) {
    put_u8(out, id);
    put_u32(out, *value);
  }
}
void put_property(std::string& out, std::uint8_t id, const std::optional<std::string_view>& value) {
  if (value) {
    put_u8(out, id);
    put_text(out, *value);
  }
}

// Property length and properties.
void put_properties(std::string& out, const Properties& properties) {
  std::string body;
  put_property(body, 0x01, properties.payload_is_utf8);
  put_property(body, 0x02, properties.message_expiry);
  put_property(body, 0x03, properties.content_type);
  put_property(body, 0x08, properties.response_topic);
  put_property(body, 0x09, properties.correlation_data);
  if (properties.subscription_id) {
    put_u8(body, 0x0B);
    put_varint(body, *properties.subscription_id);
  }
  put_property(body, 0x11, properties.session_expiry);
  put_property(body, 0x12, properties.assigned_client_id);
  put_property(body, 0x13, properties.server_keep_alive);
  put_property(body, 0x15, properties.authentication_method);
  put_property(body, 0x16, properties.authentication_data);
  put_property(body, 0x17, properties.request_problem_information);
  put_property(body, 0x18, properties.will_delay);
  put_property(body, 0x19, properties.request_response_information);
  put_property(body, 0x1A, properties.response_information);
  put_property(body, 0x1C, properties.server_reference);
  put_property(body, 0x1F, properties.reason_string);
  put_property(body, 0x21, properties.receive_maximum);
  put_property(body, 0x22, properties.topic_alias_maximum);
  put_property(body, 0x23, properties.topic_alias);
  put_property(body, 0x24, properties.maximum_qos);
  put_property(body, 0x25, properties.retain_available);
  for (const UserProperty& one : properties.user) {
    put_u8(body, 0x26);
    put_text(body, one.name);
    put_text(body, one.value);
  }
  put_property(body, 0x27, properties.maximum_packet_size);
  put_property(body, 0x28, properties.wildcard_subscription_available);
  put_property(body, 0x29, properties.subscription_id_available);
  put_property(body, 0x2A, properties.shared_subscription_available);
  put_varint(out, body.size());
  out.append(body);
}

void put_reason_string(std::string& out, std::string_view reason_string) {
  Properties properties;
  if (!reason_string.empty()) {
    properties.reason_string = reason_string;
  }
  put_properties(out, properties);
}

std::uint8_t suback_code_311(Reason reason) {
  return is_failure(reason) ? 0x80 : static_cast<std::uint8_t>(reason);
}

std::size_t varint_size(std::size_t value) {
  return value < 128 ? 1 : value < 16'384 ? 2 : value < 2'097'152 ? 3 : 4;
}

}  // namespace

void encode(std::string& out, const Connect& packet) {
  std::string body;
  put_text(body, "MQTT");
  put_u8(body, static_cast<std::uint8_t>(packet.version));
  unsigned flags = packet.clean_start ? 0x02 : 0;
  if (packet.will) {
    flags |=
        0x04U | static_cast<unsigned>(packet.will->qos) << 3 | (packet.will->retain ? 0x20U : 0U);
  }
  flags |= (packet.password ? 0x40U : 0U) | (packet.username ? 0x80U : 0U);
  put_u8(body, static_cast<std::uint8_t>(flags));
  put_u16(body, packet.keep_alive);
  if (packet.version == Version::k5) {
    put_properties(body, packet.properties);
  }
  put_text(body, packet.client_id);
  if (packet.will) {
    if (packet.version == Version::k5) {
      put_properties(body, packet.will->properties);
    }
    put_text(body, packet.will->topic);
    put_text(body, packet.will->payload);
  }
  if (packet.username) {
    put_text(body, *packet.username);
  }
  if (packet.password) {
    put_text(body, *packet.password);
  }
  put_frame(out, first_byte(PacketType::kConnect), body);
}

void encode(std::string& out, Version version, const Connack& packet) {
  std::string body;
  put_u8(body, packet.session_present ? 1 : 0);
  if (version == Version::k311) {
    put_u8(body, connect_code_311(packet.reason));
  } else {
    put_u8(body, static_cast<std::uint8_t>(packet.reason));
    put_properties(body, packet.properties);
  }
  put_frame(out, first_byte(PacketType::kConnack), body);
}

void encode(std::string& out, Version version, const PublishPacket& packet) {
  const unsigned flags =
      (packet.dup ? 8U : 0U) | static_cast<unsigned>(packet.qos) << 1 | (packet.retain ? 1U : 0U);
  std::size_t properties = 0;
  std::size_t size = 2 + packet.topic.size() + (packet.qos > 0 ? 2U : 0U) + packet.payload.size();
  if (version == Version::k5) {
    properties = packet.properties.size() + (packet.topic_alias != 0 ? 3U : 0U) +
                 (packet.has_expiry ? 5U : 0U) +
                 (packet.content_type.empty() ? 0 : 3 + packet.content_type.size());
    size += varint_size(properties) + properties;
  }
  HW_DCHECK(size <= kMaxRemainingLength, "callers check the size of packets");
  put_u8(out, first_byte(PacketType::kPublish, flags));
  put_varint(out, size);
  put_text(out, packet.topic);
  if (packet.qos > 0) {
    put_u16(out, packet.packet_id);
  }
  if (version == Version::k5) {
    put_varint(out, properties);
    if (packet.topic_alias != 0) {
      put_property(out, 0x23, std::optional(packet.topic_alias));
    }
    if (packet.has_expiry) {
      put_property(out, 0x02, std::optional(packet.message_expiry));
    }
    if (!packet.content_type.empty()) {
      put_property(out, 0x03, std::optional(packet.content_type));
    }
    out.append(packet.properties);
  }
  out.append(packet.payload);
}

void encode(std::string& out, Version version, PacketType type, const Ack& packet) {
  const std::uint8_t first = first_byte(type, type == PacketType::kPubrel ? 2 : 0);
  if (version == Version::k311 ||
      (packet.reason == Reason::kSuccess && packet.reason_string.empty())) {
    put_u8(out, first);
    put_u8(out, 2);
    put_u16(out, packet.packet_id);
    return;
  }
  std::string body;
  put_u16(body, packet.packet_id);
  put_u8(body, static_cast<std::uint8_t>(packet.reason));
  if (!packet.reason_string.empty()) {
    put_reason_string(body, packet.reason_string);
  }
  put_frame(out, first, body);
}

void encode(std::string& out, Version version, const Subscribe& packet) {
  std::string body;
  put_u16(body, packet.packet_id);
  if (version == Version::k5) {
    put_properties(body, packet.properties);
  }
  for (const Subscription& one : packet.subscriptions) {
    put_text(body, one.filter);
    unsigned options = one.qos;
    if (version == Version::k5) {
      options |= (one.no_local ? 4U : 0U) | (one.retain_as_published ? 8U : 0U) |
                 static_cast<unsigned>(one.retain_handling) << 4;
    }
    put_u8(body, static_cast<std::uint8_t>(options));
  }
  put_frame(out, first_byte(PacketType::kSubscribe, 2), body);
}

void encode(std::string& out, Version version, const Unsubscribe& packet) {
  std::string body;
  put_u16(body, packet.packet_id);
  if (version == Version::k5) {
    put_properties(body, packet.properties);
  }
  for (const std::string_view filter : packet.filters) {
    put_text(body, filter);
  }
  put_frame(out, first_byte(PacketType::kUnsubscribe, 2), body);
}

void encode(std::string& out, Version version, PacketType type, const Suback& packet) {
  std::string body;
  put_u16(body, packet.packet_id);
  if (version == Version::k5) {
    put_reason_string(body, packet.reason_string);
  }
  if (version == Version::k5 || type == PacketType::kSuback) {
    for (const Reason reason : packet.reasons) {
      put_u8(body,
             version == Version::k5 ? static_cast<std::uint8_t>(reason) : suback_code_311(reason));
    }
  }
  put_frame(out, first_byte(type), body);
}

void encode(std::string& out, Version version, PacketType type, const Disconnect& packet) {
  std::string body;
  if (version == Version::k5) {
    std::string properties;
    put_properties(properties, packet.properties);
    const bool has_properties = properties.size() > 1;
    if (packet.reason != Reason::kSuccess || has_properties) {
      put_u8(body, static_cast<std::uint8_t>(packet.reason));
      if (has_properties) {
        body.append(properties);
      }
    }
  }
  put_frame(out, first_byte(type), body);
}

void encode_pingreq(std::string& out) {
  out.append("\xC0\x00", 2);
}
void encode_pingresp(std::string& out) {
  out.append("\xD0\x00", 2);
}

}  // namespace headwater::mqtt
