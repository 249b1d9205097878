// YAML text to a Node tree. Hostile text is refused, not obeyed: size, depth, number of nodes (also
// through aliases) and key length are bounded, duplicate keys are errors. One document; anchors,
// aliases and `<<` merges work; keys are scalars.
//
// In scalars ${NAME} is replaced by the environment variable (NAME in upper case), ${NAME:-text} by
// `text` where it is not set, ${file:/run/secrets/x} by the content of that file without its last
// newline. `$${` stands for a literal `${`. Other ${…}, such as ${device_id}, are templates of the
// node and stay as they are. What was put in is not searched again.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "config/diagnostics.h"
#include "config/environment.h"
#include "config/node.h"

namespace headwater::config {

struct Limits {
  std::size_t bytes = std::size_t{1} << 20;
  std::size_t depth = 48;
  std::size_t nodes = 50'000;
  std::size_t key_bytes = 256;
  std::size_t secret_file_bytes = std::size_t{64} << 10;
};

// Empty when the text cannot be read as one bounded YAML document. A tree may come with errors too
// (a duplicate key, an unset variable), so that parse() can add its own: ask diagnostics.ok()
// before using what was parsed. An empty text is a null node.
std::optional<Node> load_text(std::string text, std::string name, Diagnostics& diagnostics,
                              const Environment& environment = Environment::of_process(),
                              const Limits& limits = {});
std::optional<Node> load_file(const std::string& path, Diagnostics& diagnostics,
                              const Environment& environment = Environment::of_process(),
                              const Limits& limits = {});

}  // namespace headwater::config
