// Load: messages into a pipeline at a pace, in an open loop, with the time of each from when it was
// due to when it was acknowledged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/sample.h"
#include "edge/agent.h"
#include "telemetry/metrics.h"

namespace headwater::bench {

struct LoadCounts {
  std::uint64_t sent = 0;          // given to the pipeline
  std::uint64_t acknowledged = 0;  // of them
  std::uint64_t waiting = 0;       // due and not sent, because the pipeline does not take them
};

// Thread rule: any thread.
class Load {
 public:
  virtual ~Load() = default;

  // What stands at the ends of the agent instead of devices and receivers.
  virtual AgentEnds ends() = 0;
  // Once, when the agent runs.
  virtual Status start(const Agent& agent) = 0;
  // Messages a second from now on; what waits is dropped.
  virtual void pace(double rate) = 0;
  virtual LoadCounts counts() const = 0;
  // Seconds from due to acknowledged.
  virtual const telemetry::Histogram& acknowledged() const = 0;
  // What went wrong on the way; "" for nothing.
  virtual std::string trouble() const = 0;
  // While the agent still runs: no more messages.
  virtual void stop() = 0;
};

// On the workers' own threads, through a source of its own: the way from take() on.
std::unique_ptr<Load> make_in_process_load(const std::vector<Message>& messages,
                                           std::string source);
// Over MQTT 3.1.1 and QoS 1 to the listener of the config, from one thread. One connection per
// device, or at most `connections`, with clients "bench-N" that share the devices.
std::unique_ptr<Load> make_listener_load(const std::vector<Message>& messages, std::string source,
                                         std::size_t connections);

// The name of the thread of a load that has one.
inline constexpr const char* kLoadThread = "hw-bench-load";

// A source that gives nothing, a sink and an uplink that take everything: for the other ends.
AgentEnds silent_ends();

}  // namespace headwater::bench
