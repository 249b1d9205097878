// YAML bytes → tree → options → dump → tree: no crash, bounded time, secrets masked, and a dump
// loads back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/describe.h"
#include "config/load.h"
#include "config/origins.h"
#include "config/sample_options.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace headwater::config;  // NOLINT: a fuzz entry point stands outside the namespace
  static const Environment kEnvironment{{"PASSWORD", "hunter2hunter2"}, {"N", "7"}};
  std::string text(reinterpret_cast<const char*>(bytes), size);
  if (text.find("hunter2") != std::string::npos || text.find("file:") != std::string::npos) {
    return 0;  // the first would be no leak, the second would read files of the machine
  }
  Diagnostics diagnostics;
  Origins origins(kEnvironment);
  diagnostics.set_origins(&origins);
  const auto node = load_text(text, "fuzz.yaml", diagnostics, kEnvironment,
                              {.bytes = std::size_t{1} << 16, .nodes = 5'000});
  if (node) {
    Diagnostics again;
    const auto back = load_text(to_yaml(*node), "again.yaml", again, kEnvironment);
    if (diagnostics.ok() && (!back || !(*back == *node))) {
      // A ${…} that was put in is written back as a reference, so it comes back equal too.
      std::abort();
    }
    SampleOptions options;
    if (parse(*node, options, diagnostics)) {
      if (to_yaml(dump(options, &origins)).find("hunter2") != std::string::npos) {
        std::abort();
      }
    }
  }
  if ((diagnostics.text(true) + diagnostics.json()).find("hunter2") != std::string::npos) {
    std::abort();
  }
  return 0;
}
