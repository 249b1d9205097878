// What the log remembers of rows beside their bytes, so that reads by time and device pass segments
// by: spans of event times and keys of devices. Collected by Transaction::append, merged for a
// segment by the flusher; the bytes are in docs/formats/spool.md, "Segment".
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "store/lane.h"

namespace headwater {

// A device in a lane; never 0.
inline std::uint64_t device_key(Lane lane, std::string_view device) {
  return hash64(device, index_of(lane)) | 1U;
}

// A Bloom filter of device keys: 24,576 bits, 4 for each key. 1,000 keys answer "maybe" wrongly in
// one case of 2,000, 5,000 keys in one of 10.
class DeviceFilter {
 public:
  static constexpr std::size_t kBytes = 3072;

  void add(std::uint64_t key) {
    for (std::uint32_t probe = 0; probe < kProbes; ++probe) {
      const std::size_t bit = bit_of(key, probe);
      bytes_[bit / 8] = static_cast<char>(bytes_[bit / 8] | (1 << (bit % 8)));
    }
  }
  // `bytes` are kBytes of a filter.
  static bool may_hold(std::string_view bytes, std::uint64_t key) {
    for (std::uint32_t probe = 0; probe < kProbes; ++probe) {
      const std::size_t bit = bit_of(key, probe);
      if ((bytes[bit / 8] & (1 << (bit % 8))) == 0) {
        return false;
      }
    }
    return true;
  }
  std::string_view bytes() const { return {bytes_.data(), bytes_.size()}; }
  void clear() { bytes_.fill(0); }

 private:
  static constexpr std::uint32_t kProbes = 4;
  static std::size_t bit_of(std::uint64_t key, std::uint32_t probe) {
    const auto from = static_cast<std::uint32_t>(key >> 32);
    const auto step = static_cast<std::uint32_t>(key);  // odd
    return static_cast<std::uint32_t>(from + probe * step) % (kBytes * 8);
  }

  std::array<char, kBytes> bytes_{};
};

struct RowFacts {
  struct Span {  // first is above last: no rows
    std::int64_t first = std::numeric_limits<std::int64_t>::max();
    std::int64_t last = std::numeric_limits<std::int64_t>::min();

    void add(const Span& other) {
      first = std::min(first, other.first);
      last = std::max(last, other.last);
    }
  };
  std::array<Span, kLanes> spans;
  std::vector<std::uint64_t> devices;  // keys; some may come more than once

  void add(const RowFacts& other) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      spans[lane].add(other.spans[lane]);
    }
    devices.insert(devices.end(), other.devices.begin(), other.devices.end());
  }
  void clear() {  // keeps the memory
    spans.fill({});
    devices.clear();
  }
};

// Collects them row by row; most keys come once.
class RowFactsBuilder {
 public:
  void add(Lane lane, std::string_view device, WallTime time) {
    facts_.spans[index_of(lane)].add({time.ns, time.ns});
    const std::uint64_t key = device_key(lane, device);
    std::uint64_t& seen = seen_[place(key)];
    if (seen != key) {
      seen = key;
      facts_.devices.push_back(key);
    }
  }
  RowFacts& facts() { return facts_; }
  void clear() {
    for (const std::uint64_t key : facts_.devices) {
      seen_[place(key)] = 0;
    }
    facts_.clear();
  }

 private:
  static std::size_t place(std::uint64_t key) { return (key >> 8) % 64; }

  RowFacts facts_;
  std::array<std::uint64_t, 64> seen_{};  // the last key of each place; no key is 0
};

}  // namespace headwater
