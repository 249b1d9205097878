// What taking one 150-byte QoS 1 publish costs: framing, checks, copy, acknowledgement.
//
// The publisher writes prepared packets in bursts on a socket pair of the loopback; only take(),
// acknowledge() and flush() are on the clock (the reads and sends of the kernel included).
#include <benchmark/benchmark.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <vector>

#include "io/loop.h"
#include "io/socket.h"
#include "protocol/mqtt/codec.h"
#include "protocol/mqtt/listener.h"

namespace headwater::mqtt {
namespace {

constexpr std::string_view kTopic = "sensors/press-0042/readings";
const std::string kPayload(
    R"({"device_id":"press-0042","timestamp":"2024-05-01T12:00:00.000Z","temperature":71.25,)"
    R"("pressure":4.125,"vibration":0.033,"seq":1234567})");

void decode_one(benchmark::State& state) {
  std::string bytes;
  encode(bytes, Version::k5,
         PublishPacket{.topic = kTopic, .payload = kPayload, .packet_id = 7, .qos = 1});
  Frame frame;
  PublishPacket out;
  for (auto _ : state) {
    benchmark::DoNotOptimize(bytes.data());
    if (next_frame(bytes, 1 << 20, &frame) != Framing::kFrame ||
        !decode_publish(frame, Version::k5, &out).ok()) {
      state.SkipWithError("decode failed");
    }
    benchmark::DoNotOptimize(out);
  }
}
BENCHMARK(decode_one);

// range(0): whether the session outlives the connection (repeats are remembered).
// range(1): whether kernel time is left out, by reading from a burst that is already in the stash.
void take_qos1(benchmark::State& state) {
  constexpr std::uint16_t kBurst = 900;
  auto loop = *io::Loop::create();
  std::array<io::Loop*, 1> loops = {loop.get()};
  ListenerOptions options;
  options.address = "127.0.0.1:0";
  options.topics = {"sensors/+/readings"};
  auto group = *ListenerGroup::open(options, loops);
  group->start();
  Listener& listener = group->worker(0);
  io::Fd fd = *io::connect_tcp(*io::numeric_address("127.0.0.1", group->port()));
  pollfd writable{fd.get(), POLLOUT, 0};
  ::poll(&writable, 1, 1000);
  std::string bytes;
  Connect connect;
  connect.client_id = "bench";
  if (state.range(0) != 0) {
    connect.properties.session_expiry = 60;
  }
  encode(bytes, connect);
  (void)!::send(fd.get(), bytes.data(), bytes.size(), 0);
  std::string burst;
  for (std::uint16_t i = 1; i <= kBurst; ++i) {
    encode(burst, Version::k5,
           PublishPacket{.topic = kTopic, .payload = kPayload, .packet_id = i, .qos = 1});
  }
  Arena arena;
  std::vector<Publish> out;
  std::array<char, 65'536> bin;
  std::int64_t messages = 0;
  for (auto _ : state) {
    state.PauseTiming();
    std::size_t sent = 0;
    std::size_t taken = 0;
    while (sent < burst.size()) {
      const ssize_t now = ::send(fd.get(), burst.data() + sent, burst.size() - sent, MSG_DONTWAIT);
      sent += now > 0 ? static_cast<std::size_t>(now) : 0;
      if (now < 0) {
        break;
      }
    }
    while (taken < kBurst) {
      loop->run_once(Nanos{0});
      state.ResumeTiming();
      out.clear();
      arena.clear();
      listener.take(4096, arena, out);
      if (!out.empty()) {
        listener.acknowledge(out.back().client, out.back().position);
        listener.flush();
      }
      state.PauseTiming();
      taken += out.size();
      if (sent < burst.size()) {
        const ssize_t now =
            ::send(fd.get(), burst.data() + sent, burst.size() - sent, MSG_DONTWAIT);
        sent += now > 0 ? static_cast<std::size_t>(now) : 0;
      }
    }
    while (recv(fd.get(), bin.data(), bin.size(), MSG_DONTWAIT) > 0) {
    }
    messages += kBurst;
    state.ResumeTiming();
  }
  state.SetItemsProcessed(messages);
}
BENCHMARK(take_qos1)->Arg(0)->Arg(1)->ArgName("session")->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace headwater::mqtt

BENCHMARK_MAIN();
