// Where each option's value came from, and the values that go before the file:
//
//   remote (twin, hub) > flag > environment > file > default
//
//   Origins origins(Environment::of_process());
//   origins.set_flag("edge.data_dir", "/var/lib/headwater");       // --set edge.data_dir=…
//   diagnostics.set_origins(&origins);
//   parse(*root, options, diagnostics);
//   origins.report_unused(diagnostics);          // a misspelled --set is an error
//   for (const Origins::Entry& entry : origins.entries()) { … }    // check --explain
//
// An option takes the environment variable HEADWATER_ + its path in upper case with `_` for every
// other character (edge.data_dir: HEADWATER_EDGE_DATA_DIR), or the one its schema declares
// (MODEL_PATH). A declared variable must have one option to go to: two are an error.
// Remote values are taken for options that are live only. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostics.h"
#include "config/environment.h"
#include "config/node.h"

namespace headwater::config {

enum class Origin : std::uint8_t { kDefault, kFile, kEnvironment, kFlag, kRemote };
// "default", "file", "environment", "flag", "remote".
std::string_view origin_name(Origin origin);

class Origins {
 public:
  struct Entry {
    std::string path;  // "edge.data_dir"
    Origin origin = Origin::kDefault;
    std::string detail;  // "edge.yaml:3:12", "HEADWATER_EDGE_DATA_DIR", "--set", the revision
    std::string value;   // as text; "***" or ${…} when secret
    bool secret = false;
  };

  Origins() = default;
  explicit Origins(Environment environment) : environment_(std::move(environment)) {}

  // `value` is the text of a scalar, or YAML for a list. A later call for the same path wins.
  void set_flag(std::string path, std::string value);
  void set_remote(std::string path, std::string value, std::string revision);

  const std::vector<Entry>& entries() const { return entries_; }
  const Entry* find(std::string_view path) const;
  // An error for each flag and remote value that no option took, a warning for each HEADWATER_
  // variable, with the nearest path. Call it after everything is parsed.
  void report_unused(Diagnostics& diagnostics) const;

  // For parse().
  struct Override {
    Origin origin = Origin::kDefault;
    std::string value;
    std::string detail;
  };
  // The value that goes before the file, of the highest authority. `declared` is the schema's own
  // variable name or "".
  std::optional<Override> override_for(const std::string& path, std::string_view declared,
                                       bool live, Diagnostics& diagnostics);
  void record(Entry entry);

 private:
  struct Given {
    std::string path;
    Override value;
    bool used = false;
    bool refused = false;  // remote, and the option is not live
  };
  std::vector<Given> given_;
  Environment environment_;
  std::vector<std::pair<std::string, std::string>> declared_;  // variable, the path that took it
  std::vector<std::string> used_variables_;
  std::vector<Entry> entries_;
};

}  // namespace headwater::config
