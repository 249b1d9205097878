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

Result<LookupTable> LookupTable::parse(std::string_view text, LookupOptions options) {
  auto table = std::make_unique<Table>();
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
    const std::string_view title = trim(field);
    if (!is_utf8(title) || title.find('\0') != std::string_view::npos) {
      return Error::invalid("{}:{}: the header is not UTF-8 text: save the file as UTF-8", name,
                            row.line);
    }
    if (title.empty()) {
      return Error::invalid("{}:{}: column {} has no name", name, row.line, header.size() + 1);
    }
    if (std::find(header.begin(), header.end(), title) != header.end()) {
      return Error::invalid("{}:{}: two columns are called '{}'", name, row.line, title);
    }
    header.emplace_back(title);
  }
  const std::vector<std::string_view> titles(header.begin(), header.end());
  const auto position = [&](const std::string& wanted) -> Result<std::size_t> {
    const auto found = std::find(header.begin(), header.end(), wanted);
    if (found == header.end()) {
      const std::string_view near = nearest_name(wanted, titles);
      return Error::invalid("{}:1: no column '{}'{}", name, wanted,
                            near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
    }
    return static_cast<std::size_t>(found - header.begin());
  };
  const std::size_t key_at = HW_TRY(position(options.key));
  if (options.take.empty()) {
    for (const std::string& title : header) {
      if (title != options.key) {
        options.take.push_back(title);
      }
    }
  }
  std::vector<std::size_t> taken_at;
  for (const std::string& title : options.take) {
    taken_at.push_back(HW_TRY(position(title)));
  }
  for (const Field& field : options.types.fields()) {
    HW_TRY(position(field.name));
    if (field.type == Type::kBytes || field.type == Type::kFrame) {
      return Error::invalid("{}: column '{}' cannot be {}", name, field.name,
                            type_name(field.type));
    }
  }

  std::vector<std::vector<std::string_view>> texts(taken_at.size());
  std::vector<std::size_t> lines;
  while (HW_TRY(next())) {
    if (row.fields.size() != header.size()) {
      return Error::invalid("{}:{}: {} fields, the header has {}", name, row.line,
                            row.fields.size(), header.size());
    }
    if (lines.size() >= options.max_rows) {
      return Error::exhausted("{}:{}: more than {} rows", name, row.line, options.max_rows);
    }
    const std::string_view key = row.fields[key_at];
    if (key.empty()) {
      return Error::invalid("{}:{}: the key '{}' is empty", name, row.line, options.key);
    }
    if (!is_utf8(key)) {
      return Error::invalid("{}:{}: the key '{}' is not UTF-8: no device could match it", name,
                            row.line, options.key);
    }
    const auto [found, fresh] =
        table->index.try_emplace(table->arena.copy(key), static_cast<std::uint32_t>(lines.size()));
    if (!fresh) {
      return Error::invalid("{}:{}: key '{}' is in line {} already", name, row.line, key,
                            lines[found->second]);
    }
    for (std::size_t i = 0; i < taken_at.size(); ++i) {
      const std::string_view value = row.fields[taken_at[i]];
      if (!is_utf8(value)) {
        return Error::invalid("{}:{}: column '{}' is not UTF-8", name, row.line, options.take[i]);
      }
      texts[i].push_back(value.empty() ? value : table->arena.copy(value));
    }
    lines.push_back(row.line);
  }

  for (std::size_t i = 0; i < taken_at.size(); ++i) {
    const auto declared = options.types.find(options.take[i]);
    const Type type = declared ? options.types[*declared].type : inferred(texts[i]);
    Column column(type);
    column.reset(type, lines.size());
    const FieldTarget target{type, column.values<std::byte>().data(), column.validity().data()};
    for (std::size_t r = 0; r < lines.size(); ++r) {
      if (!texts[i][r].empty() && !store(texts[i][r], target, r)) {
        return Error::invalid("{}:{}: column '{}': '{}' is no {}", name, lines[r], options.take[i],
                              texts[i][r], type_name(type));
      }
    }
    const std::string unit = declared ? options.types[*declared].unit : std::string();
    table->schema.set({options.take[i], type, unit});
    if (table->schema.size() != i + 1) {
      return Error::invalid("{}: column '{}' is taken twice", name, options.take[i]);
    }
    table->columns.push_back(std::move(column));
  }
  table->options = std::move(options);
  return LookupTable(std::move(table));
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
