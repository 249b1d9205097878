// The texts of alarms: the notation of delays, and ids.
#include <charconv>

#include "base/strings.h"
#include "compute/alarm.h"

namespace headwater {
namespace {

constexpr std::uint32_t kMaxOf = 64;
constexpr std::uint64_t kAlertIdSeed = 0x616c657274'0001;  // "alert", version 1

}  // namespace

Result<Delay> Delay::parse(std::string_view text) {
  Delay delay;
  text = trim(text);
  const std::size_t of = text.find(" of ");
  if (of == std::string_view::npos) {
    delay.duration = HW_TRY(
        parse_duration(text).with("'{}' is no delay (write it like \"5s\" or \"3 of 5\")", text));
    return delay;
  }
  const auto number = [](std::string_view digits, std::uint32_t& out) {
    digits = trim(digits);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return read.ec == std::errc() && read.ptr == digits.data() + digits.size();
  };
  if (!number(text.substr(0, of), delay.count) || !number(text.substr(of + 4), delay.of) ||
      delay.count == 0 || delay.count > delay.of || delay.of > kMaxOf) {
    return Error::invalid("'{}' is no delay: \"k of n\" needs 1 <= k <= n <= {}", text, kMaxOf);
  }
  return delay;
}

std::string alert_id(Id128 identity, std::string_view rule, std::string_view model_digest,
                     WallTime onset) {
  std::string bytes;
  ByteWriter out(bytes);
  out.put(identity.high);
  out.put(identity.low);
  out.put_string(rule);
  out.put_string(model_digest);
  out.put(onset.ns);
  return hash128(bytes, kAlertIdSeed).hex();
}

}  // namespace headwater
