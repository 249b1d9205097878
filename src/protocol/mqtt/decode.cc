#include <array>
#include <cstring>

#include "base/strings.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/topic.h"

namespace headwater::mqtt {
namespace {

constexpr Fault malformed(std::string_view why) {
  return {Reason::kMalformedPacket, why};
}
constexpr Fault protocol_error(std::string_view why) {
  return {Reason::kProtocolError, why};
}

// Walks a packet; goes bad (sticky) instead of reading past the end or over invalid text.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return why_.empty(); }
  Fault fault() const { return ok() ? Fault{} : malformed(why_); }
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  std::uint8_t u8() {
    if (!has(1)) {
      return 0;
    }
    const auto value = static_cast<std::uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return value;
  }
  std::uint16_t u16() {
    if (!has(2)) {
      return 0;
    }
    const auto value = static_cast<std::uint16_t>(byte(0) << 8 | byte(1));
    rest_.remove_prefix(2);
    return value;
  }
  std::uint32_t u32() {
    const std::uint32_t high = u16();
    return high << 16 | u16();
  }
  std::uint32_t varint() {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const std::uint8_t part = u8();
      if (!ok()) {
        return 0;
      }
      value |= static_cast<std::uint32_t>(part & 0x7F) << (7 * i);
      if ((part & 0x80) == 0) {
        // The shortest form is required [1.5.5].
        if (i > 0 && part == 0) {
          fail("a variable byte integer is longer than needed");
        }
        return value;
      }
    }
    fail("a variable byte integer has more than four bytes");
    return 0;
  }
  std::string_view bytes(std::size_t size) {
    if (!has(size)) {
      return {};
    }
    const std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return value;
  }
  std::string_view binary() { return bytes(u16()); }
  std::string_view text() {
    const std::string_view value = binary();
    if (!valid_text(value)) {
      fail("a text is not valid UTF-8");
      return {};
    }
    return value;
  }
  void fail(std::string_view why) {
    if (ok()) {
      why_ = why;
    }
    rest_ = {};
  }

 private:
  unsigned byte(std::size_t at) const { return static_cast<unsigned char>(rest_[at]); }
  bool has(std::size_t size) {
    if (rest_.size() < size || !ok()) {
      fail("the packet ends inside a field");
      return false;
    }
    return true;
  }

  std::string_view rest_;
  std::string_view why_;
};

// Where a property may stand, as bits by packet type; the will has bit 0.
constexpr std::uint32_t in(PacketType type) {
  return 1U << static_cast<unsigned>(type);
}
constexpr std::uint32_t kInWill = 1;
constexpr std::uint32_t kInConnect = in(PacketType::kConnect);
constexpr std::uint32_t kInConnack = in(PacketType::kConnack);
constexpr std::uint32_t kInPublish = in(PacketType::kPublish);
constexpr std::uint32_t kInAcks = in(PacketType::kPuback) | in(PacketType::kPubrec) |
                                  in(PacketType::kPubrel) | in(PacketType::kPubcomp);
constexpr std::uint32_t kInSubacks = in(PacketType::kSuback) | in(PacketType::kUnsuback);
constexpr std::uint32_t kInSubscribe = in(PacketType::kSubscribe);
constexpr std::uint32_t kInDisconnect = in(PacketType::kDisconnect);
constexpr std::uint32_t kInAuth = in(PacketType::kAuth);
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

Fault decode_property(std::uint32_t id, std::uint32_t place, Reader& reader, Properties* out) {
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

// Property length, then the properties, of which each must be allowed at `place`.
Fault decode_properties(Reader& reader, std::uint32_t place, Properties* out) {
  out->section = reader.bytes(reader.varint());
  if (!reader.ok()) {
    return reader.fault();
  }
  Reader inner(out->section);
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

Fault finish(const Reader& reader) {
  if (!reader.ok()) {
    return reader.fault();
  }
  return reader.empty() ? Fault{} : malformed("bytes follow the last field");
}

Fault decode_will(Reader& reader, Version version, std::uint8_t flags, Will* out) {
  out->qos = flags >> 3 & 3;
  out->retain = (flags & 0x20) != 0;
  if (version == Version::k5) {
    const Fault fault = decode_properties(reader, kInWill, &out->properties);
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
  constexpr unsigned kFlagsTwo =
      in(PacketType::kPubrel) | in(PacketType::kSubscribe) | in(PacketType::kUnsubscribe);
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
      Reader reader(body.substr(at));
      Properties properties;
      const Fault fault = decode_properties(reader, kInPublish, &properties);
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
  Reader reader(frame.body);
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
    const Fault fault = decode_properties(reader, kInConnect, &out->properties);
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
  Reader reader(frame.body);
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
    const Fault fault = decode_properties(reader, kInConnack, &out->properties);
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
  Reader reader(frame.body);
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
      const Fault fault = decode_properties(reader, in(frame.type), &properties);
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
  Reader reader(frame.body);
  out->packet_id = reader.u16();
  if (version == Version::k5) {
    const Fault fault = decode_properties(reader, kInSubscribe, &out->properties);
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
  Reader reader(frame.body);
  out->packet_id = reader.u16();
  if (version == Version::k5) {
    const Fault fault = decode_properties(reader, in(PacketType::kUnsubscribe), &out->properties);
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
  Reader reader(frame.body);
  out->packet_id = reader.u16();
  if (version == Version::k5) {
    Properties properties;
    const Fault fault = decode_properties(reader, in(frame.type), &properties);
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
  Reader reader(frame.body);
  if (version == Version::k5 && !reader.empty()) {
    out->reason = static_cast<Reason>(reader.u8());
    if (!reader.empty()) {
      const Fault fault = decode_properties(reader, in(frame.type), &out->properties);
      if (!fault.ok()) {
        return fault;
      }
    }
  }
  return finish(reader);
}

bool next_user_property(std::string_view* rest, UserProperty* out) {
  Reader reader(*rest);
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
