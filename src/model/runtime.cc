#include "model/runtime.h"

#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "base/strings.h"
#include "model/ort.h"

namespace headwater::model {
namespace {

constexpr std::size_t kMaxErrorText = 600;

std::string executable_dir() {
  std::array<char, 4096> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  if (length <= 0) {
    return {};
  }
  const std::string_view text(path.data(), static_cast<std::size_t>(length));
  return std::string(text.substr(0, text.rfind('/')));
}

// Errors reach the caller as statuses; a copy on stderr would be noise beside our structured log.
void ORT_API_CALL drop_log(void*, OrtLoggingLevel, const char*, const char*, const char*,
                           const char*) {}

bool has_text_relocations(const dl_phdr_info& object) {
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    if (object.dlpi_phdr[i].p_type != PT_DYNAMIC) {
      continue;
    }
    const auto* entry =
        reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + object.dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag == DT_TEXTREL ||
          (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0)) {
        return true;
      }
    }
  }
  return false;
}

std::string joined(std::span<const std::string> parts) {
  std::string text;
  for (const std::string& part : parts) {
    text += text.empty() ? "" : ", ";
    text += part;
  }
  return text;
}

Result<std::unique_ptr<Runtime>> start() {
  const std::vector<std::string> candidates = library_candidates();
  const Library library = HW_TRY(open_library(candidates));
  auto made = std::make_unique<Runtime>();
  made->api = library.api;
  made->info.library = library.path;
  made->info.version = library.version;
  // Sessions have their own threads (none for one thread), so the environment gets no pool.
  HW_TRY(take_status(*library.api,
                     library.api->CreateEnvWithCustomLogger(
                         drop_log, nullptr, ORT_LOGGING_LEVEL_ERROR, "headwater", &made->env)));
  HW_TRY(take_status(*library.api, library.api->DisableTelemetryEvents(made->env)));
  char** names = nullptr;
  int count = 0;
  HW_TRY(take_status(*library.api, library.api->GetAvailableProviders(&names, &count)));
  made->info.providers.assign(names, names + count);
  HW_TRY(take_status(*library.api, library.api->ReleaseAvailableProviders(names, count)));
  return {std::move(made)};
}

}  // namespace

Status take_status(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) {
    return {};
  }
  std::string text;
  for (const char c : std::string_view(api.GetErrorMessage(status))) {
    const bool blank = c == '\n' || c == '\t' || c == '\r' || c == ' ';
    if (!blank) {
      text += c;
    } else if (!text.empty() && text.back() != ' ') {
      text += ' ';
    }
  }
  text = std::string(trim(text));
  if (text.size() > kMaxErrorText) {
    text.resize(kMaxErrorText);
    text += " …";
  }
  const OrtErrorCode code = api.GetErrorCode(status);
  api.ReleaseStatus(status);
  switch (code) {
    case ORT_NO_SUCHFILE:
      return Error(Code::kNotFound, std::move(text));
    case ORT_INVALID_PROTOBUF:
      return Error(Code::kCorrupt, std::move(text));
    default:
      return Error(Code::kInvalid, std::move(text));
  }
}

std::vector<std::string> library_candidates() {
  if (const char* chosen = std::getenv("HEADWATER_ONNXRUNTIME");
      chosen != nullptr && *chosen != 0) {
    return {chosen};
  }
  constexpr std::array<std::string_view, 2> kNames = {"libonnxruntime.so.1", "libonnxruntime.so"};
  std::vector<std::string> candidates;
  if (const std::string dir = executable_dir(); !dir.empty()) {
    for (const std::string_view sub : {"/", "/../lib/"}) {
      for (const std::string_view name : kNames) {
        candidates.push_back(fmt::format("{}{}{}", dir, sub, name));
      }
    }
  }
  for (const std::string_view path : split(HW_ONNXRUNTIME_DEFAULT, ':')) {
    if (!path.empty()) {
      candidates.emplace_back(path);
    }
  }
  candidates.insert(candidates.end(), kNames.begin(), kNames.end());
  return candidates;
}

Result<Library> open_library(std::span<const std::string> candidates) {
  std::string refused;  // why a library that exists was not taken
  for (const std::string& path : candidates) {
    const bool bare_name = path.find('/') == std::string::npos;
    if (!bare_name && access(path.c_str(), F_OK) != 0) {
      continue;
    }
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* why = dlerror();
      if (!bare_name) {
        refused += fmt::format("; {}", why != nullptr ? why : path.c_str());
      }
      continue;
    }
    using GetBase = const OrtApiBase*(ORT_API_CALL*)();
    const auto get_base = reinterpret_cast<GetBase>(dlsym(handle, "OrtGetApiBase"));
    if (get_base == nullptr) {
      refused += fmt::format("; {} is not ONNX Runtime (no OrtGetApiBase)", path);
      dlclose(handle);
      continue;
    }
    const OrtApiBase* base = get_base();
    const OrtApi* api = base->GetApi(kApiVersion);
    if (api == nullptr) {
      refused += fmt::format("; {} is ONNX Runtime {}, which is too old: 1.{} or later is needed",
                             path, base->GetVersionString(), kApiVersion);
      dlclose(handle);
      continue;
    }
    // A taken library stays open for the life of the process.
    Library library{.api = api, .path = path, .version = base->GetVersionString()};
    if (Dl_info info{}; bare_name && dladdr(reinterpret_cast<void*>(get_base), &info) != 0) {
      library.path = info.dli_fname;
    }
    return library;
  }
  return Error::unavailable(
      "no usable ONNX Runtime (looked for {}{}); install libonnxruntime 1.{} or later, or set "
      "HEADWATER_ONNXRUNTIME to the path of libonnxruntime.so",
      joined(candidates), refused, kApiVersion);
}

Result<const Runtime*> runtime() {
  static std::mutex mutex;
  static Runtime* opened = nullptr;  // never released: sessions may outlive every other static
  const std::lock_guard lock(mutex);
  if (opened == nullptr) {
    opened = HW_TRY(start()).release();
  }
  return opened;
}

void drop_startup_memory() {
  // Free blocks that the parser and the optimizer left behind.
  malloc_trim(0);
  // Clean pages of the library's code and constants that only start-up touched. They stay in the
  // page cache; what a run needs comes back with a few minor faults.
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void*) {
        if (std::string_view(object->dlpi_name).find("onnxruntime") == std::string_view::npos) {
          return 0;
        }
        // Relocated code would be lost; no library of x86-64 or arm64 has it.
        if (has_text_relocations(*object)) {
          return 0;
        }
        const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const auto& segment = object->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) {
            continue;
          }
          const std::uintptr_t begin = (object->dlpi_addr + segment.p_vaddr) & ~(page - 1);
          const std::uintptr_t end =
              (object->dlpi_addr + segment.p_vaddr + segment.p_memsz + page - 1) & ~(page - 1);
          madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
        }
        return 0;
      },
      nullptr);
}

Result<RuntimeInfo> open_runtime() {
  return HW_TRY(runtime())->info;
}

}  // namespace headwater::model
