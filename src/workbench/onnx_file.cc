#include "workbench/onnx_file.h"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <limits>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "base/strings.h"
#include "io/files.h"
#include "workbench/digest.h"
#include "workbench/external_files.h"

namespace headwater::workbench {
namespace {

namespace pb = google::protobuf;

constexpr int kMaxNesting = 100;  // messages in messages; a subgraph takes three

// A file for the parser, read once in pieces so that the bytes are not in memory twice.
class FileStream final : public pb::io::CopyingInputStream {
 public:
  explicit FileStream(int fd) : fd_(fd) {}
  ~FileStream() override { close(fd_); }
  FileStream(const FileStream&) = delete;
  FileStream& operator=(const FileStream&) = delete;

  int Read(void* buffer, int size) override {
    ssize_t got = 0;
    do {
      got = read(fd_, buffer, static_cast<std::size_t>(size));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
      error = errno;
      return -1;
    }
    hash.add({static_cast<const char*>(buffer), static_cast<std::size_t>(got)});
    if (bytes < head.size()) {
      const std::size_t room = head.size() - bytes;
      std::copy_n(static_cast<const char*>(buffer), std::min(room, static_cast<std::size_t>(got)),
                  head.begin() + static_cast<std::ptrdiff_t>(bytes));
    }
    bytes += static_cast<std::size_t>(got);
    return static_cast<int>(got);
  }

  Sha256 hash;
  std::size_t bytes = 0;
  std::array<char, 64> head{};
  int error = 0;

 private:
  int fd_;
};

bool parse(pb::io::ZeroCopyInputStream* from, onnx::ModelProto* to) {
  pb::io::CodedInputStream coded(from);
  coded.SetTotalBytesLimit(std::numeric_limits<int>::max());
  coded.SetRecursionLimit(kMaxNesting);
  return to->ParseFromCodedStream(&coded) && coded.ConsumedEntireMessage();
}

Error not_onnx() {
  return Error::corrupt(
      "not an ONNX model: the bytes are cut off, damaged, or nested deeper than {} messages",
      kMaxNesting);
}

// Where a tensor stands: external data may be of a kGraph tensor only.
enum class Place : std::uint8_t { kGraph, kElsewhere };
using TensorVisitor = std::function<Status(const onnx::TensorProto&, Place)>;

Status visit_graph(const onnx::GraphProto& graph, Place place, const TensorVisitor& visit);

Status visit_sparse(const onnx::SparseTensorProto& sparse, const TensorVisitor& visit) {
  HW_TRY(visit(sparse.values(), Place::kElsewhere));
  return visit(sparse.indices(), Place::kElsewhere);
}

template <class Nodes>
Status visit_nodes(const Nodes& nodes, Place place, const TensorVisitor& visit) {
  for (const auto& node : nodes) {
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_t()) {
        HW_TRY(visit(attribute.t(), place));
      }
      for (const auto& tensor : attribute.tensors()) {
        HW_TRY(visit(tensor, place));
      }
      if (attribute.has_sparse_tensor()) {
        HW_TRY(visit_sparse(attribute.sparse_tensor(), visit));
      }
      for (const auto& sparse : attribute.sparse_tensors()) {
        HW_TRY(visit_sparse(sparse, visit));
      }
      if (attribute.has_g()) {
        HW_TRY(visit_graph(attribute.g(), place, visit));
      }
      for (const auto& sub : attribute.graphs()) {
        HW_TRY(visit_graph(sub, place, visit));
      }
    }
  }
  return {};
}

Status visit_graph(const onnx::GraphProto& graph, Place place, const TensorVisitor& visit) {
  for (const auto& tensor : graph.initializer()) {
    HW_TRY(visit(tensor, place));
  }
  for (const auto& sparse : graph.sparse_initializer()) {
    HW_TRY(visit_sparse(sparse, visit));
  }
  return visit_nodes(graph.node(), place, visit);
}

// Every tensor that stands in the file.
Status visit_tensors(const onnx::ModelProto& model, const TensorVisitor& visit) {
  HW_TRY(visit_graph(model.graph(), Place::kGraph, visit));
  for (const auto& function : model.functions()) {
    HW_TRY(visit_nodes(function.node(), Place::kElsewhere, visit));
  }
  for (const auto& training : model.training_info()) {
    HW_TRY(visit_graph(training.initialization(), Place::kElsewhere, visit));
    HW_TRY(visit_graph(training.algorithm(), Place::kElsewhere, visit));
  }
  return {};
}

Status finish(OnnxModel& model) {
  if (!model.proto.has_graph()) {
    return Error::invalid("not an ONNX model: it has no graph");
  }
  if (model.proto.graph().node_size() == 0 && model.proto.graph().output_size() == 0) {
    return Error::invalid("the graph is empty: no nodes and no outputs");
  }
  model.external = std::make_shared<ExternalFiles>(model.folder);
  // Every external tensor is looked up now, so that a bad path is an error of the load.
  return visit_tensors(model.proto, [&](const onnx::TensorProto& tensor, Place place) -> Status {
    if (!is_external(tensor)) {
      return {};
    }
    if (place != Place::kGraph) {
      return Error::invalid(
          "tensor '{}': external data of a sparse tensor, a function or training is not supported; "
          "store it in the .onnx file",
          tensor.name());
    }
    HW_TRY(model.external->find(tensor));
    return {};
  });
}

// Takes external tensors in, or leads them to `out_name`, whose bytes `append` writes.
void take_in(onnx::TensorProto& tensor, std::string_view bytes) {
  tensor.clear_external_data();
  tensor.clear_data_location();
  tensor.set_raw_data(std::string(bytes));
}

// Those that external data may be of, to be changed.
void each_tensor(onnx::ModelProto& model, const std::function<void(onnx::TensorProto&)>& visit) {
  visit_tensors(model, [&](const onnx::TensorProto& tensor, Place place) -> Status {
    if (place == Place::kGraph) {
      visit(const_cast<onnx::TensorProto&>(tensor));  // of `model`, which is not const
    }
    return {};
  }).ok();
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// Removes a half-written file unless keep() was called.
class Draft {
 public:
  explicit Draft(std::string path) : path_(std::move(path)) {}
  ~Draft() {
    if (!kept_) {
      unlink(path_.c_str());
    }
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  void keep() { kept_ = true; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool kept_ = false;
};

std::string draft_name(const std::string& path) {
  return fmt::format("{}.{}.new", path, getpid());
}

Status rename_into_place(Draft& draft, const std::string& path) {
  io::Files& files = io::real_files();
  HW_TRY(files.rename(draft.path(), path));
  draft.keep();
  const std::size_t slash = path.rfind('/');
  return files.sync_dir(slash == std::string::npos ? "."
                        : slash == 0               ? "/"
                                                   : path.substr(0, slash));
}

Status write_draft(const Draft& draft, std::string_view bytes) {
  auto file = HW_TRY(io::real_files().open(draft.path(), io::OpenMode::kCreate));
  HW_TRY(file->truncate(0));
  HW_TRY(file->pwrite(0, bytes));
  return file->sync();
}

Result<std::string> serialize_proto(const onnx::ModelProto& proto) {
  if (proto.ByteSizeLong() > kMaxModelBytes) {
    return Error::exhausted("the model is {} bytes; an .onnx file holds {} at most",
                            proto.ByteSizeLong(), kMaxModelBytes);
  }
  std::string bytes;
  if (!proto.SerializeToString(&bytes)) {
    return Error::internal("protobuf could not serialize the model");
  }
  return bytes;
}

// The data file's name carries its digest: the old model keeps the old file until it is replaced.
std::string weights_name(const std::string& path, const std::string& digest) {
  return fmt::format("{}.{}.data", path, digest.substr(0, 16));
}

// Removes the data files that earlier saves of `path` left, all but `kept` ("": none stays).
void drop_old_weights(const std::string& path, const std::string& kept) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const auto names = io::real_files().list(folder);
  const std::string start = base_name(path) + ".";
  for (const std::string& name : names ? *names : std::vector<std::string>{}) {
    const bool ours = name.size() == start.size() + 21 && name.starts_with(start) &&
                      name.ends_with(".data") &&
                      name.find_first_not_of("0123456789abcdef", start.size()) == name.size() - 5;
    if (ours && name != base_name(kept)) {
      unlink((folder + "/" + name).c_str());
    }
  }
}

// Writes all tensors of 1 KiB and more to `draft`, 64-byte aligned, in the graph's order, and leads
// them to the file's name, which is returned.
Result<std::string> write_weights(const OnnxModel& from, onnx::ModelProto& to, const Draft& draft,
                                  const std::string& path) {
  constexpr std::uint64_t kAlign = 64;
  auto file = HW_TRY(io::real_files().open(draft.path(), io::OpenMode::kCreate));
  HW_TRY(file->truncate(0));
  std::uint64_t at = 0;
  Sha256 hash;
  Status status;
  std::string scratch;
  each_tensor(to, [&](onnx::TensorProto& tensor) {
    if (!status || (!is_external(tensor) && stored_bytes(tensor) < 1024)) {
      return;
    }
    if (tensor.data_type() == onnx::TensorProto::STRING && !is_external(tensor)) {
      return;
    }
    auto bytes = tensor_bytes(from, tensor, scratch);
    if (!bytes) {
      status = std::move(bytes).error();
      return;
    }
    const std::uint64_t start = (at + kAlign - 1) / kAlign * kAlign;
    hash.add(std::string(start - at, '\0'));
    hash.add(*bytes);
    at = start;
    status = file->pwrite(at, *bytes);
    const std::uint64_t length = bytes->size();
    tensor.clear_raw_data();
    tensor.clear_float_data();
    tensor.clear_int32_data();
    tensor.clear_int64_data();
    tensor.clear_double_data();
    tensor.clear_uint64_data();
    tensor.clear_external_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] : {std::pair<std::string, std::string>{"location", ""},
                                     {"offset", std::to_string(at)},
                                     {"length", std::to_string(length)}}) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    at += length;
  });
  HW_TRY(std::move(status));
  HW_TRY(file->sync());
  std::string name = weights_name(path, hash.hex());
  each_tensor(to, [&](onnx::TensorProto& tensor) {
    if (is_external(tensor)) {
      tensor.mutable_external_data(0)->set_value(base_name(name));
    }
  });
  return name;
}

}  // namespace

Result<OnnxModel> load_model(const std::string& path, const LoadLimits& limits) {
  const auto failed = [&](Error error) { return std::move(error).with("load model '{}'", path); };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return failed(Error::from_errno(errno, "open"));
  }
  FileStream stream(fd);
  struct stat facts {};
  if (fstat(fd, &facts) != 0) {
    return failed(Error::from_errno(errno, "stat"));
  }
  if (!S_ISREG(facts.st_mode)) {
    return failed(Error::invalid("not a regular file; name the .onnx file"));
  }
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  if (size == 0) {
    return failed(Error::corrupt("the file is empty"));
  }
  if (size > std::min(limits.max_bytes, kMaxModelBytes)) {
    return failed(Error::exhausted(
        "the file is {} bytes, above the limit of {}; larger models keep their weights in a file "
        "of their own",
        size, std::min(limits.max_bytes, kMaxModelBytes)));
  }
  OnnxModel model;
  bool good = false;
  {
    pb::io::CopyingInputStreamAdaptor adaptor(&stream, 64 * 1024);
    good = parse(&adaptor, &model.proto);
  }
  if (stream.error != 0) {
    return failed(Error::from_errno(stream.error, "read"));
  }
  if (!good) {
    const std::string_view head(stream.head.data(), stream.head.size());
    if (head.starts_with("version https://git-lfs")) {
      return failed(Error::corrupt("this is a Git LFS pointer, not the model; run 'git lfs pull'"));
    }
    if (head.substr(4, 4) == "ORTM") {
      return failed(Error::invalid(
          "this is a model in ORT format; the workbench reads the .onnx it was made from"));
    }
    return failed(not_onnx());
  }
  model.path = path;
  const std::size_t slash = path.rfind('/');
  model.folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  model.file_bytes = stream.bytes;
  model.digest = stream.hash.hex();
  if (Status status = finish(model); !status) {
    return failed(std::move(status).error());
  }
  return model;
}

Result<OnnxModel> parse_model(std::string_view bytes, const std::string& folder,
                              const LoadLimits& limits) {
  if (bytes.size() > std::min(limits.max_bytes, kMaxModelBytes)) {
    return Error::exhausted("the model is {} bytes, above the limit of {}", bytes.size(),
                            std::min(limits.max_bytes, kMaxModelBytes));
  }
  OnnxModel model;
  pb::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  if (bytes.empty() || !parse(&stream, &model.proto)) {
    return not_onnx();
  }
  model.folder = folder;
  model.file_bytes = bytes.size();
  HW_TRY(finish(model));
  return model;
}

Status write_file(const std::string& path, std::string_view bytes) {
  Draft draft(draft_name(path));
  HW_TRY(write_draft(draft, bytes));
  return rename_into_place(draft, path);
}

Result<std::string> serialize(const OnnxModel& model) {
  return serialize_proto(model.proto);
}

Status save_model(const OnnxModel& model, const std::string& path, const SaveOptions& options) {
  std::uint64_t inside = 0;
  bool external = false;
  HW_TRY(visit_tensors(model.proto, [&](const onnx::TensorProto& tensor, Place) -> Status {
    inside += stored_bytes(tensor);
    external = external || is_external(tensor);
    return {};
  }));
  const auto failed = [&](Error error) { return std::move(error).with("write '{}'", path); };
  if (!external && inside <= options.inline_bytes) {
    auto bytes = serialize_proto(model.proto);
    if (!bytes) {
      return failed(std::move(bytes).error());
    }
    Status status = write_file(path, *bytes);
    if (!status) {
      return failed(std::move(status).error());
    }
    drop_old_weights(path, "");
    return {};
  }
  onnx::ModelProto copy = model.proto;
  std::optional<Draft> weights;
  std::string weights_path;
  Status status;
  if (inside <= options.inline_bytes) {
    each_tensor(copy, [&](onnx::TensorProto& tensor) {
      if (status && is_external(tensor)) {
        std::string scratch;
        auto bytes = tensor_bytes(model, tensor, scratch);
        if (bytes) {
          take_in(tensor, *bytes);
        } else {
          status = std::move(bytes).error();
        }
      }
    });
  } else {
    weights.emplace(draft_name(path + ".data"));
    auto name = write_weights(model, copy, *weights, path);
    if (name) {
      weights_path = std::move(*name);
    } else {
      status = std::move(name).error();
    }
  }
  if (!status) {
    return failed(std::move(status).error());
  }
  auto bytes = serialize_proto(copy);
  if (!bytes) {
    return failed(std::move(bytes).error());
  }
  Draft draft(draft_name(path));
  status = write_draft(draft, *bytes);
  // Equal weights have one name: the old model may read that file, so only a new one goes again.
  const bool fresh = weights && access(weights_path.c_str(), F_OK) != 0;
  if (status && weights) {
    status = rename_into_place(*weights, weights_path);
  }
  if (status) {
    status = rename_into_place(draft, path);
    if (status) {
      drop_old_weights(path, weights_path);
    } else if (fresh) {
      unlink(weights_path.c_str());
    }
  }
  return status ? Status{} : failed(std::move(status).error());
}

bool has_external(const OnnxModel& model) {
  bool external = false;
  visit_tensors(model.proto, [&](const onnx::TensorProto& tensor, Place) -> Status {
    external = external || is_external(tensor);
    return {};
  }).ok();
  return external;
}

std::uint64_t external_bytes(const OnnxModel& model) {
  std::uint64_t bytes = 0;
  visit_tensors(model.proto, [&](const onnx::TensorProto& tensor, Place) -> Status {
    bytes += is_external(tensor) ? stored_bytes(tensor) : 0;
    return {};
  }).ok();
  return bytes;
}

Status copy_model(const OnnxModel& original, const std::string& output) {
  if (has_external(original) || original.path.empty()) {
    return save_model(original, output);
  }
  const std::string bytes = HW_TRY(io::real_files().read_all(original.path));
  return write_file(output, bytes);
}

}  // namespace headwater::workbench
