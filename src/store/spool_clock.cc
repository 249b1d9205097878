#include "store/spool_clock.h"

#include <sys/random.h>

#include <fstream>

#include "base/result.h"
#include "io/loop.h"

namespace headwater {
namespace {

// The kernel's id of this boot; random where there is none.
Id128 read_boot_id() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(in, text);
  std::erase(text, '-');
  Id128 id;
  if (text.size() != 32 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    HW_CHECK(getrandom(&id, sizeof id, 0) == static_cast<ssize_t>(sizeof id),
             "the kernel gives 16 random bytes at once");
    return id;
  }
  id.high = std::stoull(text.substr(0, 16), nullptr, 16);
  id.low = std::stoull(text.substr(16), nullptr, 16);
  return id;
}

class MachineClock final : public SpoolClock {
 public:
  WallTime wall() const override { return io::wall_now(); }
  MonoTime mono() const override { return io::mono_now(); }
  Id128 boot_id() const override { return boot_id_; }

 private:
  const Id128 boot_id_ = read_boot_id();
};

}  // namespace

const SpoolClock& machine_clock() {
  static const MachineClock clock;
  return clock;
}

std::string encode_uptime_mark(const UptimeMark& mark) {
  std::string blob;
  ByteWriter writer(blob);
  writer.put(mark.boot_id.high);
  writer.put(mark.boot_id.low);
  writer.put(mark.mono.ns);
  writer.put(mark.uptime);
  return blob;
}

std::optional<UptimeMark> decode_uptime_mark(std::string_view blob) {
  ByteReader in(blob);
  UptimeMark mark;
  mark.boot_id.high = in.get<std::uint64_t>();
  mark.boot_id.low = in.get<std::uint64_t>();
  mark.mono.ns = in.get<std::int64_t>();
  mark.uptime = in.get<std::uint64_t>();
  return in.ok() ? std::optional(mark) : std::nullopt;
}

}  // namespace headwater
