#include "torture/fleet.h"

#include <fmt/format.h>

#include <algorithm>

namespace headwater::torture {
namespace {

constexpr std::size_t kSteadyOneIn = 4;
constexpr std::int64_t kTickNanos = 1'000'000;
// Rows of an episode: a device reads high for so many rows of every so many.
constexpr std::uint32_t kEpisodeEvery = 40;
constexpr std::uint32_t kEpisodeRows = 9;

}  // namespace

Fleet::Fleet(Options options) : options_(options), random_(options.seed) {
  devices_.resize(options_.devices);
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    Device& device = devices_[i];
    device.steady = i % kSteadyOneIn == kSteadyOneIn - 1;
    device.name = fmt::format("{}-{}", device.steady ? "steady" : "press", i);
    device.topic = fmt::format("sensors/{}/readings", device.name);
    device.link = next_link_++;
    links_.emplace(device.link, i);
  }
}

std::string Fleet::payload_of(const Device& device, std::uint32_t number) {
  if (device.steady) {
    return R"({"value": 20.5, "unit": "C"})";
  }
  const bool high = number % kEpisodeEvery < kEpisodeRows && number > kEpisodeEvery;
  const double value = (high ? 110.0 : 20.0) + static_cast<double>(random_() % 1000) / 100.0;
  const std::size_t pad = random_() % (2 * options_.payload_bytes + 1);
  return fmt::format(R"({{"value": {:.2f}, "number": {}, "note": "{}"}})", value, number,
                     std::string(pad, static_cast<char>('a' + number % 26)));
}

bool Fleet::send_one(std::size_t index, Batch& batch) {
  Device& device = devices_[index];
  std::uint32_t number = 0;
  if (!device.again.empty()) {
    number = device.again.front();
    device.again.pop_front();
    ++sent_again_;
  } else if (!held_ && device.in_flight.size() < options_.window && made_ < options_.messages) {
    number = static_cast<std::uint32_t>(device.messages.size() + 1);
    Message message;
    message.payload = payload_of(device, number);
    message.identity = hash128(fmt::format("{}/{}", device.name, number), options_.seed);
    now_ = {now_.ns + kTickNanos};
    message.received = now_;
    names_.emplace(message.identity, MessageName{static_cast<std::uint32_t>(index), number});
    device.messages.push_back(std::move(message));
    ++made_;
  } else {
    return false;
  }
  const Message& message = device.messages[number - 1];
  Row row;
  row.payload = batch.arena().copy(message.payload);
  row.topic = batch.arena().copy(device.topic);
  row.sender = batch.arena().copy(device.name);
  row.partition = device.link;
  row.position = ++device.position;
  row.received = message.received;
  row.arrived = io::mono_now();
  row.identity = message.identity;
  row.flags = kRowDeclaredId;
  bytes_ += message.payload.size();
  device.in_flight.emplace_back(row.position, number);
  batch.add_row(row);
  return true;
}

void Fleet::take(std::size_t room, Batch& batch) {
  room = std::min(room, room_);
  std::size_t idle = 0;
  while (batch.rows() < room && idle < devices_.size()) {
    turn_ = (turn_ + 1) % devices_.size();
    const std::size_t burst = 1 + random_() % 4;
    std::size_t sent = 0;
    while (sent < burst && batch.rows() < room && send_one(turn_, batch)) {
      ++sent;
    }
    idle = sent == 0 ? idle + 1 : 0;
  }
}

void Fleet::acknowledge(Partition partition, Position upto) {
  const auto link = links_.find(partition);
  if (link == links_.end()) {
    return;  // the link is gone: the device never hears of it
  }
  Device& device = devices_[link->second];
  while (!device.in_flight.empty() && device.in_flight.front().first <= upto) {
    Message& message = device.messages[device.in_flight.front().second - 1];
    acknowledged_ += message.acknowledged ? 0 : 1;
    message.acknowledged = true;
    device.in_flight.pop_front();
  }
}

void Fleet::reconnect(std::size_t index) {
  Device& device = devices_[index];
  links_.erase(device.link);
  device.link = next_link_++;
  links_.emplace(device.link, index);
  device.position = 0;
  std::deque<std::uint32_t> again;
  for (const auto& [position, number] : device.in_flight) {
    again.push_back(number);
  }
  again.insert(again.end(), device.again.begin(), device.again.end());
  device.again = std::move(again);
  device.in_flight.clear();
}

void Fleet::reconnect_all() {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    reconnect(i);
  }
}

std::optional<MessageName> Fleet::find(const Id128& identity) const {
  const auto found = names_.find(identity);
  return found == names_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace headwater::torture
