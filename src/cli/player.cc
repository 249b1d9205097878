#include "cli/player.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "compute/csv_json.h"

namespace headwater {
namespace {

using std::size_t;

// Half-open range of bytes in a row's text; empty where there is no such thing.
struct Span {
  size_t at = 0;
  size_t size = 0;
  explicit operator bool() const { return size != 0; }
};

struct Field {
  std::string_view name;
  std::string text;  // a string's content, else the JSON token
};

// One row as a JSON object, before what differs from message to message is put in.
struct Row {
  std::string text;
  Span device;                // the token with its quotes
  Span time;                  // likewise
  size_t members_at = 0;      // where more members may be put, after '{'; 0: not an object
  bool has_members = false;   // whether a comma must follow them
  std::vector<Field> fields;  // what the topic and the device need; strings and numbers only
};

constexpr std::array<std::string_view, 5> kTimeNames = {"timestamp", "time", "datetime",
                                                        "event_time", "ts"};

// A string's content without its quotes; escapes stay, which names and times do not have.
std::string_view unquoted(std::string_view token) {
  if (token.size() >= 2 && token.front() == '"' && token.back() == '"') {
    return token.substr(1, token.size() - 2);
  }
  return token;
}

// Nanoseconds of one unit of an epoch time: its magnitude tells seconds, ms, µs and ns apart for
// every date from 1973 to 5138.
double epoch_unit(double value) {
  const double size = std::fabs(value);
  if (size < 1e11) {
    return 1e9;
  }
  if (size < 1e14) {
    return 1e6;
  }
  return size < 1e17 ? 1e3 : 1.0;
}

Result<WallTime> read_time(std::string_view token) {
  if (is_json_number(token)) {
    const double value = std::strtod(std::string(token).c_str(), nullptr);
    const double unit = epoch_unit(value);
    if (std::fabs(value * unit) > 9.2e18) {
      return Error::invalid("time {} is out of range", token);
    }
    return WallTime{static_cast<std::int64_t>(std::llround(value * unit))};
  }
  return parse_rfc3339(unquoted(token));
}

std::string shifted_time(std::string_view token, WallTime moved) {
  std::string out;
  if (is_json_number(token)) {
    const double unit = epoch_unit(std::strtod(std::string(token).c_str(), nullptr));
    if (token.find_first_of(".eE") == std::string_view::npos) {
      out = fmt::format("{}", moved.ns / static_cast<std::int64_t>(unit));
    } else {
      append_json_number(out, static_cast<double>(moved.ns) / unit);
    }
    return out;
  }
  out += '"';
  append_rfc3339(out, moved);
  out += '"';
  return out;
}

// "sensors/${device_id}/readings" in literal parts and names, alternating, literal first and last.
class TopicTemplate {
 public:
  static Result<TopicTemplate> parse(std::string_view text) {
    TopicTemplate made;
    size_t at = 0;
    for (;;) {
      const size_t open = text.find("${", at);
      made.literals_.emplace_back(text.substr(at, open - at));
      if (open == std::string_view::npos) {
        break;
      }
      const size_t close = text.find('}', open);
      if (close == std::string_view::npos || close == open + 2) {
        return Error::invalid("topic \"{}\": \"${{\" without a name and \"}}\"", text);
      }
      made.names_.emplace_back(text.substr(open + 2, close - open - 2));
      at = close + 1;
    }
    for (const std::string& literal : made.literals_) {
      if (literal.find_first_of(std::string_view("+#\0", 3)) != std::string::npos) {
        return Error::invalid("topic \"{}\": a device cannot publish to + or #", text);
      }
    }
    if (text.empty() || (text.front() == '$' && !text.starts_with("${"))) {
      return Error::invalid("topic \"{}\": empty or reserved for brokers ($)", text);
    }
    return made;
  }

  const std::vector<std::string>& names() const { return names_; }

  void append(std::string& out, const std::vector<std::string_view>& values) const {
    for (size_t i = 0; i < names_.size(); ++i) {
      out += literals_[i];
      for (const char c : values[i]) {
        // One value is one level: a name with a slash would change what topic[1] means.
        const bool breaks = c == '/' || c == '+' || c == '#' || static_cast<unsigned char>(c) < 32;
        out += breaks ? '_' : c;
      }
    }
    out += literals_.back();
  }

 private:
  std::vector<std::string> literals_;
  std::vector<std::string> names_;
};

// Rows of one file, in either format, pass after pass.
class RowReader {
 public:
  virtual ~RowReader() = default;
  // False at the end. On an error the row is consumed.
  virtual Result<bool> read(Row& row) = 0;
  virtual void rewind() = 0;
  // Of the last row.
  virtual std::uint64_t line() const { return line_; }

 protected:
  explicit RowReader(std::ifstream file) : file_(std::move(file)) {}

  bool read_line(std::string& line) {
    if (!std::getline(file_, line)) {
      return false;
    }
    ++line_;
    if (!line.empty() && line.back() == '\r') {
      line.pop_back();
    }
    return true;
  }
  void rewind_file() {
    file_.clear();
    file_.seekg(0);
    line_ = 0;
  }
  // Fewer bytes than asked for only at the end of the file.
  std::string_view read_bytes(std::string& buffer) {
    file_.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    return std::string_view(buffer).substr(0, static_cast<size_t>(file_.gcount()));
  }

 private:
  std::ifstream file_;
  std::uint64_t line_ = 0;
};

class CsvRows final : public RowReader {
 public:
  explicit CsvRows(std::ifstream file) : RowReader(std::move(file)) {}

  Status open(const PlayerOptions& options, const TopicTemplate& topic, std::string& time_field) {
    std::string header;
    read_line(header);
    for (const char candidate : {';', '\t'}) {
      if (std::count(header.begin(), header.end(), candidate) >
          std::count(header.begin(), header.end(), csv_.delimiter)) {
        csv_.delimiter = candidate;
      }
    }
    start();
    if (!HW_TRY(next_record())) {
      return Error::invalid("the file has no header line");
    }
    for (const std::string_view cell : record_.fields) {
      columns_.emplace_back(trim(cell));
    }
    for (const auto& [from, to] : options.rename) {
      const auto found = std::find(columns_.begin(), columns_.end(), from);
      if (found == columns_.end()) {
        return no_column("rename", from);
      }
      *found = to;
    }
    if (time_field.empty()) {
      for (const std::string_view name : kTimeNames) {
        if (std::find(columns_.begin(), columns_.end(), name) != columns_.end()) {
          time_field = name;
          break;
        }
      }
    } else if (std::find(columns_.begin(), columns_.end(), time_field) == columns_.end()) {
      return no_column("time field", time_field);
    }
    for (const std::string& name : topic.names()) {
      if (name != options.device_field &&
          std::find(columns_.begin(), columns_.end(), name) == columns_.end()) {
        return no_column("topic", name);
      }
    }
    for (const std::string& column : columns_) {
      std::string key;
      append_json_string(key, column);
      keys_.push_back(key + ":");
      wanted_.push_back(column == options.device_field ||
                        std::find(topic.names().begin(), topic.names().end(), column) !=
                            topic.names().end());
    }
    device_field_ = options.device_field;
    time_field_ = time_field;
    return {};
  }

  Result<bool> read(Row& row) override {
    Result<bool> found = next_record();
    if (!found) {
      at_line_ = reader_.line();
      reader_.skip_line();
      return Error::invalid("{}", without_line(found.error().text()));
    }
    if (!*found) {
      return false;
    }
    at_line_ = record_.line;
    if (record_.fields.size() != columns_.size()) {
      return Error::invalid("{} cells, the header has {}", record_.fields.size(), columns_.size());
    }
    row.text = "{";
    row.members_at = 1;
    row.has_members = true;
    row.device = row.time = {};
    row.fields.clear();
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) {
        row.text += ',';
      }
      row.text += keys_[i];
      const size_t at = row.text.size();
      append_csv_value(row.text, record_.fields[i]);
      const Span span{at, row.text.size() - at};
      if (columns_[i] == time_field_) {
        row.time = span;
      }
      if (columns_[i] == device_field_) {
        row.device = span;
      }
      if (wanted_[i]) {
        row.fields.push_back({columns_[i], std::string(trim(record_.fields[i]))});
      }
    }
    row.text += '}';
    return true;
  }

  void rewind() override {
    start();
    (void)next_record();  // the header
  }

  std::uint64_t line() const override { return at_line_; }

 private:
  Error no_column(std::string_view what, std::string_view name) const {
    const std::vector<std::string_view> candidates(columns_.begin(), columns_.end());
    const std::string_view near = nearest_name(name, candidates);
    return Error::invalid("{}: no column \"{}\"{}", what, name,
                          near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near));
  }

  // "line 7: what is wrong": the line is named by who asks.
  static std::string_view without_line(std::string_view text) {
    const size_t colon = text.find(": ");
    return text.starts_with("line ") && colon != std::string_view::npos ? text.substr(colon + 2)
                                                                        : text;
  }

  void start() {
    rewind_file();
    reader_ = CsvReader(csv_);
    ended_ = false;
  }

  Result<bool> next_record() {
    for (;;) {
      if (HW_TRY(reader_.next(record_))) {
        return true;
      }
      chunk_.resize(kChunkBytes);
      const std::string_view bytes = read_bytes(chunk_);
      if (bytes.empty() && ended_) {
        return false;
      }
      reader_.feed(bytes);
      if (bytes.empty()) {
        ended_ = true;
        reader_.finish();
      }
    }
  }

  static constexpr size_t kChunkBytes = 256 * 1024;

  CsvOptions csv_;
  CsvReader reader_{csv_};
  CsvRow record_;
  std::string chunk_;
  bool ended_ = false;
  std::uint64_t at_line_ = 0;
  std::vector<std::string> columns_;
  std::vector<std::string> keys_;  // "\"name\":"
  std::vector<bool> wanted_;       // by the topic or as the device
  std::string device_field_;
  std::string time_field_;
};

class JsonlReader final : public RowReader {
 public:
  JsonlReader(std::ifstream file, const PlayerOptions& options, const TopicTemplate& topic)
      : RowReader(std::move(file)),
        device_field_(options.device_field),
        time_field_(options.time_field),
        names_(topic.names()) {}

  Result<bool> read(Row& row) override {
    do {
      if (!read_line(line_text_)) {
        return false;
      }
    } while (trim(line_text_).empty());
    row.text = line_text_;
    if (!inspect(row)) {
      row.device = row.time = {};
      row.members_at = 0;
      row.fields.clear();
    }
    return true;
  }

  void rewind() override { rewind_file(); }

 private:
  // Finds the spans of an object's device and time; false where the line is not a JSON object.
  bool inspect(Row& row) {
    row.device = row.time = {};
    row.fields.clear();
    row.has_members = false;
    const size_t size = line_text_.size();
    line_text_.resize(size + simdjson::SIMDJSON_PADDING, ' ');
    const char* begin = line_text_.data();
    simdjson::ondemand::document document;
    simdjson::ondemand::object object;
    if (parser_.iterate(line_text_.data(), size, line_text_.size()).get(document) !=
            simdjson::SUCCESS ||
        document.get_object().get(object) != simdjson::SUCCESS) {
      return false;
    }
    row.members_at = row.text.find('{') + 1;
    size_t time_rank = kTimeNames.size();
    for (auto entry : object) {
      simdjson::ondemand::field field;
      std::string_view key;
      std::string_view token;
      if (std::move(entry).get(field) != simdjson::SUCCESS ||
          field.unescaped_key().get(key) != simdjson::SUCCESS) {
        return false;
      }
      row.has_members = true;
      token = trim(field.value().raw_json_token());
      const bool scalar = !token.empty() && token.front() != '{' && token.front() != '[';
      if (!scalar) {
        continue;
      }
      const Span span{static_cast<size_t>(token.data() - begin), token.size()};
      if (time_field_.empty()) {
        const auto rank = static_cast<size_t>(std::find(kTimeNames.begin(), kTimeNames.end(), key) -
                                              kTimeNames.begin());
        if (rank < time_rank) {
          time_rank = rank;
          row.time = span;
        }
      } else if (key == time_field_) {
        row.time = span;
      }
      const bool is_device = key == device_field_;
      if (is_device) {
        row.device = span;
      }
      const auto name = std::find(names_.begin(), names_.end(), key);
      if (name != names_.end()) {
        row.fields.push_back({*name, std::string(unquoted(token))});
      } else if (is_device) {
        row.fields.push_back({device_field_, std::string(unquoted(token))});
      }
    }
    return true;
  }

  std::string device_field_;
  std::string time_field_;
  std::vector<std::string> names_;
  std::string line_text_;  // with padding behind it while it is parsed
  simdjson::ondemand::parser parser_;
};

class FilePlayer final : public Player {
 public:
  FilePlayer(PlayerOptions options, TopicTemplate topic, std::unique_ptr<RowReader> rows,
             bool timed, bool adds_device)
      : options_(std::move(options)),
        topic_(std::move(topic)),
        rows_(std::move(rows)),
        timed_(timed),
        adds_device_(adds_device) {
    stem_ = std::filesystem::path(options_.path).stem().string();
    if (options_.device.empty()) {
      options_.device = stem_;
    }
  }

  Result<std::optional<PlayedMessage>> next() override {
    if (copy_ == 0 || copy_ >= options_.devices) {
      if (!HW_TRY(next_row().with("{}", options_.path))) {
        return std::optional<PlayedMessage>();
      }
      copy_ = 0;
    }
    Status rendered = render();
    if (!rendered) {
      copy_ = 0;
      return std::move(rendered).error().with("{}: line {}", options_.path, rows_->line());
    }
    ++copy_;
    Nanos due{0};
    if (options_.rate > 0) {
      due = Nanos{static_cast<std::int64_t>(static_cast<double>(index_) * 1e9 / options_.rate)};
    } else if (options_.speed > 0) {
      due = Nanos{static_cast<std::int64_t>(static_cast<double>((moved_ - first_).count()) /
                                            options_.speed)};
    }
    due_ = std::max(due_, due);
    return std::optional<PlayedMessage>({topic_text_, payload_, device_, due_, index_++});
  }

 private:
  // Reads the next row, of the next pass where one ends; false at the end of the last.
  Result<bool> next_row() {
    for (;;) {
      Result<bool> found = rows_->read(row_);
      if (!found) {
        return std::move(found).error().with("line {}", rows_->line());
      }
      if (*found) {
        rows_in_pass_ = true;
        return place_in_time();
      }
      ++pass_;
      if (!rows_in_pass_ || (options_.repeat != 0 && pass_ >= options_.repeat)) {
        return false;
      }
      rows_in_pass_ = false;
      rows_->rewind();
      if (has_time_) {
        // The next pass begins one usual step after the last row.
        shift_ += (last_ - origin_) + step_;
      }
    }
  }

  Result<bool> place_in_time() {
    const bool needed = options_.speed > 0;
    if (!row_.time) {
      if (needed) {
        return Error::invalid("line {}: no time, which speed needs", rows_->line());
      }
      return true;
    }
    if (!timed_) {
      return true;
    }
    Result<WallTime> read =
        read_time(std::string_view(row_.text).substr(row_.time.at, row_.time.size));
    if (!read) {
      if (needed) {
        return std::move(read).error().with("line {}", rows_->line());
      }
      row_.time = {};
      return true;
    }
    const WallTime at = *read;
    if (!has_time_) {
      has_time_ = true;
      origin_ = last_ = first_ = at;
    }
    if (at > last_) {
      step_ = at - last_;
      last_ = at;
    }
    moved_ = at + shift_;
    return true;
  }

  Status render() {
    const std::string_view text = row_.text;
    const std::string_view own = row_.device ? field(options_.device_field) : std::string_view();
    device_ = own.empty() ? options_.device : std::string(own);
    const bool renames = options_.devices > 1;
    if (renames) {
      device_ += fmt::format("-{}", copy_ + 1);
    }

    values_.clear();
    for (const std::string& name : topic_.names()) {
      const std::string_view value = name == options_.device_field ? device_ : field(name);
      if (value.empty()) {
        return Error::invalid("the topic needs \"{}\", which this row lacks", name);
      }
      values_.push_back(value);
    }
    topic_text_.clear();
    topic_.append(topic_text_, values_);

    payload_.clear();
    if (row_.members_at == 0) {
      payload_ = text;
      return {};
    }
    payload_ += text.substr(0, row_.members_at);
    const size_t members_from = payload_.size();
    if (!options_.message_id_field.empty()) {
      append_json_string(payload_, options_.message_id_field);
      payload_ += ':';
      append_json_string(payload_,
                         fmt::format("{}:{}:{}{}", stem_, pass_, rows_->line(),
                                     renames ? fmt::format("-{}", copy_ + 1) : std::string()));
    }
    if (!row_.device && adds_device_) {
      payload_ += payload_.size() > members_from ? "," : "";
      append_json_string(payload_, options_.device_field);
      payload_ += ':';
      append_json_string(payload_, device_);
    }
    if (payload_.size() > members_from && row_.has_members) {
      payload_ += ',';
    }

    size_t at = row_.members_at;
    const auto replace = [&](const Span& span, std::string_view by) {
      payload_ += text.substr(at, span.at - at);
      payload_ += by;
      at = span.at + span.size;
    };
    std::string device_token;
    if (renames && row_.device) {
      append_json_string(device_token, device_);
    }
    std::string time_token;
    if (row_.time && shift_.count() != 0) {
      time_token = shifted_time(text.substr(row_.time.at, row_.time.size), moved_);
    }
    const bool device_first = row_.device.at < row_.time.at;
    for (const bool device_now : {device_first, !device_first}) {
      if (device_now && !device_token.empty()) {
        replace(row_.device, device_token);
      } else if (!device_now && !time_token.empty()) {
        replace(row_.time, time_token);
      }
    }
    payload_ += text.substr(at);
    return {};
  }

  std::string_view field(std::string_view name) const {
    for (const Field& entry : row_.fields) {
      if (entry.name == name) {
        return entry.text;
      }
    }
    return {};
  }

  PlayerOptions options_;
  TopicTemplate topic_;
  std::unique_ptr<RowReader> rows_;
  bool timed_;        // speed or a second pass wants the rows' times
  bool adds_device_;  // CSV: the message names its device although no column does
  std::string stem_;

  Row row_;
  std::uint32_t copy_ = 0;  // messages made of row_
  std::uint32_t pass_ = 0;
  bool rows_in_pass_ = false;
  std::uint64_t index_ = 0;
  Nanos due_{0};

  bool has_time_ = false;
  WallTime origin_;  // first time of the file
  WallTime first_;   // what due counts from
  WallTime last_;    // latest time of the file
  WallTime moved_;   // of row_, with the shift of its pass
  Nanos step_{0};
  Nanos shift_{0};

  std::string device_;
  std::string topic_text_;
  std::string payload_;
  std::vector<std::string_view> values_;
};

bool is_jsonl(const std::string& path, std::ifstream& file) {
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".csv") {
    return false;
  }
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json") {
    return true;
  }
  return (file >> std::ws).peek() == '{';
}

}  // namespace

Result<std::unique_ptr<Player>> Player::open(PlayerOptions options) {
  if (options.rate < 0 || options.speed < 0 || !std::isfinite(options.rate) ||
      !std::isfinite(options.speed)) {
    return Error::invalid("rate and speed are positive numbers");
  }
  if (options.rate > 0 && options.speed > 0) {
    return Error::invalid("rate and speed exclude each other; give one");
  }
  if (options.devices == 0) {
    return Error::invalid("devices: at least 1");
  }
  TopicTemplate topic = HW_TRY(TopicTemplate::parse(options.topic));
  if (std::filesystem::is_directory(options.path)) {
    return Error::invalid("{} is a folder, not a recording", options.path);
  }
  std::ifstream file(options.path, std::ios::binary);
  if (!file) {
    return Error::from_errno(errno, options.path);
  }
  const bool timed = options.speed > 0 || options.repeat != 1;
  const bool jsonl = is_jsonl(options.path, file);
  file.clear();
  file.seekg(0);
  std::unique_ptr<RowReader> rows;
  if (jsonl) {
    if (!options.rename.empty()) {
      return Error::invalid("rename is for CSV columns; a JSONL line is sent as it stands");
    }
    rows = std::make_unique<JsonlReader>(std::move(file), options, topic);
  } else {
    auto csv = std::make_unique<CsvRows>(std::move(file));
    HW_TRY(csv->open(options, topic, options.time_field).with("{}", options.path));
    if (options.speed > 0 && options.time_field.empty()) {
      return Error::invalid("{}: speed needs a column with times; name it (time field)",
                            options.path);
    }
    rows = std::move(csv);
  }
  return std::unique_ptr<Player>(std::make_unique<FilePlayer>(std::move(options), std::move(topic),
                                                              std::move(rows), timed, !jsonl));
}

}  // namespace headwater
