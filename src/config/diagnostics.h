// Everything wrong with a config, collected so that one run of `check` shows all of it.
//
//   edge.yaml:12:28: error: batch_size: 0 is outside [1, 4096]
//      12 |       - detect: {batch_size: 0}
//         |                              ^
//   edge.yaml:13:18: error: unknown option 'batchsize', did you mean 'batch_size'?
//
// Not thread-safe: one per load. Values that came from ${…} are masked in every text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/node.h"

namespace headwater::config {

class Origins;

enum class Severity : std::uint8_t { kError, kWarning };

struct Diagnostic {
  Severity severity = Severity::kError;
  Place place;
  std::string text;
  std::string note;  // one line that helps; may be empty
  Code code = Code::kInvalid;
};

class Diagnostics {
 public:
  void error(const Node& at, std::string text, std::string note = {}) {
    error(at.place(), std::move(text), std::move(note));
  }
  void error(Place at, std::string text, std::string note = {});
  // Of what the option names, not of what is written: keeps the code, so that status() does.
  void error(const Node& at, const Error& cause);
  void warning(const Node& at, std::string text, std::string note = {}) {
    warning(at.place(), std::move(text), std::move(note));
  }
  void warning(Place at, std::string text, std::string note = {});

  bool ok() const { return errors_ == 0; }
  std::size_t error_count() const { return errors_; }
  std::size_t warning_count() const { return warnings_; }
  // By file, line and column; masked.
  std::vector<Diagnostic> sorted() const;

  // As above, with caret lines.
  std::string text(bool coloured = false) const;
  // {"errors": 2, "warnings": 0, "diagnostics": [{"severity", "file", "line", "column", "length",
  // "path", "text", "note"?}, …]}; columns count characters from 1.
  std::string json() const;
  // ok(), or the first error and how many more there are.
  Status status() const;

  // parse() takes overrides from here and reports where values came from; may be null.
  void set_origins(Origins* origins) { origins_ = origins; }
  Origins* origins() const { return origins_; }

 private:
  std::vector<Diagnostic> all_;
  std::size_t errors_ = 0;
  std::size_t warnings_ = 0;
  Origins* origins_ = nullptr;
};

}  // namespace headwater::config
