// Sample: the messages of a benchmark, ready to be sent over and over.
//
// Where the config's source says which field is the event time and which the message id, each
// message gets both anew: the time at which it is due, in the form it had, and an id that no other
// message has. Else the second pass over a sample would be late, or a repeat. Both are of fixed
// width, so that sending a message is a copy and two small writes. What is no JSON object stays as
// it is: a dead letter each time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "edge/plan.h"

namespace headwater::bench {

struct RawMessage {
  std::string topic;
  std::string payload;
  std::string device;
};

// Bytes of a message that differ each time.
enum class Stamp : std::uint8_t { kRfc3339, kSeconds, kMillis, kMicros, kNanos, kNumber };

struct StampPlace {
  Stamp stamp = Stamp::kNumber;
  std::uint32_t at = 0;  // in the payload
};

struct Message {
  std::string topic;
  std::string payload;
  std::string device;
  std::vector<StampPlace> stamps;  // one or two
};

// Fills the places of `message` in `payload`, a copy of its payload. Keeps the text of the last
// time: most messages of a batch share it. One per thread.
class Stamper {
 public:
  void fill(const Message& message, char* payload, WallTime time, std::uint64_t number);

 private:
  std::int64_t millis_ = -1;
  std::string rfc3339_;
};

struct SourceFacts {
  std::string source;
  std::string pipeline;             // that it feeds
  std::string kind;                 // "mqtt_listen"
  std::string topic;                // "sensors/${DEVICE}/readings"
  std::string device_field;         // "" where the device is not a field
  std::string time_field;           // "" where the arrival counts
  std::string id_field;             // "" where there is none
  std::vector<std::string> fields;  // numbers that steps and models read; for made-up messages
};

// Of the source that is to get the load: `wanted`, or the first listener that feeds a pipeline, or
// the first source that does.
Result<SourceFacts> source_facts(const Plan& plan, std::string_view wanted);

Message make_message(RawMessage raw, const SourceFacts& facts);

// Messages made of the fields alone: `devices` devices, values that wander between 40 and 60. What
// they say about alerts means nothing.
std::vector<Message> made_up_messages(const SourceFacts& facts, std::uint32_t devices);

// Whether a load can come through this listener.
Status check_listener(const Plan& plan, const SourceFacts& facts);

// What the steps aim at: the least `objective` of a detect step; 20 ms where none says.
Nanos objective_of(const Plan& plan);
// "p99=20ms", "20ms".
Result<Nanos> parse_objective(std::string_view text);

}  // namespace headwater::bench
