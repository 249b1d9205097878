// Rows of .csv and .jsonl as feeds: named fields make up the inputs.
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/strings.h"
#include "compute/csv.h"
#include "io/files.h"
#include "workbench/feeds.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

using Values = std::map<std::string, std::string>;  // a row's fields as text

struct RowText {
  std::size_t line = 0;
  Values values;
};

Result<std::vector<RowText>> read_csv(const std::string& text) {
  CsvReader reader({});
  reader.feed(text);
  reader.finish();
  std::vector<std::string> names;
  std::vector<RowText> rows;
  CsvRow row;
  while (HW_TRY(reader.next(row))) {
    if (names.empty()) {
      names.assign(row.fields.begin(), row.fields.end());
      continue;
    }
    if (row.fields.size() != names.size()) {
      return Error::invalid("line {}: {} fields, the header has {}", row.line, row.fields.size(),
                            names.size());
    }
    RowText made{.line = row.line, .values = {}};
    for (std::size_t i = 0; i < names.size(); ++i) {
      made.values.emplace(names[i], std::string(row.fields[i]));
    }
    rows.push_back(std::move(made));
  }
  return rows;
}

// Objects in objects get dotted names, as the edge's decoder gives them.
void flatten(const nlohmann::json& value, const std::string& name, Values& to, int depth) {
  if (value.is_object() && depth < 32) {
    for (const auto& [key, inner] : value.items()) {
      flatten(inner, name.empty() ? key : name + "." + key, to, depth + 1);
    }
  } else if (value.is_string()) {
    to.emplace(name, value.get<std::string>());
  } else if (value.is_boolean()) {
    to.emplace(name, value.get<bool>() ? "1" : "0");
  } else if (value.is_array()) {
    std::string list;
    for (const auto& item : value) {
      list += (list.empty() ? "" : " ") + item.dump();
    }
    to.emplace(name, std::move(list));
  } else if (!value.is_null()) {
    to.emplace(name, value.dump());
  }
}

Result<std::vector<RowText>> read_jsonl(const std::string& text) {
  std::vector<RowText> rows;
  std::size_t number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++number;
    if (trim(line).empty()) {
      continue;
    }
    // Deep nesting would recurse; a reading has a few levels.
    if (std::count(line.begin(), line.end(), '{') > 1000 ||
        std::count(line.begin(), line.end(), '[') > 1000) {
      return Error::invalid("line {}: more than 1,000 objects or arrays", number);
    }
    const nlohmann::json value = nlohmann::json::parse(line, nullptr, false);
    if (!value.is_object()) {
      return Error::invalid("line {}: not a JSON object", number);
    }
    RowText made{.line = number, .values = {}};
    flatten(value, "", made.values, 0);
    rows.push_back(std::move(made));
  }
  return rows;
}

bool number_in(std::string_view text, double& value) {
  const std::string_view word = trim(text);
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return !word.empty() && error == std::errc() && end == word.data() + word.size();
}

void append_number(int type, double value, std::string& to) {
  using T = onnx::TensorProto;
  ByteWriter out(to);
  switch (type) {
    case T::FLOAT:
      return out.put(static_cast<float>(value));
    case T::DOUBLE:
      return out.put(value);
    case T::INT32:
      return out.put(static_cast<std::int32_t>(value));
    case T::INT64:
      return out.put(static_cast<std::int64_t>(value));
    default:
      return out.put(static_cast<std::uint8_t>(value));
  }
}

class Rows final : public Feeds::Source {
 public:
  Rows(std::string path, std::vector<RowText> rows, std::vector<Port> inputs,
       std::map<std::string, std::vector<std::string>> fields)
      : path_(std::move(path)),
        rows_(std::move(rows)),
        inputs_(std::move(inputs)),
        fields_(std::move(fields)) {}

  std::size_t size() const override { return rows_.size(); }

  Result<Feed> read(std::size_t index) const override {
    const RowText& row = rows_.at(index);
    Feed feed;
    for (const Port& port : inputs_) {
      feed[port.name] = HW_TRY(make(row, port).with("{}:{}", path_, row.line));
    }
    return feed;
  }

 private:
  Result<Tensor> make(const RowText& row, const Port& port) const {
    Tensor tensor;
    tensor.type = port.type;
    std::int64_t count = 0;
    for (const std::string& field : fields_.at(port.name)) {
      const auto found = row.values.find(field);
      if (found == row.values.end()) {
        return Error::invalid("no field '{}' for input '{}'", field, port.name);
      }
      if (port.type == onnx::TensorProto::STRING) {
        tensor.strings.push_back(found->second);
        ++count;
        continue;
      }
      for (const std::string_view word : split(found->second, ' ')) {
        double value = 0;
        if (!number_in(word, value)) {
          return Error::invalid("field '{}' is '{}', not a number", field, found->second);
        }
        append_number(port.type, value, tensor.bytes);
        ++count;
      }
    }
    tensor.shape = port.shape;
    if (!port.has_shape || tensor.shape.empty()) {
      tensor.shape = {1, count};
    }
    std::int64_t known = 1;
    std::int64_t* last_free = nullptr;
    for (std::int64_t& dim : tensor.shape) {
      if (dim < 0) {
        if (last_free != nullptr) {
          *last_free = 1;
        }
        last_free = &dim;
      } else {
        known *= dim;
      }
    }
    if (last_free != nullptr && known > 0) {
      *last_free = count / known;
      known *= *last_free;
    }
    if (known != count) {
      return Error::invalid("{} values for input '{}' ({})", count, port.name, port.text);
    }
    return tensor;
  }

  std::string path_;
  std::vector<RowText> rows_;
  std::vector<Port> inputs_;
  std::map<std::string, std::vector<std::string>> fields_;
};

std::string names_in(const Values& values) {
  std::string text;
  for (const auto& [name, value] : values) {
    text += (text.empty() ? "" : ", ") + name;
  }
  return text;
}

bool readable(int type) {
  using T = onnx::TensorProto;
  return type == T::FLOAT || type == T::DOUBLE || type == T::INT32 || type == T::INT64 ||
         type == T::BOOL || type == T::UINT8 || type == T::STRING;
}

}  // namespace

Result<std::shared_ptr<const Feeds::Source>> open_rows(const std::string& path,
                                                       std::span<const Port> inputs,
                                                       const FeedOptions& options) {
  const std::string text = HW_TRY(io::real_files().read_all(path));
  auto read = path.ends_with(".csv") ? read_csv(text) : read_jsonl(text);
  std::vector<RowText> rows = HW_TRY(std::move(read).with("inputs '{}'", path));
  if (rows.empty()) {
    return Error::invalid("inputs '{}': no rows", path);
  }
  std::map<std::string, std::vector<std::string>> fields = options.fields;
  for (const auto& [name, list] : fields) {
    const bool known =
        std::any_of(inputs.begin(), inputs.end(),
                    [&wanted = name](const Port& port) { return port.name == wanted; });
    if (!known) {
      return Error::invalid("the model has no input '{}'", name);
    }
  }
  const Values& first = rows.front().values;
  for (const Port& port : inputs) {
    if (!readable(port.type)) {
      return Error::invalid("input '{}' ({}) cannot come from rows", port.name, port.text);
    }
    std::vector<std::string>& list = fields[port.name];
    if (list.empty() && first.count(port.name) != 0) {
      list = {port.name};
    }
    if (list.empty()) {
      return Error::invalid(
          "inputs '{}': which fields make up input '{}' ({})? Say --input {}=FIELD,FIELD,…; the "
          "rows have {}",
          path, port.name, port.text, port.name, names_in(first));
    }
  }
  return std::shared_ptr<const Feeds::Source>(std::make_shared<Rows>(
      path, std::move(rows), std::vector<Port>(inputs.begin(), inputs.end()), std::move(fields)));
}

}  // namespace headwater::workbench
