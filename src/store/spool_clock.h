// SpoolClock: the clocks of the machine as the spool sees them, and the uptime that age is counted
// in. A test passes its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/time.h"

namespace headwater {

class SpoolClock {
 public:
  virtual ~SpoolClock() = default;
  virtual WallTime wall() const = 0;
  virtual MonoTime mono() const = 0;  // of this boot
  virtual Id128 boot_id() const = 0;
};

// The machine's. Lives as long as the process. Without a boot id it makes one up: each process then
// counts as a boot.
const SpoolClock& machine_clock();

// The uptime of a spool: time since it was made, as far as it is known. A boot counts from its
// start of the spool to its last frame, and also the time between two starts in one boot; time
// without power is not known and not counted. The wall clock has no part in it.
//
// The bytes of the mark are in docs/formats/spool.md, "States of the spool's own".
struct UptimeMark {
  Id128 boot_id;
  MonoTime mono;
  std::uint64_t uptime = 0;  // ns, at `mono` of that boot; a spool begins at 1
};
inline constexpr std::string_view kConsumersState = "store/consumers";
inline constexpr std::string_view kUptimeState = "store/uptime";
std::string encode_uptime_mark(const UptimeMark& mark);
std::optional<UptimeMark> decode_uptime_mark(std::string_view blob);

}  // namespace headwater
