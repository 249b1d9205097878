// Plays a recording as devices would: one JSON message per row of a CSV file or line of a JSONL
// file, with the moment at which each is due. `headwater simulate` sends what it yields.
//
//   auto player = HW_TRY(Player::open({.path = "machine.csv", .rename = {{"value", "celsius"}}}));
//   while (auto message = HW_TRY(player->next())) {
//     wait_until(start + message->due);
//     client.publish(message->topic, message->payload);
//   }
//
// CSV: the first line names the columns; the separator is the one of , ; tab that this line has
// most of; RFC 4180 quotes. A cell that is a JSON number travels digit for digit, true and false
// become booleans, an empty cell or NaN becomes null, all else a string. JSONL: a line travels byte
// for byte, also one that is no JSON (so a dead letter can be provoked); empty lines are skipped.
//
// Not thread-safe. Reads the file as it goes: memory does not grow with its size.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace headwater {

struct PlayerOptions {
  std::string path;  // .csv; .jsonl, .ndjson, .json; else by the first character, '{' being JSONL
  std::string topic = "sensors/${device_id}/readings";  // ${NAME}: a column or top-level field
  std::string device_field = "device_id";  // names the device; added to CSV rows if absent
  std::string device{};                    // where the row does not say; empty: the file's name
  std::uint32_t devices = 1;  // play each row as that many devices: DEVICE-1, DEVICE-2, …
  std::vector<std::pair<std::string, std::string>> rename{};  // CSV columns: from, to
  std::string time_field{};        // empty: the first of timestamp, time, datetime, event_time, ts
  std::string message_id_field{};  // empty: none; else a field "FILE:PASS:LINE", "-N" for device N
  double rate = 0;                 // messages a second; 0: all are due at once
  double speed = 0;                // multiple of the recording's own pace; not together with rate
  std::uint32_t repeat = 1;        // passes; 0: for ever. Times go on from pass to pass.
};

struct PlayedMessage {
  std::string_view topic;
  std::string_view payload;
  std::string_view device;
  Nanos due{0};             // after the first message; never decreases
  std::uint64_t index = 0;  // 0, 1, 2, …
};

class Player {
 public:
  // Invalid: no such column, an unknown or contradictory option, an empty file, a topic that is not
  // one a device may publish to. Not_found: no such file.
  static Result<std::unique_ptr<Player>> open(PlayerOptions options);
  virtual ~Player() = default;

  // The next message, or nothing at the end. The views are good until the next call. Invalid names
  // the line: a CSV row with another number of cells than the header, a time that cannot be read
  // where `speed` or a second pass needs it; the row is skipped and the call may be repeated.
  virtual Result<std::optional<PlayedMessage>> next() = 0;

 protected:
  Player() = default;
};

}  // namespace headwater
