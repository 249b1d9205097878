// Fleet: generated devices that publish numbered readings, keep what was not acknowledged, and send
// it again after a lost link or a restart of the edge. It knows every message there ever was and
// which ones were acknowledged.
//
// One device in four is steady: all its payloads are the same bytes, told apart only by the id of
// the message beside them. Values are a function of the seed, so a seed makes the same messages.
// One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "pipeline/source.h"

namespace headwater::torture {

// A message by its device and its number there, from 1.
struct MessageName {
  std::uint32_t device = 0;
  std::uint32_t number = 0;
  friend auto operator<=>(const MessageName&, const MessageName&) = default;
};

struct Message {
  std::string payload;
  Id128 identity;
  WallTime received;  // when the edge took it first
  bool acknowledged = false;
};

class Fleet {
 public:
  struct Options {
    std::uint64_t seed = 1;
    std::size_t devices = 8;
    std::size_t messages = 1000;      // new ones, all devices together
    std::size_t payload_bytes = 200;  // mean
    std::size_t window = 64;          // not acknowledged, per device
  };
  explicit Fleet(Options options);

  // Adds up to `room` messages: what must be sent again first, per device in order.
  void take(std::size_t room, Batch& batch);
  void acknowledge(Partition partition, Position upto);
  // The device gets a new link and sends again what was not acknowledged.
  void reconnect(std::size_t device);
  void reconnect_all();
  void jump_clock(Nanos by) { now_ = now_ + by; }
  // Messages a take() gives at most.
  void set_room(std::size_t room) { room_ = room; }
  // No new messages; what must be sent again still is.
  void hold(bool held) { held_ = held; }
  bool all_acknowledged() const { return acknowledged_ == made_; }
  // The sensors have `count` more to tell.
  void add_messages(std::size_t count) { options_.messages += count; }

  // Everything that was to be sent is acknowledged.
  bool done() const { return made_ == options_.messages && acknowledged_ == made_; }
  std::uint64_t acknowledged() const { return acknowledged_; }
  std::uint64_t sent_again() const { return sent_again_; }
  std::uint64_t bytes() const { return bytes_; }
  std::size_t devices() const { return devices_.size(); }
  const std::string& name(std::size_t device) const { return devices_[device].name; }
  const std::string& topic(std::size_t device) const { return devices_[device].topic; }
  const std::vector<Message>& messages(std::size_t device) const {
    return devices_[device].messages;
  }
  std::optional<MessageName> find(const Id128& identity) const;

 private:
  struct Device {
    std::string name;
    std::string topic;
    bool steady = false;
    std::vector<Message> messages;
    std::deque<std::uint32_t> again;  // numbers to send again
    std::deque<std::pair<Position, std::uint32_t>> in_flight;
    Partition link = 0;
    Position position = 0;
  };
  std::string payload_of(const Device& device, std::uint32_t number);
  bool send_one(std::size_t index, Batch& batch);

  Options options_;
  std::mt19937_64 random_;
  std::vector<Device> devices_;
  std::map<Partition, std::size_t> links_;
  std::unordered_map<Id128, MessageName> names_;
  Partition next_link_ = 1;
  WallTime now_{1'700'000'000'000'000'000};
  std::size_t room_ = ~std::size_t{0};
  bool held_ = false;
  std::size_t turn_ = 0;
  std::size_t made_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::uint64_t sent_again_ = 0;
  std::uint64_t bytes_ = 0;
};

// The fleet as a source of an intake; the fleet outlives it.
class FleetSource final : public Source {
 public:
  explicit FleetSource(Fleet& fleet) : fleet_(fleet) {}
  Status start(io::Loop&) override { return {}; }
  Result<More> take(std::size_t room, Batch& batch) override {
    fleet_.take(room, batch);
    return More::kNone;
  }
  Status acknowledge(Partition partition, Position upto) override {
    fleet_.acknowledge(partition, upto);
    return {};
  }
  void pause(bool) override {}
  void close() override {}

 private:
  Fleet& fleet_;
};

}  // namespace headwater::torture
