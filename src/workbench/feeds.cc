#include "workbench/feeds.h"

#include <sys/stat.h>

#include <algorithm>
#include <random>

#include "base/bytes.h"
#include "base/strings.h"
#include "io/files.h"
#include "workbench/digest.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

// Noise in [0, 1) for floats, small numbers for integers; the same on every machine.
class Synthetic final : public Feeds::Source {
 public:
  Synthetic(std::span<const Port> inputs, const FeedOptions& options)
      : inputs_(inputs.begin(), inputs.end()),
        count_(options.synthetic_count),
        free_(options.free_dimension),
        max_bytes_(options.max_synthetic_bytes) {}

  std::size_t size() const override { return count_; }

  Result<Feed> read(std::size_t index) const override {
    std::mt19937_64 random(index + 1);
    Feed feed;
    std::uint64_t room = max_bytes_;
    for (const Port& port : inputs_) {
      Tensor tensor;
      tensor.type = port.type;
      std::uint64_t elements = 1;
      bool wraps = false;
      for (const std::int64_t dim : port.shape) {
        tensor.shape.push_back(dim < 0 ? free_ : dim);
        wraps = __builtin_mul_overflow(elements, static_cast<std::uint64_t>(tensor.shape.back()),
                                       &elements) ||
                wraps;
      }
      const std::size_t width = type_width(port.type);
      if (width == 0 && port.type != onnx::TensorProto::STRING) {
        return Error::invalid("input '{}' ({}) cannot be made up", port.name, port.text);
      }
      const std::uint64_t each = width == 0 ? sizeof(std::string) : width;
      if (wraps || elements > room / each) {
        return Error::invalid(
            "input '{}' ({}) is too large to make up: {} bytes are the limit of all "
            "inputs together",
            port.name, port.text, max_bytes_);
      }
      room -= elements * each;
      for (std::size_t i = 0; i < elements; ++i) {
        append(port.type, width, random(), tensor);
      }
      feed.emplace(port.name, std::move(tensor));
    }
    return feed;
  }

 private:
  static void append(int type, std::size_t width, std::uint64_t bits, Tensor& to) {
    const double fraction = static_cast<double>(bits >> 11) * 0x1p-53;
    ByteWriter out(to.bytes);
    if (type == onnx::TensorProto::STRING) {
      to.strings.push_back("text");
    } else if (type == onnx::TensorProto::FLOAT) {
      out.put(static_cast<float>(fraction));
    } else if (type == onnx::TensorProto::DOUBLE) {
      out.put(fraction);
    } else if (type == onnx::TensorProto::FLOAT16) {
      out.put(static_cast<std::uint16_t>(0x3000 + (bits & 0x7FF)));  // 0.125 to 0.5
    } else if (type == onnx::TensorProto::BFLOAT16) {
      out.put(static_cast<std::uint16_t>(0x3E00 + (bits & 0xFF)));  // 0.125 to 0.5
    } else {
      // 0 or 1: good for token ids, masks and indices alike.
      std::string element(width, '\0');
      element[0] = static_cast<char>(bits & 1);
      to.bytes += element;
    }
  }

  std::vector<Port> inputs_;
  std::size_t count_;
  std::int64_t free_;
  std::uint64_t max_bytes_;
};

// One array, cut along its first axis.
class Slices final : public Feeds::Source {
 public:
  Slices(Tensor whole, Port input) : whole_(std::move(whole)), input_(std::move(input)) {}

  std::size_t size() const override { return static_cast<std::size_t>(whole_.shape.at(0)); }

  Result<Feed> read(std::size_t index) const override {
    Tensor slice{.type = whole_.type, .shape = whole_.shape, .bytes = {}, .strings = {}};
    slice.shape[0] = 1;
    if (input_.has_shape && input_.shape.size() + 1 == slice.shape.size()) {
      slice.shape.erase(slice.shape.begin());
    }
    const std::size_t stride = whole_.bytes.size() / size();
    slice.bytes = whole_.bytes.substr(index * stride, stride);
    Feed feed;
    feed.emplace(input_.name, std::move(slice));
    return feed;
  }

 private:
  Tensor whole_;
  Port input_;
};

}  // namespace

Result<Feeds> Feeds::open(const std::string& where, std::span<const Port> inputs,
                          const FeedOptions& options) {
  if (where.empty()) {
    if (!options.allow_synthetic) {
      return Error::invalid(
          "no inputs given: name a folder or file with --data, or allow made-up ones with "
          "--allow-synthetic (then accuracy is not verified)");
    }
    return Feeds(std::make_shared<Synthetic>(inputs, options), "");
  }
  struct stat facts {};
  if (stat(where.c_str(), &facts) != 0) {
    return Error::from_errno(errno, fmt::format("inputs '{}'", where));
  }
  std::shared_ptr<const Source> source;
  if (S_ISDIR(facts.st_mode)) {
    source = HW_TRY(open_folder(where, inputs, options));
  } else if (where.ends_with(".csv") || where.ends_with(".jsonl") || where.ends_with(".ndjson")) {
    source = HW_TRY(open_rows(where, inputs, options));
  } else if (where.ends_with(".npy")) {
    if (inputs.size() != 1) {
      return Error::invalid("inputs '{}': one .npy file, but the model has {} inputs", where,
                            inputs.size());
    }
    Tensor whole = HW_TRY(read_npy(where));
    if (whole.shape.empty() || whole.shape[0] == 0) {
      return Error::invalid("inputs '{}': no rows", where);
    }
    source = std::make_shared<Slices>(std::move(whole), inputs[0]);
  } else {
    return Error::invalid("inputs '{}': give a folder, .npy, .csv or .jsonl", where);
  }
  if (source->size() == 0) {
    return Error::invalid("inputs '{}': none found", where);
  }
  if (source->size() > options.max_feeds) {
    return Error::exhausted("inputs '{}': {} of them, {} at most", where, source->size(),
                            options.max_feeds);
  }
  return Feeds(std::move(source), where);
}

Result<std::string> Feeds::digest() const {
  Sha256 hash;
  for (std::size_t i = 0; i < size(); ++i) {
    const Feed feed = HW_TRY(read(i));
    for (const auto& [name, tensor] : feed) {
      std::string head = fmt::format("{} {} {}", name, tensor.type, tensor.shape.size());
      for (const std::int64_t dim : tensor.shape) {
        head += fmt::format(" {}", dim);
      }
      hash.add(head + "\n");
      hash.add(tensor.bytes);
      for (const std::string& text : tensor.strings) {
        hash.add(text);
      }
    }
  }
  return hash.hex();
}

}  // namespace headwater::workbench
