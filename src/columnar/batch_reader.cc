#include "columnar/batch_reader.h"

#include <simdjson.h>
#include <zstd.h>

#include <array>
#include <optional>
#include <vector>

#include "base/strings.h"
#include "columnar/payload.h"

namespace headwater {
namespace {

namespace dom = simdjson::dom;

constexpr std::array<std::string_view, 5> kLanes = {"alerts", "readings", "samples", "dead_letter",
                                                    "debug"};

std::optional<Id128> parse_id(std::string_view hex) {
  if (hex.size() != 32) {
    return std::nullopt;
  }
  std::array<std::uint64_t, 2> halves{};
  for (std::size_t i = 0; i < 32; ++i) {
    const char c = hex[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) {
      return std::nullopt;
    }
    halves[i / 16] = halves[i / 16] << 4U | static_cast<std::uint64_t>(digit);
  }
  return Id128{halves[0], halves[1]};
}

// The members of one JSON object by name: each known one at most once, of the right type. Errors
// are kept; the caller asks once.
class Members {
 public:
  explicit Members(dom::object object) : object_(object) {}

  bool has(std::string_view name) { return find(name).has_value(); }
  std::uint64_t number(std::string_view name, std::uint64_t least = 0) {
    std::uint64_t value = 0;
    const auto found = need(name);
    if (found && (found->get(value) != simdjson::SUCCESS || value < least)) {
      fail(name, least == 0 ? "is no whole number" : "is no whole number from 1");
    }
    return value;
  }
  std::string_view text(std::string_view name) {
    std::string_view value;
    const auto found = need(name);
    if (found && found->get(value) != simdjson::SUCCESS) {
      fail(name, "is no string");
    }
    return value;
  }
  std::string_view optional_text(std::string_view name) { return has(name) ? text(name) : ""; }
  WallTime time(std::string_view name) {
    const std::string_view value = text(name);
    const Result<WallTime> at = parse_rfc3339(value);
    if (!at) {
      fail(name, "is no RFC 3339 time");
      return {};
    }
    return *at;
  }
  Id128 id(std::string_view name) {
    const auto value = parse_id(text(name));
    if (!value) {
      fail(name, "is no id of 32 hex digits");
    }
    return value.value_or(Id128{});
  }
  // Absent, or true.
  bool flag(std::string_view name) {
    const auto found = find(name);
    bool value = true;
    if (found && (found->get(value) != simdjson::SUCCESS || !value)) {
      fail(name, "is not true");
    }
    return found.has_value() && value;
  }
  double number_or_null(std::string_view name) {
    double value = std::numeric_limits<double>::quiet_NaN();
    const auto found = need(name);
    if (found && !found->is_null() && found->get(value) != simdjson::SUCCESS) {
      fail(name, "is no number");
    }
    return value;
  }
  std::optional<dom::object> object(std::string_view name) {
    dom::object value;
    const auto found = need(name);
    if (found && found->get(value) != simdjson::SUCCESS) {
      fail(name, "is no object");
      return std::nullopt;
    }
    return found ? std::optional(value) : std::nullopt;
  }
  // Absent: none.
  std::vector<dom::object> optional_objects(std::string_view name) {
    std::vector<dom::object> values;
    dom::array array;
    const auto found = find(name);
    if (!found) {
      return values;
    }
    if (found->get(array) != simdjson::SUCCESS) {
      fail(name, "is no array");
      return values;
    }
    for (const dom::element element : array) {
      dom::object value;
      if (element.get(value) != simdjson::SUCCESS) {
        fail(name, "has an element that is no object");
        return values;
      }
      values.push_back(value);
    }
    return values;
  }
  // Which of the object's members it is, from 0.
  std::size_t position(std::string_view name) const {
    std::size_t at = 0;
    for (const auto field : object_) {
      if (field.key == name) {
        return at;
      }
      ++at;
    }
    return at;
  }
  void fail(std::string_view name, std::string_view what) {
    if (error_.empty()) {
      error_ = fmt::format("'{}' {}", name, what);
    }
  }
  Status status() const { return error_.empty() ? Status() : Error::invalid("{}", error_); }

 private:
  std::optional<dom::element> find(std::string_view name) {
    std::optional<dom::element> found;
    for (const auto field : object_) {
      if (field.key == name) {
        if (found) {
          fail(name, "stands there twice");
        }
        found = field.value;
      }
    }
    return found;
  }
  std::optional<dom::element> need(std::string_view name) {
    auto found = find(name);
    if (!found) {
      fail(name, "is missing");
    }
    return found;
  }

  dom::object object_;
  std::string error_;
};

// The bytes of the value of the member at `position` of an object that is valid JSON.
std::string_view member_bytes(std::string_view object, std::size_t position) {
  std::size_t depth = 0;
  std::size_t member = 0;
  std::size_t begin = 0;  // of the value, behind its colon
  for (std::size_t at = 0; at < object.size(); ++at) {
    const char c = object[at];
    if (c == '"') {
      for (++at; object[at] != '"'; ++at) {
        at += object[at] == '\\' ? 1 : 0;
      }
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (depth == 1 && c == ':' && begin == 0) {
      begin = at + 1;
    } else if (depth == 1 && (c == ',' || c == '}')) {
      if (member++ == position) {
        return trim(object.substr(begin, at - begin));
      }
      begin = 0;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return {};
}

bool is_good_checksum(std::string_view text) {
  return text.size() == 71 && text.starts_with("sha256:") &&
         text.find_first_not_of("0123456789abcdef", 7) == std::string_view::npos;
}

// The header's JSON; empty when `bytes` do not begin with one.
Result<std::string_view> header_bytes(std::string_view bytes, const BatchLimits& limits) {
  ByteReader in(bytes);
  if (in.get<std::uint32_t>() != batch_format::kHeaderMagic) {
    return Error::invalid("no batch: it does not begin with 58 2a 4d 18");
  }
  const auto size = in.get<std::uint32_t>();
  if (size > limits.header) {
    return Error::exhausted("a header of {} bytes is larger than {}", size, limits.header);
  }
  const std::string_view json = in.get_bytes(size);
  if (!in.ok()) {
    return Error::invalid("the batch is cut short in its header");
  }
  return json;
}

}  // namespace

struct BatchReader::State {
  explicit State(BatchLimits given) : limits(given), zstd(ZSTD_createDCtx()) {
    HW_CHECK(zstd != nullptr, "out of memory ends the process");
  }
  ~State() { ZSTD_freeDCtx(zstd); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Status parse_row(Members members);
  Status parse_gap(Members members);
  Result<BatchItem> parse_line();

  const BatchLimits limits;
  ZSTD_DCtx* zstd;
  dom::parser json;
  BatchHeader header;
  std::string payload;
  std::size_t at = 0;
  std::uint64_t next_sequence = 0;
  std::uint64_t lines = 0;
  std::uint64_t rows = 0;
  std::uint64_t gaps = 0;
  std::string_view line;
  std::string decoded;  // of payload_base64
  BatchRow row;
  BatchGap gap;
};

BatchReader::BatchReader(BatchLimits limits) : state_(std::make_unique<State>(limits)) {}
BatchReader::~BatchReader() = default;

Result<BatchHeader> BatchReader::read_header(std::string_view bytes, const BatchLimits& limits) {
  const std::string_view json = HW_TRY(header_bytes(bytes, limits));
  dom::parser parser;
  dom::object object;
  if (parser.parse(json.data(), json.size()).get(object) != simdjson::SUCCESS) {
    return Error::invalid("header: not one JSON object");
  }
  Members members(object);
  const std::uint64_t format = members.number("format");
  HW_TRY(members.status().with("header"));
  if (format != kBatchFormat) {
    return Error::invalid("header: format {} is not known, only {}", format, kBatchFormat);
  }
  const std::string_view schema = members.text("schema");
  const std::string_view type = members.text("type");
  HW_TRY(members.status().with("header"));
  if (schema != kBatchSchema || type != kBatchPayloadType) {
    return Error::invalid("header: a payload '{}' as '{}' is not known, only '{}' as '{}'", schema,
                          type, kBatchSchema, kBatchPayloadType);
  }
  BatchHeader header;
  header.edge = members.text("edge");
  header.spool = members.id("spool");
  header.lane = members.text("lane");
  header.first = members.number("first", 1);
  header.last = members.number("last", 1);
  header.rows = members.number("rows");
  header.gaps = members.number("gaps");
  header.created = members.time("created");
  header.bytes = members.number("bytes");
  header.checksum = members.text("checksum");
  for (const dom::object& moment : members.optional_objects("clock")) {
    Members inner(moment);
    BatchClock clock;
    clock.sequence = inner.number("sequence", header.first);
    clock.boot = inner.id("boot");
    clock.mono.ns = static_cast<std::int64_t>(inner.number("mono"));
    clock.before = inner.time("before");
    clock.after = inner.time("after");
    HW_TRY(inner.status().with("header: clock"));
    if (clock.sequence > header.last) {
      return Error::invalid("header: clock: sequence {} is not in {} to {}", clock.sequence,
                            header.first, header.last);
    }
    header.clock.push_back(clock);
  }
  HW_TRY(members.status().with("header"));
  if (std::find(kLanes.begin(), kLanes.end(), header.lane) == kLanes.end()) {
    return Error::invalid("header: no lane '{}'", header.lane);
  }
  if (header.last < header.first || header.last == std::numeric_limits<std::uint64_t>::max()) {
    return Error::invalid("header: {} to {} is no range", header.first, header.last);
  }
  if (header.rows > header.last - header.first + 1) {
    return Error::invalid("header: {} rows in {} to {}", header.rows, header.first, header.last);
  }
  if (!is_good_checksum(header.checksum)) {
    return Error::invalid("header: 'checksum' is not sha256: and 64 hex digits");
  }
  if (header.bytes > limits.payload) {
    return Error::exhausted("a payload of {} bytes is larger than {}", header.bytes,
                            limits.payload);
  }
  return header;
}

Status BatchReader::open(std::string_view bytes) {
  State& state = *state_;
  state.header = HW_TRY(read_header(bytes, state.limits));
  const std::size_t header_size = HW_TRY(header_bytes(bytes, state.limits)).size();
  const std::string_view frame = bytes.substr(batch_format::kHeaderStart + header_size);
  if (batch_format::checksum_of(frame) != state.header.checksum) {
    return Error::invalid("the payload does not have the checksum that the header names");
  }
  const unsigned long long size = ZSTD_getFrameContentSize(frame.data(), frame.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN ||
      size != state.header.bytes) {
    return Error::invalid("the payload is no zstd frame of {} bytes", state.header.bytes);
  }
  if (ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size()) {
    return Error::invalid("the payload is not one whole zstd frame");
  }
  state.payload.resize(static_cast<std::size_t>(size));
  const std::size_t got = ZSTD_decompressDCtx(state.zstd, state.payload.data(),
                                              state.payload.size(), frame.data(), frame.size());
  if (ZSTD_isError(got) != 0 || got != state.payload.size()) {
    return Error::invalid("payload: zstd: {}",
                          ZSTD_isError(got) != 0 ? ZSTD_getErrorName(got) : "too short");
  }
  state.at = 0;
  state.next_sequence = state.header.first;
  state.lines = state.rows = state.gaps = 0;
  return {};
}

const BatchHeader& BatchReader::header() const {
  return state_->header;
}
const BatchRow& BatchReader::row() const {
  return state_->row;
}
const BatchGap& BatchReader::gap() const {
  return state_->gap;
}
std::string_view BatchReader::line() const {
  return state_->line;
}

Result<BatchItem> BatchReader::next() {
  State& state = *state_;
  const BatchHeader& header = state.header;
  if (state.at == state.payload.size()) {
    if (state.next_sequence != header.last + 1 || state.rows != header.rows ||
        state.gaps != header.gaps) {
      return Error::invalid("{} rows and {} gaps up to {}; the header says {} and {} up to {}",
                            state.rows, state.gaps, state.next_sequence - 1, header.rows,
                            header.gaps, header.last);
    }
    return BatchItem::kEnd;
  }
  const std::size_t end = state.payload.find('\n', state.at);
  ++state.lines;
  if (end == std::string::npos) {
    return Error::invalid("line {} does not end", state.lines);
  }
  if (end - state.at > state.limits.line) {
    return Error::exhausted("line {} of {} bytes is longer than {}", state.lines, end - state.at,
                            state.limits.line);
  }
  state.line = std::string_view(state.payload).substr(state.at, end - state.at);
  state.at = end + 1;
  return state.parse_line().with("line {}", state.lines);
}

Result<BatchItem> BatchReader::State::parse_line() {
  dom::object object;
  if (json.parse(line.data(), line.size()).get(object) != simdjson::SUCCESS) {
    return Error::invalid("not one JSON object");
  }
  Members members(object);
  const bool is_gap = members.has("gap");
  if (is_gap) {
    const auto inner = members.object("gap");
    HW_TRY(members.status());
    HW_TRY(parse_gap(Members(*inner)));
  } else {
    HW_TRY(parse_row(members));
  }
  const std::uint64_t first = is_gap ? gap.first : row.sequence;
  const std::uint64_t last = is_gap ? gap.last : row.sequence;
  if (first != next_sequence || last < first || last > header.last) {
    return Error::invalid("{} to {} where {} should be, of {} to {}", first, last, next_sequence,
                          header.first, header.last);
  }
  next_sequence = last + 1;
  ++(is_gap ? gaps : rows);
  return is_gap ? BatchItem::kGap : BatchItem::kRow;
}

Status BatchReader::State::parse_row(Members members) {
  row = BatchRow();
  row.sequence = members.number("seq", 1);
  row.device = members.text("device");
  row.time = members.time("time");
  row.received = members.time("received");
  row.topic = members.text("topic");
  row.sender = members.optional_text("sender");
  row.identity = members.has("id") ? members.id("id") : Id128{};
  row.time_missing = members.flag("time_missing");
  row.late = members.flag("late");
  row.offline = members.flag("offline");
  row.note = members.optional_text("note");
  row.decided = members.has("score");
  if (row.decided) {
    row.score = members.number_or_null("score");
    row.pipeline = members.text("pipeline");
    row.model = members.optional_text("model");
    row.alerted = members.flag("alerted");
  }
  const bool verbatim = members.has("payload");
  if (verbatim == members.has("payload_base64")) {
    members.fail("payload", "or 'payload_base64' is wanted, one of them");
  }
  HW_TRY(members.status());
  if (verbatim) {
    row.payload = member_bytes(line, members.position("payload"));
    return {};
  }
  auto bytes = batch_format::decode_base64(members.text("payload_base64"));
  if (!bytes) {
    members.fail("payload_base64", "is no base64");
  }
  decoded = std::move(bytes).value_or(std::string());
  row.payload = decoded;
  return members.status();
}

Status BatchReader::State::parse_gap(Members members) {
  gap.first = members.number("first", 1);
  gap.last = members.number("last", 1);
  gap.rows = members.number("rows");
  gap.reason = members.text("reason");
  gap.from = members.time("from");
  gap.to = members.time("to");
  HW_TRY(members.status());
  if (gap.last < gap.first || gap.rows > gap.last - gap.first + 1) {
    return Error::invalid("a gap of {} rows from {} to {}", gap.rows, gap.first, gap.last);
  }
  return {};
}

}  // namespace headwater
