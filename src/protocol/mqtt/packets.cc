#include "protocol/mqtt/packets.h"

#include <array>

namespace headwater::mqtt {
namespace {

struct Named {
  Reason reason;
  std::string_view name;
};

constexpr std::array kNames = {
    Named{Reason::kSuccess, "success"},
    Named{Reason::kGrantedQos1, "granted_qos_1"},
    Named{Reason::kGrantedQos2, "granted_qos_2"},
    Named{Reason::kDisconnectWithWill, "disconnect_with_will"},
    Named{Reason::kNoMatchingSubscribers, "no_matching_subscribers"},
    Named{Reason::kNoSubscriptionExisted, "no_subscription_existed"},
    Named{Reason::kUnspecified, "unspecified"},
    Named{Reason::kMalformedPacket, "malformed_packet"},
    Named{Reason::kProtocolError, "protocol_error"},
    Named{Reason::kImplementationSpecific, "implementation_specific"},
    Named{Reason::kUnsupportedVersion, "unsupported_version"},
    Named{Reason::kClientIdNotValid, "client_id_not_valid"},
    Named{Reason::kBadCredentials, "bad_credentials"},
    Named{Reason::kNotAuthorized, "not_authorized"},
    Named{Reason::kServerUnavailable, "server_unavailable"},
    Named{Reason::kServerBusy, "server_busy"},
    Named{Reason::kBanned, "banned"},
    Named{Reason::kServerShuttingDown, "server_shutting_down"},
    Named{Reason::kBadAuthenticationMethod, "bad_authentication_method"},
    Named{Reason::kKeepAliveTimeout, "keep_alive_timeout"},
    Named{Reason::kSessionTakenOver, "session_taken_over"},
    Named{Reason::kTopicFilterInvalid, "topic_filter_invalid"},
    Named{Reason::kTopicNameInvalid, "topic_name_invalid"},
    Named{Reason::kPacketIdInUse, "packet_id_in_use"},
    Named{Reason::kPacketIdNotFound, "packet_id_not_found"},
    Named{Reason::kReceiveMaximumExceeded, "receive_maximum_exceeded"},
    Named{Reason::kTopicAliasInvalid, "topic_alias_invalid"},
    Named{Reason::kPacketTooLarge, "packet_too_large"},
    Named{Reason::kMessageRateTooHigh, "message_rate_too_high"},
    Named{Reason::kQuotaExceeded, "quota_exceeded"},
    Named{Reason::kAdministrativeAction, "administrative_action"},
    Named{Reason::kPayloadFormatInvalid, "payload_format_invalid"},
    Named{Reason::kRetainNotSupported, "retain_not_supported"},
    Named{Reason::kQosNotSupported, "qos_not_supported"},
    Named{Reason::kUseAnotherServer, "use_another_server"},
    Named{Reason::kServerMoved, "server_moved"},
    Named{Reason::kSharedSubscriptionsNotSupported, "shared_subscriptions_not_supported"},
    Named{Reason::kConnectionRateExceeded, "connection_rate_exceeded"},
    Named{Reason::kMaximumConnectTime, "maximum_connect_time"},
    Named{Reason::kSubscriptionIdsNotSupported, "subscription_ids_not_supported"},
    Named{Reason::kWildcardsNotSupported, "wildcards_not_supported"},
};

}  // namespace

std::string_view reason_name(Reason reason) {
  for (const Named& named : kNames) {
    if (named.reason == reason) {
      return named.name;
    }
  }
  return "unknown_reason";
}

}  // namespace headwater::mqtt
