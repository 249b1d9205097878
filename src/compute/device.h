// Device: where a reading's device id comes from (`device: topic[1]`, `missing_device:
// dead_letter`).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/json_decode.h"
#include "data/batch.h"

namespace headwater {

struct DeviceOptions {
  enum class From : std::uint8_t { kTopicLevel, kTopic, kSender, kField };
  enum class Missing : std::uint8_t { kDeadLetter, kTopic, kSender };

  From from = From::kSender;
  std::size_t level = 0;  // of the topic split at '/', from 0
  std::string field{};
  Missing missing = Missing::kDeadLetter;
};

// "topic[1]", "topic" (all of it), "client_id", "field[name]", or the name of a field. A field that
// is called "topic" or "client_id" needs the form with brackets.
Result<DeviceOptions> parse_device(std::string_view text);
// "dead_letter", "topic", "sender" (also "client_id").
Result<DeviceOptions::Missing> parse_missing_device(std::string_view text);

struct DeviceStats {
  std::uint64_t missing = 0;      // rows without a device of their own
  std::uint64_t dead_letter = 0;  // of them, refused
};

// Sets Row::device of the selected rows. A device is 1 to kMaxDeviceBytes bytes of UTF-8 without
// control characters; anything else counts as missing. Numbers from a field are written the
// shortest way ("42", "0.5"). With `missing: dead_letter`, or when the substitute is no device
// either, the row gets kRowUndecoded and a failure with the reason. Rows that are kRowUndecoded
// already get a device where topic or sender give one, and no second failure.
class DeviceResolver {
 public:
  static constexpr std::size_t kMaxDeviceBytes = 256;

  explicit DeviceResolver(DeviceOptions options) : options_(std::move(options)) {}
  // The device of a row with nothing but these; "" where they give none.
  std::string_view of(std::string_view topic, std::string_view sender) const;
  void resolve(Batch& batch, DeviceStats& stats, std::vector<DecodeFailure>& failures);

 private:
  std::string_view find(Batch& batch, const Column* column, std::size_t index) const;

  // Rows of one batch share their topics' views: what the same view gave is known.
  struct Known {
    std::uint64_t batch = 0;
    const char* topic = nullptr;
    std::size_t topic_size = 0;
    std::string_view device;
  };
  static constexpr std::size_t kKnown = 256;

  DeviceOptions options_;
  std::uint64_t batches_ = 0;
  std::array<Known, kKnown> known_{};
};

}  // namespace headwater
