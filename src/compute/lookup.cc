#include "compute/lookup.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/strings.h"
#include "compute/csv.h"
#include "compute/event_time.h"
#include "compute/json_number.h"
#include "compute/json_shape.h"
#include "compute/key_text.h"
#include "compute/lookup_builder.h"

namespace headwater {
namespace {

struct Hash {
  std::size_t operator()(std::string_view key) const {
    return static_cast<std::size_t>(hash64(key));
  }
};

// The narrowest type that holds all texts of a column; empty ones fit any.
Type inferred(const std::vector<std::string_view>& texts) {
  bool numbers = true;
  bool truths = true;
  bool any = false;
  for (const std::string_view text : texts) {
    if (text.empty()) {
      continue;
    }
    any = true;
    numbers = numbers && parse_number(text).has_value();
    truths = truths && (text == "true" || text == "false");
  }
  if (!any) {
    return Type::kString;
  }
  return truths ? Type::kBool : numbers ? Type::kFloat64 : Type::kString;
}

// Stores a text that is not empty; false if it is no value of that type.
bool store(std::string_view text, const FieldTarget& target, std::size_t row) {
  switch (target.type) {
    case Type::kBool:
      return (text == "true" || text == "false") && target.boolean(row, text == "true");
    case Type::kString:
      return target.string(row, text);
    case Type::kTimestamp: {
      const auto time = time_from_text(text, TimeFormat::kAuto);
      if (time) {
        static_cast<std::int64_t*>(target.values)[row] = time->ns;
        target.bits[row / 64] |= std::uint64_t{1} << (row % 64);
      }
      return time.has_value();
    }
    default: {
      const auto number = parse_number(text);
      return number && target.number(row, *number);
    }
  }
}

}  // namespace

struct LookupTable::Table {
  LookupOptions options;
  Arena arena;
  Schema schema;
  std::vector<Column> columns;
  std::unordered_map<std::string_view, std::uint32_t, Hash> index;  // keys in the arena
};

LookupTable::LookupTable(std::unique_ptr<Table> table) : table_(std::move(table)) {}
LookupTable::LookupTable(LookupTable&&) noexcept = default;
LookupTable& LookupTable::operator=(LookupTable&&) noexcept = default;
LookupTable::~LookupTable() = default;

struct LookupBuilder::State {
  std::unique_ptr<LookupTable::Table> table = std::make_unique<LookupTable::Table>();
  LookupOptions options;
  std::string places;
  std::vector<std::string> header;
  std::size_t header_place = 0;
  std::size_t key_at = 0;
  std::vector<std::size_t> taken_at;                 // of options.take, in the header
  std::vector<std::vector<std::string_view>> texts;  // of each taken column, in the arena
  std::vector<std::size_t> rows;                     // their places

  // Place 0 is the whole source.
  std::string at(std::size_t place) const {
    return place == 0 ? options.name : fmt::format("{}{}{}", options.name, places, place);
  }
  Result<std::size_t> position(const std::string& wanted) const {
    const auto found = std::find(header.begin(), header.end(), wanted);
    if (found == header.end()) {
      const std::vector<std::string_view> titles(header.begin(), header.end());
      const std::string_view near = nearest_name(wanted, titles);
      return Error::invalid("{}: no column '{}'{}", at(header_place), wanted,
                            near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
    }
    return static_cast<std::size_t>(found - header.begin());
  }
};

LookupBuilder::LookupBuilder(LookupOptions options, std::string_view places)
    : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
  state_->places = places;
}
LookupBuilder::~LookupBuilder() = default;

Status LookupBuilder::header(std::vector<std::string> names, std::size_t place) {
  State& state = *state_;
  LookupOptions& options = state.options;
  state.header = std::move(names);
  state.header_place = place;
  for (std::size_t i = 0; i < state.header.size(); ++i) {
    const std::string& title = state.header[i];
    if (!is_utf8(title) || title.find('\0') != std::string::npos) {
      return Error::invalid("{}: the header is not UTF-8 text: save the file as UTF-8",
                            state.at(place));
    }
    if (title.empty()) {
      return Error::invalid("{}: column {} has no name", state.at(place), i + 1);
    }
    if (std::find(state.header.begin(), state.header.begin() + static_cast<std::ptrdiff_t>(i),
                  title) != state.header.begin() + static_cast<std::ptrdiff_t>(i)) {
      return Error::invalid("{}: two columns are called '{}'", state.at(place), title);
    }
  }
  state.key_at = HW_TRY(state.position(options.key));
  if (options.take.empty()) {
    for (const std::string& title : state.header) {
      if (title != options.key) {
        options.take.push_back(title);
      }
    }
  }
  for (const std::string& title : options.take) {
    state.taken_at.push_back(HW_TRY(state.position(title)));
  }
  for (const Field& field : options.types.fields()) {
    HW_TRY(state.position(field.name));
    if (field.type == Type::kBytes || field.type == Type::kFrame) {
      return Error::invalid("{}: column '{}' cannot be {}", options.name, field.name,
                            type_name(field.type));
    }
  }
  state.texts.resize(state.taken_at.size());
  return {};
}

void LookupBuilder::declare(const Schema& types) {
  for (const Field& field : types.fields()) {
    if (!state_->options.types.find(field.name)) {
      state_->options.types.set(field);
    }
  }
}

Status LookupBuilder::add(const std::vector<std::string_view>& fields, std::size_t place) {
  State& state = *state_;
  const LookupOptions& options = state.options;
  if (fields.size() != state.header.size()) {
    return Error::invalid("{}: {} fields, the header has {}", state.at(place), fields.size(),
                          state.header.size());
  }
  if (state.rows.size() >= options.max_rows) {
    return Error::exhausted("{}: more than {} rows", state.at(place), options.max_rows);
  }
  const std::string_view key = fields[state.key_at];
  if (key.empty()) {
    return Error::invalid("{}: the key '{}' is empty", state.at(place), options.key);
  }
  if (!is_utf8(key)) {
    return Error::invalid("{}: the key '{}' is not UTF-8: no device could match it",
                          state.at(place), options.key);
  }
  const auto [found, fresh] = state.table->index.try_emplace(
      state.table->arena.copy(key), static_cast<std::uint32_t>(state.rows.size()));
  if (!fresh) {
    return Error::invalid("{}: key '{}' is in {} {} already", state.at(place), key,
                          state.places == ":" ? "line" : "row", state.rows[found->second]);
  }
  for (std::size_t i = 0; i < state.taken_at.size(); ++i) {
    const std::string_view value = fields[state.taken_at[i]];
    if (!is_utf8(value)) {
      return Error::invalid("{}: column '{}' is not UTF-8", state.at(place), options.take[i]);
    }
    state.texts[i].push_back(value.empty() ? value : state.table->arena.copy(value));
  }
  state.rows.push_back(place);
  return {};
}

Result<LookupTable> LookupBuilder::finish() {
  State& state = *state_;
  LookupOptions& options = state.options;
  for (std::size_t i = 0; i < state.taken_at.size(); ++i) {
    const std::vector<std::string_view>& texts = state.texts[i];
    const auto declared = options.types.find(options.take[i]);
    const Type type = declared ? options.types[*declared].type : inferred(texts);
    Column column(type);
    column.reset(type, texts.size());
    const FieldTarget target{type, column.values<std::byte>().data(), column.validity().data()};
    for (std::size_t r = 0; r < texts.size(); ++r) {
      if (!texts[r].empty() && !store(texts[r], target, r)) {
        return Error::invalid("{}: column '{}': '{}' is no {}", state.at(state.rows[r]),
                              options.take[i], texts[r], type_name(type));
      }
    }
    const std::string unit = declared ? options.types[*declared].unit : std::string();
    state.table->schema.set({options.take[i], type, unit});
    if (state.table->schema.size() != i + 1) {
      return Error::invalid("{}: column '{}' is taken twice", options.name, options.take[i]);
    }
    state.table->columns.push_back(std::move(column));
  }
  state.table->options = std::move(options);
  return LookupTable(std::move(state.table));
}

Result<LookupTable> LookupTable::parse(std::string_view text, LookupOptions options) {
  const std::string name = options.name;
  if (text.size() > options.max_bytes) {
    return Error::exhausted("{}: {} bytes are more than the limit of {}", name, text.size(),
                            options.max_bytes);
  }
  CsvReader reader({.delimiter = options.delimiter});
  reader.feed(text);
  reader.finish();
  CsvRow row;
  const auto next = [&]() -> Result<bool> {
    auto more = reader.next(row);
    if (!more) {
      // "line 7: what" becomes "assets.csv:7: what".
      return Error::invalid("{}:{}", name, more.error().text().substr(5));
    }
    return more;
  };
  if (!HW_TRY(next())) {
    return Error::invalid("{}:1: no header: the first line names the columns", name);
  }
  std::vector<std::string> header;
  for (const std::string_view field : row.fields) {
    header.emplace_back(trim(field));
  }
  LookupBuilder builder(std::move(options), ":");
  HW_TRY(builder.header(std::move(header), row.line));
  while (HW_TRY(next())) {
    HW_TRY(builder.add(row.fields, row.line));
  }
  return builder.finish();
}

std::size_t LookupTable::rows() const {
  return table_->index.size();
}
const Schema& LookupTable::schema() const {
  return table_->schema;
}
const Column& LookupTable::column(std::size_t index) const {
  return table_->columns[index];
}

std::optional<std::uint32_t> LookupTable::find(std::string_view key) const {
  const auto found = table_->index.find(key);
  if (found == table_->index.end()) {
    return std::nullopt;
  }
  return found->second;
}

void LookupTable::apply(Batch& batch, LookupStats& stats) const {
  constexpr std::uint32_t kNoRow = 0xFFFFFFFF;
  const LookupOptions& options = table_->options;
  const std::string& by = options.batch_key.empty() ? options.key : options.batch_key;
  // Keys first: a taken column may replace the key's.
  std::vector<std::uint32_t> from(batch.rows(), kNoRow);
  bool row_device = false;
  const Column* const key_column = find_key(batch, by, row_device);
  KeyText text;
  for (const std::uint32_t row : batch.selection()) {
    std::optional<std::uint32_t> found;
    if (row_device) {
      found = find(batch.row(row).device);
    } else if (key_column != nullptr && key_column->valid(row)) {
      found = find(text.of(*key_column, row));
    }
    ++(found ? stats.found : stats.missing);
    from[row] = found.value_or(kNoRow);
  }
  for (std::size_t c = 0; c < table_->columns.size(); ++c) {
    const Column& source = table_->columns[c];
    Column& column = batch.add_column(table_->schema[c].name, source.type());
    const std::size_t width = type_width(source.type());
    for (const std::uint32_t row : batch.selection()) {
      const std::uint32_t at = from[row];
      if (at == kNoRow || !source.valid(at)) {
        continue;
      }
      if (source.type() == Type::kString) {
        column.set(row, batch.arena().copy(source.values<std::string_view>()[at]));
        continue;
      }
      std::memcpy(column.values<char>().data() + row * width,
                  source.values<char>().data() + at * width, width);
      column.set_valid(row);
    }
  }
}

}  // namespace headwater
