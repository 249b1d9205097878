#include "compute/csv_json.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/strings.h"

namespace headwater {
namespace {

std::size_t skip_digits(std::string_view text, std::size_t at) {
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    ++at;
  }
  return at;
}

}  // namespace

bool is_json_number(std::string_view text) {
  std::size_t at = !text.empty() && text[0] == '-' ? 1 : 0;
  const std::size_t whole = skip_digits(text, at);
  if (whole == at || (whole > at + 1 && text[at] == '0')) {
    return false;
  }
  at = whole;
  if (at < text.size() && text[at] == '.') {
    const std::size_t fraction = skip_digits(text, at + 1);
    if (fraction == at + 1) {
      return false;
    }
    at = fraction;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    at += at < text.size() && (text[at] == '-' || text[at] == '+') ? 1 : 0;
    const std::size_t exponent = skip_digits(text, at);
    if (exponent == at) {
      return false;
    }
    at = exponent;
  }
  return at == text.size();
}

namespace {

// Whether a float64 can hold it: JSON has "1e999", its readers mostly do not.
bool in_range(std::string_view number) {
  constexpr std::size_t kAlwaysDigits = 308;
  if (number.size() <= kAlwaysDigits && number.find_first_of("eE") == std::string_view::npos) {
    return true;
  }
  return std::isfinite(std::strtod(std::string(number).c_str(), nullptr));
}

}  // namespace

void append_csv_value(std::string& out, std::string_view cell, bool as_text) {
  const std::string_view text = trim(cell);
  if (text.empty()) {
    out += "null";
  } else if (as_text) {
    append_json_string(out, cell);
  } else if (is_json_number(text) && in_range(text)) {
    out += text;
  } else if (text == "true" || text == "True") {
    out += "true";
  } else if (text == "false" || text == "False") {
    out += "false";
  } else if (text == "NaN" || text == "nan") {
    out += "null";
  } else {
    append_json_string(out, cell);
  }
}

Result<CsvObjects> CsvObjects::create(std::span<const std::string_view> columns,
                                      const Schema& declared) {
  CsvObjects made;
  std::vector<std::string_view> names;
  for (const std::string_view column : columns) {
    const std::string_view name = trim(column);
    if (name.empty()) {
      return Error::invalid("column {} has no name", names.size() + 1);
    }
    if (name.size() > kMaxNameBytes) {
      return Error::invalid("the name of column {} has more than {} bytes", names.size() + 1,
                            kMaxNameBytes);
    }
    if (!is_utf8(name)) {
      return Error::invalid("the name of column {} is no UTF-8", names.size() + 1);
    }
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return Error::invalid("two columns are called '{}'", name);
    }
    names.push_back(name);
    const auto field = declared.find(name);
    Column& added = made.columns_.emplace_back();
    append_json_string(added.key, name);
    added.key += ':';
    added.as_text = field && declared[*field].type == Type::kString;
  }
  if (names.empty()) {
    return Error::invalid("no columns");
  }
  return made;
}

Status CsvObjects::append(const CsvRow& row, std::string& out) const {
  if (row.fields.size() != columns_.size()) {
    return Error::invalid("line {}: {} fields, there are {} columns", row.line, row.fields.size(),
                          columns_.size());
  }
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (!is_utf8(row.fields[i])) {
      return Error::invalid("line {}: field {} is no UTF-8", row.line, i + 1);
    }
  }
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    out += i == 0 ? '{' : ',';
    out += columns_[i].key;
    append_csv_value(out, row.fields[i], columns_[i].as_text);
  }
  out += '}';
  return {};
}

Status read_csv_document(
    std::string_view text, const CsvDocumentOptions& options,
    const std::function<void(std::string_view text, std::string_view reason)>& take) {
  CsvReader reader(options.csv);
  reader.feed(text);
  reader.finish();
  CsvRow row;
  std::vector<std::string_view> names(options.columns.begin(), options.columns.end());
  if (names.empty()) {
    if (!HW_TRY(reader.next(row).with("header"))) {
      return Error::invalid("header: there is no line");
    }
    names = row.fields;
  }
  const CsvObjects objects = HW_TRY(CsvObjects::create(names, options.declared).with("header"));
  std::string object;
  std::size_t bytes = 0;
  for (std::size_t records = 0;; ++records) {
    const Result<bool> more = reader.next(row);
    if (more && !*more) {
      return {};
    }
    if (records == options.max_records) {
      return Error::exhausted("more than {} records in one message (max_elements)",
                              options.max_records);
    }
    if (!more) {
      const std::string reason(more.error().text());
      take(reader.skip_line(), reason);
      continue;
    }
    object.clear();
    if (const Status made = objects.append(row, object); made) {
      bytes += object.size();
      if (bytes > options.max_bytes) {
        return Error::exhausted("the records of one message take more than {} bytes as JSON",
                                options.max_bytes);
      }
      take(object, {});
    } else {
      take(row.raw, made.error().text());
    }
  }
}

}  // namespace headwater
