#include "compute/json_decode.h"

#include <cmath>
#include <utility>

#include "base/bytes.h"
#include "compute/device.h"
#include "compute/event_time.h"
#include "nodes/decode/unpack.h"
#include "nodes/expression.h"
#include "nodes/sources/reading_options.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr std::string_view kStateKey = "types";
// Separates declared message ids from other identities.
constexpr std::uint64_t kMessageIdSeed = 0x6d65737361676569ULL;

class JsonDecode final : public Decode {
 public:
  JsonDecode(DecodeOptions decode, DeviceOptions device, EventTimeOptions time,
             std::string message_id, UnpackOptions unpack)
      : unpacker_(std::move(unpack)),
        decoder_(std::move(decode)),
        device_(std::move(device)),
        time_(std::move(time)),
        message_id_(std::move(message_id)) {}

  void unpack(Batch& batch) override { unpacker_.unpack(batch); }

  Status decode(Batch& batch, std::vector<Undecoded>& failed, std::uint64_t& unfit) override {
    failures_.clear();
    stats_ = DecodeStats{};
    HW_TRY(decoder_.decode(batch, stats_, failures_));
    unfit += stats_.mismatches;
    if (batch.rows() != 0 && (batch.row(0).flags & kRowReplayed) == 0) {
      device_.resolve(batch, devices_, failures_);
      const std::uint64_t before = times_.invalid;
      time_.resolve(batch, times_);
      unfit += times_.invalid - before;
      if (!message_id_.empty()) {
        identify(batch);
      }
    }
    for (DecodeFailure& failure : failures_) {
      failed.push_back({failure.row, std::move(failure.reason)});
    }
    return {};
  }

  bool changed() override {
    const std::size_t fields = decoder_.learned().size();
    return std::exchange(known_fields_, fields) != fields;
  }

  void save(StateWriter& state) override {
    std::string blob;
    ByteWriter writer(blob);
    decoder_.save(writer);
    state.put(kStateKey, blob);
  }

  Status restore(const StateReader& state) override {
    const std::string blob = state.get(kStateKey);
    if (blob.empty()) {
      return {};
    }
    ByteReader reader(blob);
    HW_TRY(decoder_.restore(reader));
    known_fields_ = decoder_.learned().size();
    return {};
  }

 private:
  // Identity = hash of device and message id. A row without one keeps what the source gave.
  void identify(Batch& batch) {
    const Column* ids = batch.find(message_id_);
    for (const std::uint32_t index : batch.selection()) {
      Row& row = batch.row(index);
      if ((row.flags & kRowUndecoded) != 0) {
        continue;
      }
      key_.assign(row.device);
      key_ += '\0';
      if (ids == nullptr || !ids->valid(index) || !append_id(*ids, index)) {
        tell_of_missing_id(ids);
        continue;
      }
      row.identity = hash128(key_, kMessageIdSeed);
      row.flags |= kRowDeclaredId;
    }
  }

  // Once: a field of the wrong name or type would otherwise end the search for repeats in silence.
  void tell_of_missing_id(const Column* ids) {
    if (std::exchange(told_of_missing_id_, true)) {
      return;
    }
    log::warn("a reading has no message id that can be used: repeats of such are stored",
              {{"message_id", message_id_},
               {"type", ids == nullptr ? std::string_view("unknown") : type_name(ids->type())},
               {"remedy", "declare the field's type in schema:, or mend the device"}});
  }

  // False: a number that a float64 cannot tell from its neighbours identifies nothing. Declared
  // int64 it does.
  bool append_id(const Column& ids, std::uint32_t index) {
    constexpr double kExact = 9'007'199'254'740'992.0;  // 2^53
    if (ids.type() == Type::kString) {
      key_ += ids.values<std::string_view>()[index];
      return true;
    }
    const double number = ids.as_double(index);
    if (std::fabs(number) < kExact) {
      key_.append(reinterpret_cast<const char*>(&number), sizeof number);
      return true;
    }
    if (ids.type() != Type::kInt64) {
      return false;
    }
    const std::int64_t whole = ids.values<std::int64_t>()[index];
    key_ += 'i';  // apart from the bytes of a float64
    key_.append(reinterpret_cast<const char*>(&whole), sizeof whole);
    return true;
  }

  Unpacker unpacker_;
  JsonDecoder decoder_;
  DeviceResolver device_;
  EventTime time_;
  std::string message_id_;
  bool told_of_missing_id_ = false;
  std::string key_;  // reused
  std::size_t known_fields_ = 0;
  DecodeStats stats_;
  DeviceStats devices_;
  EventTimeStats times_;
  std::vector<DecodeFailure> failures_;
};

}  // namespace

Schema declared_schema(const ReadingOptions& options) {
  Schema declared;
  for (const auto& [name, type] : options.schema) {
    if (const auto known = type_from_name(type)) {
      declared.set({name, *known, {}});
    }
  }
  return declared;
}

std::optional<CsvDocumentOptions> csv_options(const ReadingOptions& options,
                                              const config::Node& node,
                                              config::Diagnostics& diagnostics) {
  CsvDocumentOptions csv;
  csv.columns = options.columns;
  csv.declared = declared_schema(options);
  csv.max_records = options.max_elements;
  const std::string& delimiter = options.delimiter;
  if (delimiter.size() != 1 || delimiter.find_first_of("\"\r\n") != std::string::npos) {
    diagnostics.error(option_node(node, "delimiter"),
                      "a delimiter is one byte, and no quote or line end");
    return std::nullopt;
  }
  csv.csv.delimiter = delimiter[0];
  const std::vector<std::string_view> names(csv.columns.begin(), csv.columns.end());
  if (!names.empty()) {
    if (const auto made = CsvObjects::create(names, csv.declared); !made) {
      diagnostics.error(option_node(node, "columns"), made.error().text());
      return std::nullopt;
    }
  }
  return csv;
}

ReadingOptions without_csv(ReadingOptions options) {
  options.format = ReadingFormat::kJson;
  options.columns.clear();
  options.delimiter = ReadingOptions().delimiter;
  return options;
}

std::unique_ptr<Decode> make_json_decode(const ReadingOptions& options, const config::Node& node,
                                         config::Diagnostics& diagnostics) {
  bool good = true;
  for (const auto& [name, type] : options.schema) {
    const auto known = type_from_name(type);
    if (!known || *known == Type::kFrame) {
      diagnostics.error(option_node(option_node(node, "schema"), name),
                        fmt::format("'{}' is no type; types are float64, float32, int64, bool, "
                                    "string, bytes and timestamp",
                                    type));
      good = false;
    }
  }
  Result<DeviceOptions> device = parse_device(options.device);
  if (!device) {
    diagnostics.error(option_node(node, "device"), device.error().text());
    good = false;
  }
  const Result<DeviceOptions::Missing> missing = parse_missing_device(options.missing_device);
  if (!missing) {
    diagnostics.error(option_node(node, "missing_device"), missing.error().text());
    good = false;
  }
  const Result<int> zone = parse_zone_offset(options.time.zone);
  if (!zone) {
    diagnostics.error(option_node(option_node(node, "time"), "zone"), zone.error().text());
    good = false;
  }
  UnpackOptions unpack;
  unpack.max_elements = options.max_elements;
  if (options.format == ReadingFormat::kCsv) {
    unpack.csv = csv_options(options, node, diagnostics);
    good = good && unpack.csv.has_value();
  } else if (!options.columns.empty() || options.delimiter != ReadingOptions().delimiter) {
    diagnostics.error(option_node(node, options.columns.empty() ? "delimiter" : "columns"),
                      "is for CSV: say `format: csv`");
    good = false;
  }
  if (!good) {
    return nullptr;
  }
  device->missing = *missing;
  EventTimeOptions time;
  time.field = options.time.field;
  time.format = time_format_from_name(options.time.format).value_or(TimeFormat::kAuto);
  time.zone_offset_minutes = *zone;
  time.max_future = options.time.max_future;
  DecodeOptions decode;
  decode.schema = declared_schema(options);
  decode.max_depth = options.max_depth;
  decode.max_fields = options.max_fields;
  return std::make_unique<JsonDecode>(std::move(decode), std::move(*device), std::move(time),
                                      options.message_id, std::move(unpack));
}

}  // namespace headwater
