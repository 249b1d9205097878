// The properties of MQTT 5 packets [2.2.2].
#include <array>
#include <optional>

#include "protocol/mqtt/packet_reader.h"

namespace headwater::mqtt {
namespace {

constexpr std::uint32_t kInWill = kWillPlace;
constexpr std::uint32_t kInConnect = place_of(PacketType::kConnect);
constexpr std::uint32_t kInConnack = place_of(PacketType::kConnack);
constexpr std::uint32_t kInPublish = place_of(PacketType::kPublish);
constexpr std::uint32_t kInAcks = place_of(PacketType::kPuback) | place_of(PacketType::kPubrec) |
                                  place_of(PacketType::kPubrel) | place_of(PacketType::kPubcomp);
constexpr std::uint32_t kInSubacks =
    place_of(PacketType::kSuback) | place_of(PacketType::kUnsuback);
constexpr std::uint32_t kInSubscribe = place_of(PacketType::kSubscribe);
constexpr std::uint32_t kInDisconnect = place_of(PacketType::kDisconnect);
constexpr std::uint32_t kInAuth = place_of(PacketType::kAuth);
constexpr std::uint32_t kInMessage = kInPublish | kInWill;
constexpr std::uint32_t kAnywhere = 0xFFFF;

constexpr std::size_t kPropertyIds = 0x2B;
constexpr std::array<std::uint32_t, kPropertyIds> property_places() {  // [2.2.2.2], table 2-4
  std::array<std::uint32_t, kPropertyIds> places{};
  places[0x01] = places[0x02] = places[0x03] = places[0x08] = places[0x09] = kInMessage;
  places[0x0B] = kInPublish | kInSubscribe;
  places[0x11] = kInConnect | kInConnack | kInDisconnect;
  places[0x12] = places[0x13] = kInConnack;
  places[0x15] = places[0x16] = kInConnect | kInConnack | kInAuth;
  places[0x17] = places[0x19] = kInConnect;
  places[0x18] = kInWill;
  places[0x1A] = kInConnack;
  places[0x1C] = kInConnack | kInDisconnect;
  places[0x1F] = kInConnack | kInAcks | kInSubacks | kInDisconnect | kInAuth;
  places[0x21] = places[0x22] = kInConnect | kInConnack;
  places[0x23] = kInPublish;
  places[0x24] = places[0x25] = kInConnack;
  places[0x26] = kAnywhere;
  places[0x27] = kInConnect | kInConnack;
  places[0x28] = places[0x29] = places[0x2A] = kInConnack;
  return places;
}
constexpr auto kPlaces = property_places();

constexpr Fault kTwice = protocol_error("a property is given twice");

template <class T>
Fault set_once(std::optional<T>& field, T value) {
  if (field.has_value()) {
    return kTwice;
  }
  field = value;
  return {};
}

Fault set_flag(std::optional<bool>& field, std::uint8_t value) {
  if (value > 1) {
    return protocol_error("a property that is 0 or 1 has another value");
  }
  return set_once(field, value == 1);
}

template <class T>
Fault set_not_zero(std::optional<T>& field, T value) {
  if (value == 0) {
    return protocol_error("a property that must not be 0 is 0");
  }
  return set_once(field, value);
}

Fault decode_property(std::uint32_t id, std::uint32_t place, PacketReader& reader,
                      Properties* out) {
  switch (id) {
    case 0x01:
      return set_flag(out->payload_is_utf8, reader.u8());
    case 0x02:
      return set_once(out->message_expiry, reader.u32());
    case 0x03:
      return set_once(out->content_type, reader.text());
    case 0x08: {
      const std::string_view topic = reader.text();
      if (topic.find_first_of("+#") != std::string_view::npos) {
        return {Reason::kTopicNameInvalid, "a response topic has wildcards"};
      }
      return set_once(out->response_topic, topic);
    }
    case 0x09:
      return set_once(out->correlation_data, reader.binary());
    case 0x0B: {
      const std::uint32_t value = reader.varint();
      if (place == kInPublish && value != 0) {
        out->subscription_id = value;  // one for each subscription that matched
        return {};
      }
      return set_not_zero(out->subscription_id, value);
    }
    case 0x11:
      return set_once(out->session_expiry, reader.u32());
    case 0x12:
      return set_once(out->assigned_client_id, reader.text());
    case 0x13:
      return set_once(out->server_keep_alive, reader.u16());
    case 0x15:
      return set_once(out->authentication_method, reader.text());
    case 0x16:
      return set_once(out->authentication_data, reader.binary());
    case 0x17:
      return set_flag(out->request_problem_information, reader.u8());
    case 0x18:
      return set_once(out->will_delay, reader.u32());
    case 0x19:
      return set_flag(out->request_response_information, reader.u8());
    case 0x1A:
      return set_once(out->response_information, reader.text());
    case 0x1C:
      return set_once(out->server_reference, reader.text());
    case 0x1F:
      return set_once(out->reason_string, reader.text());
    case 0x21:
      return set_not_zero(out->receive_maximum, reader.u16());
    case 0x22:
      return set_once(out->topic_alias_maximum, reader.u16());
    case 0x23: {
      const std::uint16_t alias = reader.u16();
      if (alias == 0) {
        return {Reason::kTopicAliasInvalid, "topic alias 0"};
      }
      return set_once(out->topic_alias, alias);
    }
    case 0x24: {
      const std::uint8_t qos = reader.u8();
      if (qos > 1) {
        return protocol_error("maximum QoS is neither 0 nor 1");
      }
      return set_once(out->maximum_qos, qos);
    }
    case 0x25:
      return set_flag(out->retain_available, reader.u8());
    case 0x26:
      reader.text();
      reader.text();
      return {};
    case 0x27:
      return set_not_zero(out->maximum_packet_size, reader.u32());
    case 0x28:
      return set_flag(out->wildcard_subscription_available, reader.u8());
    case 0x29:
      return set_flag(out->subscription_id_available, reader.u8());
    default:
      return set_flag(out->shared_subscription_available, reader.u8());
  }
}

}  // namespace

Fault decode_properties(PacketReader& reader, std::uint32_t place, Properties* out) {
  out->section = reader.bytes(reader.varint());
  if (!reader.ok()) {
    return reader.fault();
  }
  PacketReader inner(out->section);
  while (!inner.empty()) {
    const std::uint32_t id = inner.varint();
    if (id >= kPropertyIds || kPlaces[id] == 0) {
      return malformed("a property is unknown");
    }
    if ((kPlaces[id] & place) == 0) {
      return protocol_error("a property does not belong in this packet");
    }
    const Fault fault = decode_property(id, place, inner, out);
    if (!inner.ok()) {
      return inner.fault();  // the bytes ran out: that comes before what a zero value seemed to be
    }
    if (!fault.ok()) {
      return fault;
    }
  }
  return inner.fault();
}

bool next_user_property(std::string_view* rest, UserProperty* out) {
  PacketReader reader(*rest);
  Properties scratch;
  while (!reader.empty()) {
    const std::uint32_t id = reader.varint();
    if (id == 0x26) {
      out->name = reader.text();
      out->value = reader.text();
      *rest = reader.rest();
      return reader.ok();
    }
    (void)decode_property(id, kInPublish, reader, &scratch).ok();
  }
  *rest = {};
  return false;
}

}  // namespace headwater::mqtt
