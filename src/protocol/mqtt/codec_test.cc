#include "protocol/mqtt/codec.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

namespace headwater::mqtt {
namespace {

using namespace std::string_literals;

constexpr std::size_t kMax = 1024 * 1024;

std::string hex(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == ' ') {
      ++i;
      continue;
    }
    bytes.push_back(static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
    i += 2;
  }
  return bytes;
}

// Wraps a body in a fixed header.
std::string packet(std::uint8_t first, const std::string& body) {
  std::string bytes(1, static_cast<char>(first));
  std::size_t left = body.size();
  do {
    bytes.push_back(static_cast<char>((left & 0x7F) | (left > 127 ? 0x80 : 0)));
    left >>= 7;
  } while (left > 0);
  return bytes + body;
}

Frame framed(std::string_view bytes) {
  Frame frame;
  EXPECT_EQ(next_frame(bytes, kMax, &frame), Framing::kFrame);
  EXPECT_EQ(frame.size, bytes.size());
  return frame;
}

Reason publish_fault(std::string_view bytes, Version version = Version::k5) {
  Frame frame;
  if (next_frame(bytes, kMax, &frame) == Framing::kFault) {
    return frame.fault.reason;
  }
  PublishPacket out;
  return decode_publish(frame, version, &out).reason;
}

template <class Packet>
Reason fault_of(std::string_view bytes, Version version) {
  Packet out;
  return decode(framed(bytes), version, &out).reason;
}

Reason connect_fault(std::string_view bytes) {
  Connect out;
  return decode(framed(bytes), &out).reason;
}

TEST(Framing, TheRemainingLengthHasOneToFourBytes) {  // [2.1.4], table 2-1
  struct Case {
    std::size_t length;
    const char* bytes;
  };
  for (const Case& one : {Case{0, "00"}, Case{127, "7F"}, Case{128, "80 01"}, Case{16'383, "FF 7F"},
                          Case{16'384, "80 80 01"}, Case{2'097'151, "FF FF 7F"},
                          Case{2'097'152, "80 80 80 01"}, Case{268'435'455, "FF FF FF 7F"}}) {
    const std::string bytes = "\x30"s + hex(one.bytes);
    Frame frame;
    const Framing framing = next_frame(bytes, kMaxRemainingLength + 5, &frame);
    EXPECT_EQ(framing, one.length == 0 ? Framing::kFrame : Framing::kMore);
    EXPECT_EQ(frame.size, bytes.size() + one.length);
  }
}

TEST(Framing, AFifthLengthByteIsMalformed) {
  Frame frame;
  EXPECT_EQ(next_frame(hex("30 80 80 80 80 01"), kMax, &frame), Framing::kFault);
  EXPECT_EQ(frame.fault.reason, Reason::kMalformedPacket);
}

TEST(Framing, EveryPrefixOfAPacketAsksForMore) {
  std::string bytes;
  encode(bytes, Version::k5, PublishPacket{.topic = "a/b", .payload = std::string(300, 'x')});
  Frame frame;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_EQ(next_frame(std::string_view(bytes).substr(0, size), kMax, &frame), Framing::kMore);
  }
  EXPECT_EQ(next_frame(bytes + "more", kMax, &frame), Framing::kFrame);
  EXPECT_EQ(frame.size, bytes.size());
}

TEST(Framing, APacketAboveTheMaximumIsRefusedFromItsHeaderAlone) {
  Frame frame;
  EXPECT_EQ(next_frame(hex("30 80 80 40"), 1024 * 1024, &frame), Framing::kFault);
  EXPECT_EQ(frame.fault.reason, Reason::kPacketTooLarge);
}

TEST(Framing, ReservedFlagsAndTypesAreChecked) {
  Frame frame;
  for (const char* bad : {"00 00", "11 00", "21 00", "41 00", "60 00", "63 00", "80 00", "92 00",
                          "A0 00", "B1 00", "C1 00", "D4 00", "E8 00", "F1 00"}) {
    EXPECT_EQ(next_frame(hex(bad), kMax, &frame), Framing::kFault) << bad;
    EXPECT_EQ(frame.fault.reason, Reason::kMalformedPacket) << bad;
  }
  for (const char* good : {"62 00", "82 00", "A2 00", "C0 00", "3F 00"}) {
    EXPECT_EQ(next_frame(hex(good), kMax, &frame), Framing::kFrame) << good;
  }
}

TEST(Publish, IsDecodedInPlace) {
  for (const Version version : {Version::k311, Version::k5}) {
    std::string bytes;
    encode(bytes, version,
           PublishPacket{.topic = "sensors/7/readings",
                         .payload = "{}",
                         .packet_id = 0x1234,
                         .qos = 1,
                         .dup = true,
                         .retain = true});
    PublishPacket out;
    ASSERT_TRUE(decode_publish(framed(bytes), version, &out).ok());
    EXPECT_EQ(out.topic, "sensors/7/readings");
    EXPECT_EQ(out.payload, "{}");
    EXPECT_EQ(out.packet_id, 0x1234);
    EXPECT_EQ(out.qos, 1);
    EXPECT_TRUE(out.dup && out.retain);
    EXPECT_EQ(out.payload.data() + out.payload.size(), bytes.data() + bytes.size());
  }
}

TEST(Publish, CarriesItsProperties) {
  const std::array users = {UserProperty{"unit", "mm/s"}, UserProperty{"unit", "g"}};
  std::string section;
  for (const UserProperty& user : users) {
    section += "\x26"s + '\0' + static_cast<char>(user.name.size()) + std::string(user.name) +
               '\0' + static_cast<char>(user.value.size()) + std::string(user.value);
  }
  std::string bytes;
  encode(bytes, Version::k5,
         PublishPacket{.topic = "t",
                       .payload = "p",
                       .properties = section,
                       .topic_alias = 9,
                       .message_expiry = 60,
                       .content_type = "application/json",
                       .has_expiry = true});
  PublishPacket out;
  ASSERT_TRUE(decode_publish(framed(bytes), Version::k5, &out).ok());
  EXPECT_EQ(out.topic_alias, 9);
  EXPECT_TRUE(out.has_expiry);
  EXPECT_EQ(out.message_expiry, 60U);
  EXPECT_EQ(out.content_type, "application/json");
  EXPECT_EQ(out.payload, "p");
  std::vector<std::string> found;
  UserProperty user;
  for (std::string_view rest = out.properties; next_user_property(&rest, &user);) {
    found.push_back(std::string(user.name) + "=" + std::string(user.value));
  }
  EXPECT_EQ(found, (std::vector<std::string>{"unit=mm/s", "unit=g"}));
}

TEST(Publish, RefusesWhatTheStandardForbids) {
  const std::string t = "\0\1t"s;
  EXPECT_EQ(publish_fault(packet(0x36, t + "\0\1\0"s)), Reason::kMalformedPacket);  // QoS 3
  EXPECT_EQ(publish_fault(packet(0x38, t + "\0"s)), Reason::kMalformedPacket);      // DUP, QoS 0
  EXPECT_EQ(publish_fault(packet(0x32, t + "\0\0\0"s)), Reason::kProtocolError);    // id 0
  EXPECT_EQ(publish_fault(packet(0x32, t + "\0"s)), Reason::kMalformedPacket);      // cut
  EXPECT_EQ(publish_fault(packet(0x30, "\0\5ab"s)), Reason::kMalformedPacket);
  EXPECT_EQ(publish_fault(packet(0x30, "")), Reason::kMalformedPacket);
  EXPECT_EQ(publish_fault(packet(0x30, "\0\3a/+\0"s)), Reason::kTopicNameInvalid);
  EXPECT_EQ(publish_fault(packet(0x30, "\0\3a/#"s), Version::k311), Reason::kTopicNameInvalid);
  EXPECT_EQ(publish_fault(packet(0x30, "\0\2\xC3\x28\0"s)), Reason::kMalformedPacket);
  EXPECT_EQ(publish_fault(packet(0x30, "\0\3a\0b\0"s)), Reason::kMalformedPacket);
  EXPECT_EQ(publish_fault(packet(0x30, "\0\3\xED\xA0\x80\0"s)), Reason::kMalformedPacket);  // D800
  EXPECT_EQ(publish_fault(packet(0x30, "\0\0\0"s)), Reason::kProtocolError);  // no topic, no alias
  EXPECT_EQ(publish_fault(packet(0x30, "\0\0"s), Version::k311), Reason::kMalformedPacket);
  EXPECT_EQ(publish_fault(packet(0x30, t)), Reason::kMalformedPacket);  // 5.0 without properties
  EXPECT_EQ(publish_fault(packet(0x30, t), Version::k311), Reason::kSuccess);
}

TEST(Publish, FindsWildcardsAtEveryPlaceOfALongTopic) {
  for (std::size_t at = 0; at < 40; ++at) {
    for (const char bad : {'+', '#', '\0', '\xFF'}) {
      std::string topic(40, 'a');
      topic[at] = bad;
      EXPECT_NE(publish_fault(packet(0x30, "\0\x28"s + topic), Version::k311), Reason::kSuccess);
    }
  }
  EXPECT_EQ(publish_fault(packet(0x30, "\0\x28"s + std::string(40, ',')), Version::k311),
            Reason::kSuccess);  // neighbours of '+' in the alphabet
}

TEST(Properties, AreCheckedForPlaceRepetitionAndValue) {
  const auto with = [](const std::string& properties) {
    return packet(0x30, "\0\1t"s + static_cast<char>(properties.size()) + properties);
  };
  EXPECT_EQ(publish_fault(with(hex("23 0001"))), Reason::kSuccess);
  EXPECT_EQ(publish_fault(with(hex("23 0000"))), Reason::kTopicAliasInvalid);
  EXPECT_EQ(publish_fault(with(hex("23 0001 23 0001"))), Reason::kProtocolError);
  EXPECT_EQ(publish_fault(with(hex("02 00000000"))), Reason::kSuccess);  // expires at once
  EXPECT_EQ(publish_fault(with(hex("01 02"))), Reason::kProtocolError);
  EXPECT_EQ(publish_fault(with(hex("11 00000001"))), Reason::kProtocolError);  // of CONNECT
  EXPECT_EQ(publish_fault(with(hex("7E 01"))), Reason::kMalformedPacket);      // unknown
  EXPECT_EQ(publish_fault(with(hex("00 01"))), Reason::kMalformedPacket);
  EXPECT_EQ(publish_fault(with(hex("23 00"))), Reason::kMalformedPacket);  // cut
  EXPECT_EQ(publish_fault(with(hex("0B 00"))), Reason::kProtocolError);
  EXPECT_EQ(publish_fault(with(hex("0B 01 0B 02"))), Reason::kSuccess);  // several are allowed here
  EXPECT_EQ(publish_fault(with(hex("0B 81 00"))), Reason::kMalformedPacket);  // longer than needed
  EXPECT_EQ(publish_fault(with(hex("08 0001 2B"))), Reason::kTopicNameInvalid);
  EXPECT_EQ(publish_fault(packet(0x30, hex("0001 74 09 02"))), Reason::kMalformedPacket);
}

TEST(Publish, APayloadAnnouncedAsTextIsChecked) {
  EXPECT_EQ(publish_fault(packet(0x30, hex("0001 74 02 0101 C328"))),
            Reason::kPayloadFormatInvalid);
  EXPECT_EQ(publish_fault(packet(0x30, hex("0001 74 02 0101 C3A4"))), Reason::kSuccess);
}

TEST(Connect, RoundTripsInBothVersions) {
  for (const Version version : {Version::k311, Version::k5}) {
    Connect in;
    in.version = version;
    in.clean_start = false;
    in.keep_alive = 17;
    in.client_id = "press-7";
    in.username = "anna";
    in.password = std::string_view("p\0w", 3);
    in.will = Will{"gone/press-7", "bye", 1, true, {}};
    if (version == Version::k5) {
      in.properties.session_expiry = 3600;
      in.properties.receive_maximum = 10;
      in.will->properties.will_delay = 5;
    }
    std::string bytes;
    encode(bytes, in);
    Connect out;
    const Fault fault = decode(framed(bytes), &out);
    ASSERT_TRUE(fault.ok()) << fault.why;
    EXPECT_EQ(out.version, version);
    EXPECT_FALSE(out.clean_start);
    EXPECT_EQ(out.keep_alive, 17);
    EXPECT_EQ(out.client_id, "press-7");
    EXPECT_EQ(out.username, "anna");
    EXPECT_EQ(out.password, std::string_view("p\0w", 3));
    ASSERT_TRUE(out.will);
    EXPECT_EQ(out.will->topic, "gone/press-7");
    EXPECT_EQ(out.will->payload, "bye");
    EXPECT_EQ(out.will->qos, 1);
    EXPECT_TRUE(out.will->retain);
    EXPECT_EQ(out.properties.session_expiry.has_value(), version == Version::k5);
    EXPECT_EQ(out.will->properties.will_delay.value_or(0), version == Version::k5 ? 5U : 0U);
  }
}

TEST(Connect, RefusesWhatTheStandardForbids) {
  const auto v4 = [](std::uint8_t flags, const std::string& rest) {
    return packet(0x10, "\0\4MQTT\4"s + static_cast<char>(flags) + "\0\x3C"s + rest);
  };
  EXPECT_EQ(connect_fault(v4(0x02, "\0\1c"s)), Reason::kSuccess);
  EXPECT_EQ(connect_fault(v4(0x03, "\0\1c"s)), Reason::kMalformedPacket);           // reserved
  EXPECT_EQ(connect_fault(v4(0x42, "\0\1c\0\1p"s)), Reason::kMalformedPacket);      // pw, no user
  EXPECT_EQ(connect_fault(v4(0x1E, "\0\1c\0\1t\0\0"s)), Reason::kMalformedPacket);  // will QoS 3
  EXPECT_EQ(connect_fault(v4(0x22, "\0\1c"s)), Reason::kMalformedPacket);   // retain, no will
  EXPECT_EQ(connect_fault(v4(0x02, "\0\1cX"s)), Reason::kMalformedPacket);  // trailing
  EXPECT_EQ(connect_fault(v4(0x02, "\0\5c"s)), Reason::kMalformedPacket);   // cut
  EXPECT_EQ(connect_fault(v4(0x02, "\0\2\xC3\x28"s)), Reason::kMalformedPacket);
  EXPECT_EQ(connect_fault(v4(0x06, "\0\1c\0\3a/#\0\0"s)), Reason::kTopicNameInvalid);
  EXPECT_EQ(connect_fault(packet(0x10, "\0\6MQIsdp\3\2\0\x3C\0\1c"s)), Reason::kUnsupportedVersion);
  EXPECT_EQ(connect_fault(packet(0x10, "\0\4MQTT\6\2\0\x3C\0\1c"s)), Reason::kUnsupportedVersion);
  EXPECT_EQ(connect_fault(packet(0x10, "\0\4MQTT\5\2\0\x3C\3\x21\0\0\0\1c"s)),
            Reason::kProtocolError);  // receive maximum 0
  EXPECT_EQ(connect_fault(packet(0x10, "\0\4MQTT\5\2\0\x3C\4\x16\0\1x\0\1c"s)),
            Reason::kProtocolError);  // authentication data without a method
  EXPECT_EQ(connect_fault(packet(0x10, "\0\4MQTT\5\x42\0\x3C\0\0\1c\0\1p"s)),
            Reason::kSuccess);  // 5.0 allows a password alone
}

TEST(Connack, MapsReturnCodesOf311) {
  for (const Reason reason :
       {Reason::kSuccess, Reason::kUnsupportedVersion, Reason::kClientIdNotValid,
        Reason::kServerUnavailable, Reason::kBadCredentials, Reason::kNotAuthorized}) {
    std::string bytes;
    encode(bytes, Version::k311, Connack{.reason = reason});
    Connack out;
    ASSERT_TRUE(decode(framed(bytes), Version::k311, &out).ok());
    EXPECT_EQ(out.reason, reason);
  }
  EXPECT_EQ(fault_of<Connack>(hex("20 02 00 06"), Version::k311), Reason::kMalformedPacket);
  EXPECT_EQ(fault_of<Connack>(hex("20 02 02 00"), Version::k311), Reason::kMalformedPacket);
  EXPECT_EQ(fault_of<Connack>(hex("20 03 01 87 00"), Version::k5), Reason::kProtocolError);
  std::string bytes;
  Connack in{.session_present = true};
  in.properties.assigned_client_id = "auto-1";
  in.properties.receive_maximum = 1000;
  in.properties.wildcard_subscription_available = false;
  encode(bytes, Version::k5, in);
  Connack out;
  ASSERT_TRUE(decode(framed(bytes), Version::k5, &out).ok());
  EXPECT_TRUE(out.session_present);
  EXPECT_EQ(out.properties.assigned_client_id, "auto-1");
  EXPECT_EQ(out.properties.receive_maximum, 1000);
  EXPECT_EQ(out.properties.wildcard_subscription_available, false);
}

TEST(Acks, AreFourBytesWithoutAReason) {
  for (const Version version : {Version::k311, Version::k5}) {
    std::string bytes;
    encode(bytes, version, PacketType::kPuback, Ack{.packet_id = 7});
    EXPECT_EQ(bytes, hex("40 02 0007"));
  }
  std::string bytes;
  encode(bytes, Version::k5, PacketType::kPubrel, Ack{.packet_id = 7});
  EXPECT_EQ(bytes, hex("62 02 0007"));
}

TEST(Acks, CarryReasonAndText) {
  std::string bytes;
  encode(bytes, Version::k5, PacketType::kPubrec,
         Ack{.packet_id = 7, .reason = Reason::kNotAuthorized, .reason_string = "not your topic"});
  Ack out;
  ASSERT_TRUE(decode(framed(bytes), Version::k5, &out).ok());
  EXPECT_EQ(out.reason, Reason::kNotAuthorized);
  EXPECT_EQ(out.reason_string, "not your topic");
  EXPECT_EQ(fault_of<Ack>(hex("40 02 0000"), Version::k5), Reason::kProtocolError);
  EXPECT_EQ(fault_of<Ack>(hex("40 01 00"), Version::k5), Reason::kMalformedPacket);
  EXPECT_EQ(fault_of<Ack>(hex("40 03 0001 00"), Version::k311), Reason::kMalformedPacket);
  EXPECT_EQ(fault_of<Ack>(hex("40 03 0001 10"), Version::k5), Reason::kSuccess);
  EXPECT_EQ(fault_of<Ack>(hex("40 07 0001 00 03 210001"), Version::k5), Reason::kProtocolError);
}

TEST(Subscribe, RoundTripsAndIsChecked) {
  for (const Version version : {Version::k311, Version::k5}) {
    Subscribe in;
    in.packet_id = 9;
    in.subscriptions = {{"a/+", 1, false, false, 0}, {"b/#", 2, false, false, 0}};
    std::string bytes;
    encode(bytes, version, in);
    Subscribe out;
    ASSERT_TRUE(decode(framed(bytes), version, &out).ok());
    ASSERT_EQ(out.subscriptions.size(), 2U);
    EXPECT_EQ(out.subscriptions[1].filter, "b/#");
    EXPECT_EQ(out.subscriptions[1].qos, 2);
  }
  EXPECT_EQ(fault_of<Subscribe>(hex("82 02 0001"), Version::k311), Reason::kProtocolError);
  EXPECT_EQ(fault_of<Subscribe>(hex("82 06 0001 0001 61 03"), Version::k311),
            Reason::kMalformedPacket);
  EXPECT_EQ(fault_of<Subscribe>(hex("82 06 0001 0001 61 04"), Version::k311),
            Reason::kMalformedPacket);
  EXPECT_EQ(fault_of<Subscribe>(hex("82 07 0001 00 0001 61 04"), Version::k5), Reason::kSuccess);
  EXPECT_EQ(fault_of<Subscribe>(hex("82 07 0001 00 0001 61 30"), Version::k5),
            Reason::kProtocolError);
  EXPECT_EQ(fault_of<Subscribe>(hex("82 06 0000 0001 61 00"), Version::k311),
            Reason::kProtocolError);
  EXPECT_EQ(fault_of<Subscribe>(hex("82 07 0001 0002 6123 00"), Version::k311),
            Reason::kTopicFilterInvalid);
}

TEST(Unsubscribe, RoundTripsAndIsChecked) {
  for (const Version version : {Version::k311, Version::k5}) {
    Unsubscribe in;
    in.packet_id = 9;
    in.filters = {"a", "b/#"};
    std::string bytes;
    encode(bytes, version, in);
    Unsubscribe out;
    ASSERT_TRUE(decode(framed(bytes), version, &out).ok());
    EXPECT_EQ(out.filters, in.filters);
  }
  EXPECT_EQ(fault_of<Unsubscribe>(hex("A2 02 0001"), Version::k311), Reason::kProtocolError);
}

TEST(Suback, RoundTripsInBothVersions) {
  std::string bytes;
  const Suback in{9, {Reason::kGrantedQos1, Reason::kNotAuthorized}, ""};
  encode(bytes, Version::k311, PacketType::kSuback, in);
  EXPECT_EQ(bytes, hex("90 04 0009 01 80"));
  bytes.clear();
  encode(bytes, Version::k5, PacketType::kUnsuback, in);
  Suback out;
  ASSERT_TRUE(decode(framed(bytes), Version::k5, &out).ok());
  EXPECT_EQ(out.reasons, in.reasons);
  bytes.clear();
  encode(bytes, Version::k311, PacketType::kUnsuback, in);
  EXPECT_EQ(bytes, hex("B0 02 0009"));
}

TEST(Disconnect, IsShortWhenItSaysNothing) {
  std::string bytes;
  encode(bytes, Version::k5, PacketType::kDisconnect, Disconnect{});
  EXPECT_EQ(bytes, hex("E0 00"));
  bytes.clear();
  Disconnect in{Reason::kSessionTakenOver, {}};
  in.properties.reason_string = "another connection has this client id";
  encode(bytes, Version::k5, PacketType::kDisconnect, in);
  Disconnect out;
  ASSERT_TRUE(decode(framed(bytes), Version::k5, &out).ok());
  EXPECT_EQ(out.reason, Reason::kSessionTakenOver);
  EXPECT_EQ(out.properties.reason_string, in.properties.reason_string);
  bytes.clear();
  encode(bytes, Version::k311, PacketType::kDisconnect, in);
  EXPECT_EQ(bytes, hex("E0 00"));
  EXPECT_EQ(fault_of<Disconnect>(hex("E0 01 00"), Version::k311), Reason::kMalformedPacket);
}

TEST(Codec, RandomPublishesRoundTrip) {
  std::mt19937 random(7);
  const auto text = [&](std::size_t below) {
    std::string made(random() % below, ' ');
    for (char& c : made) {
      c = static_cast<char>('a' + random() % 26);
    }
    return made;
  };
  for (int i = 0; i < 500; ++i) {
    const Version version = random() % 2 == 0 ? Version::k311 : Version::k5;
    const std::string topic = "t" + text(200);
    const std::string payload = text(i % 50 == 0 ? 20'000 : 300);
    PublishPacket in{
        .topic = topic, .payload = payload, .qos = static_cast<std::uint8_t>(random() % 3)};
    in.packet_id = in.qos > 0 ? static_cast<std::uint16_t>(1 + random() % 65'535) : 0;
    in.dup = in.qos > 0 && random() % 2 == 0;
    std::string bytes;
    encode(bytes, version, in);
    PublishPacket out;
    ASSERT_TRUE(decode_publish(framed(bytes), version, &out).ok());
    ASSERT_EQ(out.topic, topic);
    ASSERT_EQ(out.payload, payload);
    ASSERT_EQ(out.packet_id, in.packet_id);
    ASSERT_EQ(out.dup, in.dup);
  }
}

TEST(ReasonName, HasAWordForEachCode) {
  EXPECT_EQ(reason_name(Reason::kNotAuthorized), "not_authorized");
  EXPECT_EQ(reason_name(static_cast<Reason>(0xFF)), "unknown_reason");
}

}  // namespace
}  // namespace headwater::mqtt
