#include "model/model.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "base/strings.h"
#include "io/cgroup.h"
#include "model/ort.h"
#include "model/runtime.h"
#include "model/session.h"

namespace headwater::model {
namespace {

constexpr std::uint64_t kSmallModel = 1 << 20;  // below: one thread
constexpr std::uint64_t kGpuModel = 16 << 20;   // below: the copies to the device cost more
constexpr int kMaxAutoThreads = 4;
constexpr std::string_view kCudaProvider = "CUDAExecutionProvider";

std::string_view onnx_type_name(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return "float32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return "float64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return "int64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return "int32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
      return "bool";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING:
      return "string";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return "float16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return "bfloat16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return "uint8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return "int8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
      return "uint16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
      return "int16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
      return "uint32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
      return "uint64";
    default:
      return "other";
  }
}

// False for types that run() does not carry.
bool element_type(ONNXTensorElementDataType from, ElementType& to) {
  constexpr std::array kTypes = {ElementType::kFloat32, ElementType::kFloat64,
                                 ElementType::kInt64,   ElementType::kInt32,
                                 ElementType::kBool,    ElementType::kString};
  for (const ElementType type : kTypes) {
    if (onnx_type(type) == from) {
      to = type;
      return true;
    }
  }
  return false;
}

// The file, read once for its digest; its identity is compared again after the load, so that digest
// and session are of the same bytes.
struct FileFacts {
  std::string digest;
  std::uint64_t bytes = 0;
  struct stat identity {};
};

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

 private:
  int fd_;
};

Result<FileFacts> read_facts(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return Error::from_errno(errno, "open");
  }
  const Descriptor closer(fd);
  FileFacts facts;
  if (fstat(fd, &facts.identity) != 0) {
    return Error::from_errno(errno, "stat");
  }
  if (S_ISDIR(facts.identity.st_mode)) {
    return Error::invalid("it is a directory; name the .onnx file in it");
  }
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(),
                                                                     EVP_MD_CTX_free);
  if (!hash || EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) != 1) {
    return Error::internal("SHA-256 is not available");
  }
  std::vector<char> buffer(64 * 1024);
  std::string head;
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return Error::from_errno(errno, "read");
    }
    if (got == 0) {
      break;
    }
    if (facts.bytes == 0) {
      head.assign(buffer.data(), std::min<std::size_t>(static_cast<std::size_t>(got), 64));
    }
    facts.bytes += static_cast<std::uint64_t>(got);
    EVP_DigestUpdate(hash.get(), buffer.data(), static_cast<std::size_t>(got));
  }
  if (facts.bytes == 0) {
    return Error::corrupt("the file is empty");
  }
  if (head.starts_with("version https://git-lfs")) {
    return Error::corrupt("this is a Git LFS pointer, not the model; run 'git lfs pull'");
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  EVP_DigestFinal_ex(hash.get(), digest.data(), &length);
  facts.digest = to_hex({reinterpret_cast<const char*>(digest.data()), length});
  return facts;
}

std::string shape_text(const PortInfo& port) {
  std::string text = "[";
  for (std::size_t i = 0; i < port.shape.size(); ++i) {
    text += i == 0 ? "" : ", ";
    if (port.shape[i] >= 0) {
      text += std::to_string(port.shape[i]);
    } else {
      text += port.dims[i].empty() ? "?" : port.dims[i];
    }
  }
  return text + "]";
}

Status describe_tensor(const OrtApi& api, const OrtTensorTypeAndShapeInfo* tensor, PortInfo& port) {
  ONNXTensorElementDataType type{};
  HW_TRY(take_status(api, api.GetTensorElementType(tensor, &type)));
  port.supported = element_type(type, port.type);
  std::size_t rank = 0;
  HW_TRY(take_status(api, api.GetDimensionsCount(tensor, &rank)));
  port.shape.resize(rank);
  HW_TRY(take_status(api, api.GetDimensions(tensor, port.shape.data(), rank)));
  std::vector<const char*> symbols(rank, nullptr);
  HW_TRY(take_status(api, api.GetSymbolicDimensions(tensor, symbols.data(), rank)));
  for (std::size_t i = 0; i < rank; ++i) {
    port.dims.emplace_back(symbols[i] != nullptr ? symbols[i] : "");
    port.shape[i] = port.shape[i] < 0 ? -1 : port.shape[i];
  }
  port.text = fmt::format("{} {}", onnx_type_name(type), shape_text(port));
  return {};
}

// sequence(map(int64 or string, float)) is what scikit-learn's classifiers give; other sequences
// are not carried.
Status describe_sequence(const OrtApi& api, const OrtTypeInfo* info, PortInfo& port) {
  port.supported = false;
  port.text = "sequence";
  const OrtSequenceTypeInfo* sequence = nullptr;
  HW_TRY(take_status(api, api.CastTypeInfoToSequenceTypeInfo(info, &sequence)));
  Owned<OrtTypeInfo> element(api.ReleaseTypeInfo);
  HW_TRY(take_status(api, api.GetSequenceElementType(sequence, element.out())));
  const OrtMapTypeInfo* map = nullptr;
  HW_TRY(take_status(api, api.CastTypeInfoToMapTypeInfo(element.get(), &map)));
  if (map == nullptr) {
    return {};
  }
  ONNXTensorElementDataType key{};
  HW_TRY(take_status(api, api.GetMapKeyType(map, &key)));
  Owned<OrtTypeInfo> value(api.ReleaseTypeInfo);
  HW_TRY(take_status(api, api.GetMapValueType(map, value.out())));
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  HW_TRY(take_status(api, api.CastTypeInfoToTensorInfo(value.get(), &tensor)));
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  if (tensor != nullptr) {
    HW_TRY(take_status(api, api.GetTensorElementType(tensor, &type)));
  }
  port.text = fmt::format("sequence(map({}, {}))", onnx_type_name(key), onnx_type_name(type));
  port.is_sequence_of_maps = true;
  port.supported =
      type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT &&
      (key == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 || key == ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING);
  port.type = ElementType::kFloat32;
  port.shape = {-1, -1};
  port.dims = {"", ""};
  return {};
}

Status describe(const OrtApi& api, const OrtTypeInfo* info, PortInfo& port) {
  ONNXType kind{};
  HW_TRY(take_status(api, api.GetOnnxTypeFromTypeInfo(info, &kind)));
  if (kind == ONNX_TYPE_TENSOR) {
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    HW_TRY(take_status(api, api.CastTypeInfoToTensorInfo(info, &tensor)));
    return describe_tensor(api, tensor, port);
  }
  if (kind == ONNX_TYPE_SEQUENCE) {
    return describe_sequence(api, info, port);
  }
  port.supported = false;
  port.text = kind == ONNX_TYPE_OPTIONAL       ? "optional"
              : kind == ONNX_TYPE_MAP          ? "map"
              : kind == ONNX_TYPE_SPARSETENSOR ? "sparse tensor"
                                               : "opaque";
  return {};
}

// Takes a string that the API allocated.
std::string take_text(const Session& session, char* text) {
  std::string copy(text != nullptr ? text : "");
  if (text != nullptr) {
    session.allocator->Free(session.allocator, text);
  }
  return copy;
}

Status read_ports(Session& to) {
  const OrtApi& api = *to.api;
  std::size_t count = 0;
  HW_TRY(take_status(api, api.SessionGetInputCount(to.session.get(), &count)));
  for (std::size_t i = 0; i < count; ++i) {
    PortInfo port;
    char* name = nullptr;
    HW_TRY(take_status(api, api.SessionGetInputName(to.session.get(), i, to.allocator, &name)));
    port.name = take_text(to, name);
    Owned<OrtTypeInfo> type(api.ReleaseTypeInfo);
    HW_TRY(take_status(api, api.SessionGetInputTypeInfo(to.session.get(), i, type.out())));
    HW_TRY(describe(api, type.get(), port));
    to.inputs.push_back(std::move(port));
  }
  HW_TRY(take_status(api, api.SessionGetOutputCount(to.session.get(), &count)));
  for (std::size_t i = 0; i < count; ++i) {
    PortInfo port;
    char* name = nullptr;
    HW_TRY(take_status(api, api.SessionGetOutputName(to.session.get(), i, to.allocator, &name)));
    port.name = take_text(to, name);
    Owned<OrtTypeInfo> type(api.ReleaseTypeInfo);
    HW_TRY(take_status(api, api.SessionGetOutputTypeInfo(to.session.get(), i, type.out())));
    HW_TRY(describe(api, type.get(), port));
    to.outputs.push_back(std::move(port));
  }
  for (const PortInfo& port : to.inputs) {
    to.input_names.push_back(port.name.c_str());
  }
  return {};
}

Status read_metadata(Session& to) {
  const OrtApi& api = *to.api;
  Owned<OrtModelMetadata> metadata(api.ReleaseModelMetadata);
  HW_TRY(take_status(api, api.SessionGetModelMetadata(to.session.get(), metadata.out())));
  char** keys = nullptr;
  std::int64_t count = 0;
  HW_TRY(take_status(
      api, api.ModelMetadataGetCustomMetadataMapKeys(metadata.get(), to.allocator, &keys, &count)));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string key = take_text(to, keys[i]);
    char* value = nullptr;
    HW_TRY(take_status(api, api.ModelMetadataLookupCustomMetadataMap(metadata.get(), to.allocator,
                                                                     key.c_str(), &value)));
    to.metadata[key] = take_text(to, value);
  }
  if (keys != nullptr) {
    to.allocator->Free(to.allocator, keys);
  }
  std::int64_t version = 0;
  HW_TRY(take_status(api, api.ModelMetadataGetVersion(metadata.get(), &version)));
  // ONNX Runtime gives the greatest number for a file that says nothing.
  constexpr std::int64_t kUnset = std::numeric_limits<std::int64_t>::max();
  to.version = version != 0 && version != kUnset ? std::to_string(version) : "";
  if (const auto found = to.metadata.find("headwater.version"); found != to.metadata.end()) {
    to.version = found->second;
  }
  to.name = to.path.substr(to.path.rfind('/') + 1);
  if (to.name.ends_with(".onnx")) {
    to.name.resize(to.name.size() - 5);
  }
  if (const auto found = to.metadata.find("headwater.name"); found != to.metadata.end()) {
    to.name = found->second;
  }
  return {};
}

Status append_cuda(const OrtApi& api, OrtSessionOptions* options) {
  Owned<OrtCUDAProviderOptionsV2> cuda(api.ReleaseCUDAProviderOptions);
  HW_TRY(take_status(api, api.CreateCUDAProviderOptions(cuda.out())));
  return take_status(api, api.SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda.get()));
}

bool offers(const Runtime& runtime, std::string_view provider) {
  const auto& all = runtime.info.providers;
  return std::find(all.begin(), all.end(), provider) != all.end();
}

// ONNX Runtime's words without the path, which is said already, and with the remedy where there is
// one.
Error clearer(Error error, const Runtime& runtime, const std::string& path) {
  std::string text = error.text();
  const std::string prefix = fmt::format("Load model from {} failed:", path);
  if (text.starts_with(prefix)) {
    text = std::string(trim(std::string_view(text).substr(prefix.size())));
  }
  // "/…/model_load_utils.h:46 void …ValidateOpsetForDomain(…) ONNX Runtime only *guarantees* …"
  if (const std::size_t opset = text.find("Opset "); text[0] == '/' && opset != text.npos) {
    text = text.substr(opset, text.find(". ", opset) - opset);
  }
  if (error.code() == Code::kCorrupt) {
    text += "; the file is cut off, or it is not an ONNX model";
  } else if (text.find("is not a registered function/op") != std::string::npos ||
             text.find("No Op registered for") != std::string::npos ||
             text.find("opset") != std::string::npos || text.starts_with("Opset ")) {
    text += fmt::format(
        "; ONNX Runtime {} cannot run this: export the model with standard operators of a current "
        "opset",
        runtime.info.version);
  } else if (text.find("External data path") != std::string::npos) {
    text += "; the weights stand in a file of their own: copy it to the model's folder";
  }
  return Error(error.code(), std::move(text));
}

Status create_session(const Runtime& runtime, Session& to, bool cuda) {
  const OrtApi& api = *runtime.api;
  Owned<OrtSessionOptions> options(api.ReleaseSessionOptions);
  HW_TRY(take_status(api, api.CreateSessionOptions(options.out())));
  HW_TRY(take_status(api, api.SetIntraOpNumThreads(options.get(), to.threads)));
  HW_TRY(take_status(api, api.SetInterOpNumThreads(options.get(), 1)));
  HW_TRY(take_status(api, api.SetSessionExecutionMode(options.get(), ORT_SEQUENTIAL)));
  HW_TRY(take_status(api, api.SetSessionGraphOptimizationLevel(options.get(), ORT_ENABLE_ALL)));
  for (const char* key : {"session.intra_op.allow_spinning", "session.inter_op.allow_spinning"}) {
    HW_TRY(take_status(api, api.AddSessionConfigEntry(options.get(), key, "0")));
  }
  if (cuda) {
    HW_TRY(append_cuda(api, options.get()).with("cuda provider"));
  }
  to.provider = cuda ? "cuda" : "cpu";
  Status created = take_status(
      api, api.CreateSession(runtime.env, to.path.c_str(), options.get(), to.session.out()));
  return created ? Status{} : clearer(std::move(created).error(), runtime, to.path);
}

Result<std::shared_ptr<const Session>> open_session(const ModelOptions& options) {
  if (options.path.empty()) {
    return Error::invalid("no path given");
  }
  if (options.provider != "auto" && options.provider != "cpu" && options.provider != "cuda") {
    return Error::invalid("provider '{}' is not known; use auto, cpu or cuda", options.provider);
  }
  const FileFacts facts = HW_TRY(read_facts(options.path));
  const Runtime* opened = HW_TRY(runtime());
  auto made = std::make_shared<Session>();
  made->api = opened->api;
  made->path = options.path;
  made->digest = facts.digest;
  made->file_bytes = facts.bytes;
  const int usable = io::read_resource_limits().usable_cpus();
  made->threads = pick_threads(options.threads, facts.bytes, usable);
  made->cpu = Owned<OrtMemoryInfo>(made->api->ReleaseMemoryInfo);
  HW_TRY(take_status(*made->api, made->api->CreateCpuMemoryInfo(
                                     OrtDeviceAllocator, OrtMemTypeDefault, made->cpu.out())));
  HW_TRY(take_status(*made->api, made->api->GetAllocatorWithDefaultOptions(&made->allocator)));
  made->session = Owned<OrtSession>(made->api->ReleaseSession);

  const bool has_cuda = offers(*opened, kCudaProvider);
  const bool try_cuda = options.provider == "auto" && has_cuda && facts.bytes >= kGpuModel;
  if (options.provider == "cuda" && !has_cuda) {
    return Error::invalid(
        "{} {} has no CUDA provider; set HEADWATER_ONNXRUNTIME to a build that has",
        opened->info.library, opened->info.version);
  }
  if (options.provider == "cuda") {
    HW_TRY(create_session(*opened, *made, true));
  } else if (!try_cuda || !create_session(*opened, *made, true)) {
    HW_TRY(create_session(*opened, *made, false));
  }
  struct stat now {};
  if (stat(options.path.c_str(), &now) != 0 || !same_file(now, facts.identity)) {
    return Error::unavailable("the file changed while it was read");
  }
  HW_TRY(read_ports(*made));
  HW_TRY(read_metadata(*made));
  drop_startup_memory();
  return std::shared_ptr<const Session>(std::move(made));
}

}  // namespace

ONNXTensorElementDataType onnx_type(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case ElementType::kFloat64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
    case ElementType::kInt64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case ElementType::kInt32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case ElementType::kBool:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
    case ElementType::kString:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

int pick_threads(int asked, std::uint64_t file_bytes, int usable_cpus) {
  const int wanted = asked > 0 ? asked : file_bytes < kSmallModel ? 1 : kMaxAutoThreads;
  return std::max(1, std::min(wanted, usable_cpus));
}

Result<std::unique_ptr<Model>> Model::load(ModelOptions options) {
  auto session = open_session(options);
  if (!session) {
    return std::move(session).error().with("load model '{}'", options.path);
  }
  return std::unique_ptr<Model>(new Model(std::move(session).value()));
}

Model::Model(std::shared_ptr<const Session> session)
    : session_(std::move(session)), calls_(std::make_unique<Calls>()) {
  const std::size_t inputs = session_->inputs.size();
  const std::size_t outputs = session_->outputs.size();
  for (std::size_t i = 0; i < inputs; ++i) {
    calls_->inputs.emplace_back().value = Owned<OrtValue>(session_->api->ReleaseValue);
  }
  for (std::size_t i = 0; i < outputs; ++i) {
    calls_->outputs.emplace_back().value = Owned<OrtValue>(session_->api->ReleaseValue);
    calls_->kept.emplace_back().value = Owned<OrtValue>(session_->api->ReleaseValue);
    calls_->all.push_back(i);
  }
}

Model::~Model() = default;

std::unique_ptr<Model> Model::another() const {
  return std::unique_ptr<Model>(new Model(session_));
}

std::span<const PortInfo> Model::inputs() const {
  return session_->inputs;
}
std::span<const PortInfo> Model::outputs() const {
  return session_->outputs;
}
const std::string& Model::path() const {
  return session_->path;
}
const std::string& Model::digest() const {
  return session_->digest;
}
std::uint64_t Model::file_bytes() const {
  return session_->file_bytes;
}
const std::string& Model::name() const {
  return session_->name;
}
const std::string& Model::version() const {
  return session_->version;
}
const std::map<std::string, std::string>& Model::metadata() const {
  return session_->metadata;
}
const std::string& Model::provider() const {
  return session_->provider;
}
int Model::threads() const {
  return session_->threads;
}

}  // namespace headwater::model
