// What the tests of the store share.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "io/fault_files.h"
#include "store/spool.h"

namespace headwater {

inline SpoolOptions small_options() {
  SpoolOptions options;
  options.dir = "spool";
  options.max_bytes = std::uint64_t{1} << 20;
  options.segment_bytes = 256 * 1024;
  options.min_free = 0;
  options.commit_delay = Nanos{0};
  options.retry_delay = std::chrono::milliseconds(1);
  options.limits_after = Nanos{0};
  return options;
}

// Clocks that a test sets. Any thread.
class FakeClock final : public SpoolClock {
 public:
  WallTime wall() const override { return {wall_.load()}; }
  MonoTime mono() const override { return {mono_.load()}; }
  Id128 boot_id() const override { return {1, boot_.load()}; }

  void advance(Nanos by) {
    mono_ += by.count();
    wall_ += by.count();
  }
  void jump_wall(Nanos by) { wall_ += by.count(); }
  // The monotonic clock of a new boot begins anew.
  void reboot(MonoTime mono = {1'000'000'000}) {
    ++boot_;
    mono_ = mono.ns;
  }

 private:
  std::atomic<std::int64_t> wall_{1'700'000'000'000'000'000};
  std::atomic<std::int64_t> mono_{5'000'000'000};
  std::atomic<std::uint64_t> boot_{1};
};

inline constexpr Nanos kPatience = std::chrono::seconds(20);

// Whether it holds within kPatience.
inline bool until(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    std::this_thread::yield();
  }
  return true;
}

inline StoredRow sample_row(std::string_view payload) {
  StoredRow row;
  row.device = "press-7";
  row.topic = "sensors/press-7/readings";
  row.sender = "press-7";
  row.payload = payload;
  row.time = {1'700'000'000'000'000'000};
  row.received = {1'700'000'000'000'250'000};
  return row;
}

// The payloads of a lane from a sequence on; gaps as "gap 3-5".
inline std::vector<std::string> read_lane(SpoolReader& reader) {
  std::vector<std::string> out;
  while (true) {
    auto item = reader.next();
    if (!item) {
      out.push_back("error " + item.error().text());
      return out;
    }
    switch (*item) {
      case ReadItem::kEnd:
        return out;
      case ReadItem::kRow:
        out.emplace_back(reader.row().row.payload);
        break;
      case ReadItem::kGap:
        out.push_back(fmt::format("{} {}-{}", gap_reason_name(reader.gap().reason),
                                  reader.gap().first, reader.gap().last));
        break;
      case ReadItem::kDecisions:
        out.push_back(
            fmt::format("decided {}+{}", reader.decisions().first, reader.decisions().count));
        break;
    }
  }
}

inline std::vector<std::string> read_lane(const Spool& spool, Lane lane, std::uint64_t from = 1) {
  const auto reader = spool.read(lane, from);
  return read_lane(*reader);
}

inline Submitted append(Spool& spool, std::string_view payload, Lane lane = Lane::kReadings) {
  Transaction transaction;
  transaction.append(lane, 0, sample_row(payload));
  auto submitted = spool.submit(transaction);
  HW_CHECK(submitted.ok(), submitted ? "" : submitted.error().text());
  return *submitted;
}

}  // namespace headwater
