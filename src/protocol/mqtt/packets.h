// The packets of MQTT 3.1.1 and 5.0 as plain structs; codec.h turns bytes into them and back.
//
// Every string_view of a decoded packet points into the bytes it was decoded from. Sections and
// numbers in brackets are those of the OASIS standards "MQTT Version 3.1.1" and "MQTT Version 5.0".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace headwater::mqtt {

enum class Version : std::uint8_t { k311 = 4, k5 = 5 };

enum class PacketType : std::uint8_t {
  kConnect = 1,
  kConnack = 2,
  kPublish = 3,
  kPuback = 4,
  kPubrec = 5,
  kPubrel = 6,
  kPubcomp = 7,
  kSubscribe = 8,
  kSuback = 9,
  kUnsubscribe = 10,
  kUnsuback = 11,
  kPingreq = 12,
  kPingresp = 13,
  kDisconnect = 14,
  kAuth = 15,
};

// MQTT 5 reason codes [2.4]. 3.1.1 has fewer; connect_code_311() maps for CONNACK.
enum class Reason : std::uint8_t {
  kSuccess = 0x00,
  kGrantedQos1 = 0x01,
  kGrantedQos2 = 0x02,
  kDisconnectWithWill = 0x04,
  kNoMatchingSubscribers = 0x10,
  kNoSubscriptionExisted = 0x11,
  kUnspecified = 0x80,
  kMalformedPacket = 0x81,
  kProtocolError = 0x82,
  kImplementationSpecific = 0x83,
  kUnsupportedVersion = 0x84,
  kClientIdNotValid = 0x85,
  kBadCredentials = 0x86,
  kNotAuthorized = 0x87,
  kServerUnavailable = 0x88,
  kServerBusy = 0x89,
  kBanned = 0x8A,
  kServerShuttingDown = 0x8B,
  kBadAuthenticationMethod = 0x8C,
  kKeepAliveTimeout = 0x8D,
  kSessionTakenOver = 0x8E,
  kTopicFilterInvalid = 0x8F,
  kTopicNameInvalid = 0x90,
  kPacketIdInUse = 0x91,
  kPacketIdNotFound = 0x92,
  kReceiveMaximumExceeded = 0x93,
  kTopicAliasInvalid = 0x94,
  kPacketTooLarge = 0x95,
  kMessageRateTooHigh = 0x96,
  kQuotaExceeded = 0x97,
  kAdministrativeAction = 0x98,
  kPayloadFormatInvalid = 0x99,
  kRetainNotSupported = 0x9A,
  kQosNotSupported = 0x9B,
  kUseAnotherServer = 0x9C,
  kServerMoved = 0x9D,
  kSharedSubscriptionsNotSupported = 0x9E,
  kConnectionRateExceeded = 0x9F,
  kMaximumConnectTime = 0xA0,
  kSubscriptionIdsNotSupported = 0xA1,
  kWildcardsNotSupported = 0xA2,
};

// "not_authorized", "malformed_packet", …: metric label and log word; "unknown_reason" for others.
std::string_view reason_name(Reason reason);
inline bool is_failure(Reason reason) {
  return static_cast<std::uint8_t>(reason) >= 0x80;
}

// What is wrong with a packet; `why` has static storage. ok() when nothing is.
struct [[nodiscard]] Fault {
  Reason reason = Reason::kSuccess;
  std::string_view why{};

  bool ok() const { return reason == Reason::kSuccess; }
};

struct UserProperty {
  std::string_view name{};
  std::string_view value{};
};

// The properties of any MQTT 5 packet [2.2.2.2]; absent ones are empty optionals or null views.
// decode keeps `section` (the encoded properties, for user_properties()); encode writes what is set
// and `user`.
struct Properties {
  std::optional<bool> payload_is_utf8{};
  std::optional<std::uint32_t> message_expiry{};  // seconds
  std::optional<std::string_view> content_type{};
  std::optional<std::string_view> response_topic{};
  std::optional<std::string_view> correlation_data{};
  std::optional<std::uint32_t> subscription_id{};  // the last one, when a PUBLISH carries several
  std::optional<std::uint32_t> session_expiry{};   // seconds; 0xFFFFFFFF is for ever
  std::optional<std::string_view> assigned_client_id{};
  std::optional<std::uint16_t> server_keep_alive{};  // seconds
  std::optional<std::string_view> authentication_method{};
  std::optional<std::string_view> authentication_data{};
  std::optional<bool> request_problem_information{};
  std::optional<std::uint32_t> will_delay{};  // seconds
  std::optional<bool> request_response_information{};
  std::optional<std::string_view> response_information{};
  std::optional<std::string_view> server_reference{};
  std::optional<std::string_view> reason_string{};
  std::optional<std::uint16_t> receive_maximum{};
  std::optional<std::uint16_t> topic_alias_maximum{};
  std::optional<std::uint16_t> topic_alias{};
  std::optional<std::uint8_t> maximum_qos{};
  std::optional<bool> retain_available{};
  std::optional<std::uint32_t> maximum_packet_size{};
  std::optional<bool> wildcard_subscription_available{};
  std::optional<bool> subscription_id_available{};
  std::optional<bool> shared_subscription_available{};
  std::span<const UserProperty> user{};  // encode only
  std::string_view section{};            // decode only
};

struct Will {
  std::string_view topic{};
  std::string_view payload{};
  std::uint8_t qos = 0;
  bool retain = false;
  Properties properties{};
};

struct Connect {
  Version version = Version::k5;
  bool clean_start = true;        // "clean session" in 3.1.1
  std::uint16_t keep_alive = 60;  // seconds; 0 is none
  std::string_view client_id{};
  std::optional<std::string_view> username{};
  std::optional<std::string_view> password{};
  std::optional<Will> will{};
  Properties properties{};
};

struct Connack {
  bool session_present = false;
  Reason reason = Reason::kSuccess;  // for 3.1.1 mapped from and to its return codes
  Properties properties{};
};

struct PublishPacket {
  std::string_view topic{};
  std::string_view payload{};
  std::string_view properties{};  // encoded, without their length; checked
  std::uint16_t packet_id = 0;    // 0 for QoS 0
  std::uint16_t topic_alias = 0;
  std::uint32_t message_expiry = 0;  // seconds; meaningful with has_expiry
  std::string_view content_type{};
  std::uint8_t qos = 0;
  bool dup = false;
  bool retain = false;
  bool has_expiry = false;
};

// PUBACK, PUBREC, PUBREL and PUBCOMP.
struct Ack {
  std::uint16_t packet_id = 0;
  Reason reason = Reason::kSuccess;
  std::string_view reason_string{};
};

struct Subscription {
  std::string_view filter{};
  std::uint8_t qos = 0;
  bool no_local = false;
  bool retain_as_published = false;
  std::uint8_t retain_handling = 0;
};

struct Subscribe {
  std::uint16_t packet_id = 0;
  std::vector<Subscription> subscriptions{};
  Properties properties{};
};

struct Unsubscribe {
  std::uint16_t packet_id = 0;
  std::vector<std::string_view> filters{};
  Properties properties{};
};

// SUBACK and UNSUBACK. A 3.1.1 UNSUBACK has no reasons; a 3.1.1 SUBACK has 0, 1, 2 or 0x80.
struct Suback {
  std::uint16_t packet_id = 0;
  std::vector<Reason> reasons{};
  std::string_view reason_string{};
};

// DISCONNECT and AUTH.
struct Disconnect {
  Reason reason = Reason::kSuccess;
  Properties properties{};
};

}  // namespace headwater::mqtt
