// Nanoseconds a packet of the MQTT codec alone: no socket, no session. What the listener adds is in
// listener_bench.cc.
#include <benchmark/benchmark.h>

#include <string>

#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/topic_cache.h"

namespace headwater::mqtt {
namespace {

constexpr int kPackets = 512;
const std::string kPayload(
    R"({"device_id":"press-0042","timestamp":"2024-05-01T12:00:00.000Z","temperature":71.25,)"
    R"("pressure":4.125,"vibration":0.033,"seq":1234567})");

std::string topic(int device) {
  return "site/1/press-" + std::to_string(1000 + device) + "/m";
}

// What one read of a busy connection brings.
std::string stream(Version version) {
  std::string bytes;
  for (int i = 0; i < kPackets; ++i) {
    encode(bytes, version,
           PublishPacket{.topic = topic(i % 64),
                         .payload = kPayload,
                         .packet_id = static_cast<std::uint16_t>(i + 1),
                         .qos = 1});
  }
  return bytes;
}

void per_packet(benchmark::State& state) {
  state.counters["ns/packet"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kPackets * 1e-9,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void frame_and_decode(benchmark::State& state, Version version) {
  const std::string bytes = stream(version);
  for (auto _ : state) {
    int packets = 0;
    Frame frame;
    PublishPacket out;
    for (std::size_t at = 0; at < bytes.size(); at += frame.size) {
      if (next_frame(std::string_view(bytes).substr(at), 1 << 20, &frame) != Framing::kFrame ||
          !decode_publish(frame, version, &out, TopicCheck::kSkip).ok()) {
        break;
      }
      benchmark::DoNotOptimize(out);
      ++packets;
    }
    if (packets != kPackets) {
      state.SkipWithError("a packet was not decoded");
    }
  }
  per_packet(state);
}
BENCHMARK_CAPTURE(frame_and_decode, v311, Version::k311);
BENCHMARK_CAPTURE(frame_and_decode, v5, Version::k5);

void encode_publish(benchmark::State& state, Version version) {
  const std::string name = topic(1);
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    for (int i = 0; i < kPackets; ++i) {
      encode(bytes, version,
             PublishPacket{.topic = name, .payload = kPayload, .packet_id = 7, .qos = 1});
    }
    benchmark::DoNotOptimize(bytes.data());
  }
  per_packet(state);
}
BENCHMARK_CAPTURE(encode_publish, v311, Version::k311);
BENCHMARK_CAPTURE(encode_publish, v5, Version::k5);

void encode_puback(benchmark::State& state) {
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    for (int i = 0; i < kPackets; ++i) {
      encode(bytes, Version::k311, PacketType::kPuback,
             Ack{.packet_id = static_cast<std::uint16_t>(i + 1)});
    }
    benchmark::DoNotOptimize(bytes.data());
  }
  per_packet(state);
}
BENCHMARK(encode_puback);

// range(0): topics in turn. 64 and 1,000 are remembered, 10,000 are not.
void check_topic(benchmark::State& state) {
  const WriteRules rules = WriteRules::create({"site/#"}, {}).value();
  TopicCache cache(rules);
  std::vector<std::string> topics;
  for (int i = 0; i < state.range(0); ++i) {
    topics.push_back(topic(i));
  }
  std::size_t next = 0;
  for (auto _ : state) {
    for (int i = 0; i < kPackets; ++i) {
      benchmark::DoNotOptimize(cache.find(topics[next]));
      next = next + 1 == topics.size() ? 0 : next + 1;
    }
  }
  per_packet(state);
}
BENCHMARK(check_topic)->Arg(64)->Arg(1'000)->Arg(10'000);

}  // namespace
}  // namespace headwater::mqtt

BENCHMARK_MAIN();
