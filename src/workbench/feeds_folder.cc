// Folders of tensors, and the tensor files themselves.
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>
#include <sstream>

#include "base/bytes.h"
#include "base/strings.h"
#include "io/files.h"
#include "workbench/feeds.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

constexpr std::uint64_t kMaxTensorBytes = std::uint64_t{1} << 30;

bool is_folder(const std::string& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

Result<std::string> read_bounded(const std::string& path) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) {
    return Error::from_errno(errno, fmt::format("open '{}'", path));
  }
  if (!S_ISREG(facts.st_mode)) {
    return Error::invalid("'{}' is not a regular file", path);
  }
  if (static_cast<std::uint64_t>(facts.st_size) > kMaxTensorBytes) {
    return Error::exhausted("'{}' is larger than 1 GiB", path);
  }
  return io::real_files().read_all(path);
}

// A tensor that stands in a file; type and shape are known for raw files only.
struct Entry {
  std::string input;
  std::string path;
  int type = 0;
  std::vector<std::int64_t> shape;
};

Result<Tensor> read_entry(const Entry& entry) {
  if (entry.path.ends_with(".npy")) {
    return read_npy(entry.path);
  }
  if (entry.path.ends_with(".pb")) {
    return read_tensor_pb(entry.path);
  }
  Tensor tensor{.type = entry.type, .shape = entry.shape, .bytes = {}, .strings = {}};
  tensor.bytes = HW_TRY(read_bounded(entry.path));
  const auto too_many = [&] {
    return Error::invalid("'{}': its dimensions multiply to more than 2^64 bytes", entry.path);
  };
  std::uint64_t elements = 1;
  std::int64_t* open = nullptr;  // the one dimension that the file's size decides
  for (std::int64_t& dim : tensor.shape) {
    if (dim >= 0) {
      if (__builtin_mul_overflow(elements, static_cast<std::uint64_t>(dim), &elements)) {
        return too_many();
      }
    } else {
      if (open != nullptr) {
        return Error::invalid("'{}': raw bytes cannot tell two free dimensions", entry.path);
      }
      open = &dim;
    }
  }
  const std::uint64_t width = type_width(tensor.type);
  if (width == 0) {
    return Error::invalid("'{}': no raw files of {}", entry.path, type_name(tensor.type));
  }
  std::uint64_t needed = 0;
  if (__builtin_mul_overflow(elements, width, &needed)) {
    return too_many();
  }
  if (open != nullptr) {
    *open = needed == 0 ? 0 : static_cast<std::int64_t>(tensor.bytes.size() / needed);
    elements *= static_cast<std::uint64_t>(*open);  // no more than the file's bytes
    needed = elements * width;
  }
  if (tensor.bytes.size() != needed) {
    return Error::invalid("'{}' has {} bytes, {} {} elements need {}", entry.path,
                          tensor.bytes.size(), elements, type_name(tensor.type), needed);
  }
  return tensor;
}

class Folder final : public Feeds::Source {
 public:
  explicit Folder(std::vector<std::vector<Entry>> feeds) : feeds_(std::move(feeds)) {}

  std::size_t size() const override { return feeds_.size(); }

  Result<Feed> read(std::size_t index) const override {
    Feed feed;
    for (const Entry& entry : feeds_.at(index)) {
      feed[entry.input] = HW_TRY(read_entry(entry));
    }
    return feed;
  }

 private:
  std::vector<std::vector<Entry>> feeds_;
};

template <class T>
bool take_number(std::istringstream& words, T& value) {
  std::string word;
  words >> word;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  return !word.empty() && error == std::errc() && end == word.data() + word.size();
}

Result<std::vector<std::vector<Entry>>> read_manifest(const std::string& folder) {
  const std::string path = folder + "/manifest.txt";
  const std::string text = HW_TRY(read_bounded(path));
  std::map<std::uint64_t, std::vector<Entry>> feeds;
  std::size_t number = 0;
  for (const std::string_view line : split(text, '\n')) {
    ++number;
    if (trim(line).empty()) {
      continue;
    }
    const auto bad = [&](std::string_view why) {
      return Error::invalid("{}:{}: {}; a line is FEED FILE TYPE RANK DIMS… INPUT", path, number,
                            why);
    };
    std::istringstream words{std::string(line)};
    std::uint64_t feed = 0;
    Entry entry;
    std::string file;
    std::size_t rank = 0;
    if (!take_number(words, feed) || !(words >> file) || !take_number(words, entry.type) ||
        !take_number(words, rank) || rank > 32) {
      return bad("cannot be read");
    }
    if (file.find('/') != std::string::npos || file == "..") {
      return bad("a file outside the folder");
    }
    for (std::size_t i = 0; i < rank; ++i) {
      std::int64_t dim = 0;
      if (!take_number(words, dim) || dim < 0) {
        return bad("dimensions are missing or negative");
      }
      entry.shape.push_back(dim);
    }
    std::string rest;
    std::getline(words, rest);
    entry.input = std::string(trim(rest));
    if (entry.input.empty()) {
      return bad("no input's name");
    }
    entry.path = folder + "/" + file;
    feeds[feed].push_back(std::move(entry));
  }
  std::vector<std::vector<Entry>> ordered;
  for (auto& [feed, entries] : feeds) {
    ordered.push_back(std::move(entries));
  }
  return ordered;
}

bool is_tensor_file(std::string_view name) {
  return name.ends_with(".npy") || name.ends_with(".pb") || name.ends_with(".raw") ||
         name.ends_with(".bin");
}

// File names cannot hold '/' and ':'; exporters use '_' for them.
std::string as_file_name(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '/' || c == ':'; }, '_');
  return name;
}

Entry entry_for(const std::string& path, const Port& port) {
  return {.input = port.name, .path = path, .type = port.type, .shape = port.shape};
}

// The files of one folder that are inputs, by name or by ONNX's numbering.
std::vector<Entry> named_entries(const std::string& folder, const std::vector<std::string>& names,
                                 std::span<const Port> inputs) {
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    for (const std::string& name : names) {
      const std::string stem = name.substr(0, name.rfind('.'));
      if (is_tensor_file(name) && (stem == inputs[i].name || stem == as_file_name(inputs[i].name) ||
                                   stem == fmt::format("input_{}", i))) {
        entries.push_back(entry_for(folder + "/" + name, inputs[i]));
        break;
      }
    }
  }
  return entries;
}

std::string port_names(std::span<const Port> inputs) {
  std::string text;
  for (const Port& port : inputs) {
    text += (text.empty() ? "'" : ", '") + port.name + "'";
  }
  return text;
}

}  // namespace

Result<std::shared_ptr<const Feeds::Source>> open_folder(const std::string& path,
                                                         std::span<const Port> inputs,
                                                         const FeedOptions&) {
  std::vector<std::string> names = HW_TRY(io::real_files().list(path));
  const auto numbered = [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;  // 2.npy before 10.npy
  };
  std::sort(names.begin(), names.end(), numbered);
  if (std::find(names.begin(), names.end(), "manifest.txt") != names.end()) {
    return std::shared_ptr<const Feeds::Source>(
        std::make_shared<Folder>(HW_TRY(read_manifest(path))));
  }
  std::vector<std::vector<Entry>> feeds;
  for (const std::string& name : names) {
    const std::string sub = path + "/" + name;
    if (!is_folder(sub)) {
      continue;
    }
    std::vector<Entry> entries = named_entries(sub, HW_TRY(io::real_files().list(sub)), inputs);
    if (entries.size() != inputs.size()) {
      return Error::invalid("folder '{}' has {} of the model's inputs {}", sub, entries.size(),
                            port_names(inputs));
    }
    feeds.push_back(std::move(entries));
  }
  if (feeds.empty()) {
    std::vector<Entry> entries = named_entries(path, names, inputs);
    if (entries.size() == inputs.size()) {
      feeds.push_back(std::move(entries));
    } else if (inputs.size() == 1) {
      for (const std::string& name : names) {
        if (is_tensor_file(name)) {
          feeds.push_back({entry_for(path + "/" + name, inputs[0])});
        }
      }
    }
  }
  if (feeds.empty()) {
    return Error::invalid(
        "folder '{}' has no manifest.txt, no folders, and no .npy, .pb or .raw files for the "
        "inputs {}",
        path, port_names(inputs));
  }
  return std::shared_ptr<const Feeds::Source>(std::make_shared<Folder>(std::move(feeds)));
}

Result<Tensor> parse_npy(std::string_view bytes) {
  if (!bytes.starts_with("\x93NUMPY") || bytes.size() < 12) {
    return Error::corrupt("not a .npy file");
  }
  const int major = bytes[6];
  const std::size_t prefix = major == 1 ? 10 : 12;
  const std::size_t length = major == 1
                                 ? load<std::uint16_t>(bytes.data() + 8)
                                 : static_cast<std::size_t>(load<std::uint32_t>(bytes.data() + 8));
  if (length > bytes.size() - prefix) {
    return Error::corrupt("the .npy header is cut off");
  }
  const std::string header(bytes.substr(prefix, length));
  const auto value_of = [&](std::string_view key) -> std::string_view {
    const std::size_t at = header.find(fmt::format("'{}':", key));
    return at == std::string::npos ? std::string_view{}
                                   : trim(std::string_view(header).substr(at + key.size() + 3));
  };
  const std::string_view descr = value_of("descr");
  static const std::map<std::string_view, int> kTypes = {
      {"<f4", 1}, {"|u1", 2}, {"|i1", 3},  {"<u2", 4},  {"<i2", 5},  {"<i4", 6},
      {"<i8", 7}, {"|b1", 9}, {"<f2", 10}, {"<f8", 11}, {"<u4", 12}, {"<u8", 13}};
  const auto type = descr.size() < 5 ? kTypes.end() : kTypes.find(descr.substr(1, 3));
  if (type == kTypes.end()) {
    return Error::invalid("elements of {} are not read (little-endian numbers and bool are)",
                          descr.substr(0, descr.find(',')));
  }
  Tensor tensor;
  tensor.type = type->second;
  std::string_view shape = value_of("shape");
  const std::size_t close = shape.find(')');
  if (!shape.starts_with("(") || close == std::string_view::npos) {
    return Error::corrupt("the .npy header has no shape");
  }
  std::uint64_t elements = 1;
  for (const std::string_view part : split(shape.substr(1, close - 1), ',')) {
    const std::string_view word = trim(part);
    if (word.empty()) {
      continue;
    }
    std::int64_t dim = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), dim);
    if (error != std::errc() || end != word.data() + word.size() || dim < 0 ||
        __builtin_mul_overflow(elements, static_cast<std::uint64_t>(dim), &elements)) {
      return Error::corrupt("the .npy header's shape cannot be read");
    }
    tensor.shape.push_back(dim);
  }
  const std::string_view data = bytes.substr(prefix + length);
  const std::size_t width = type_width(tensor.type);
  if (data.size() / width != elements || data.size() % width != 0) {
    return Error::corrupt("{} bytes of data, {} {} elements expected", data.size(), elements,
                          type_name(tensor.type));
  }
  if (value_of("fortran_order").starts_with("True") && tensor.shape.size() > 1) {
    return Error::invalid("Fortran order is not read; save it with np.ascontiguousarray()");
  }
  tensor.bytes = std::string(data);
  return tensor;
}

Result<Tensor> read_npy(const std::string& path) {
  const std::string bytes = HW_TRY(read_bounded(path));
  return parse_npy(bytes).with("read '{}'", path);
}

Result<Tensor> read_tensor_pb(const std::string& path) {
  const std::string bytes = HW_TRY(read_bounded(path));
  onnx::TensorProto proto;
  if (!proto.ParseFromString(bytes)) {
    return Error::corrupt("read '{}': not a TensorProto", path);
  }
  Tensor tensor;
  tensor.type = proto.data_type();
  tensor.shape.assign(proto.dims().begin(), proto.dims().end());
  if (tensor.type == onnx::TensorProto::STRING) {
    tensor.strings.assign(proto.string_data().begin(), proto.string_data().end());
    return tensor;
  }
  std::string scratch;
  const std::string_view elements =
      HW_TRY(tensor_bytes(OnnxModel{}, proto, scratch).with("read '{}'", path));
  tensor.bytes = std::string(elements);
  return tensor;
}

}  // namespace headwater::workbench
