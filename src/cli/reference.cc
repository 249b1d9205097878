// headwater reference: what docs/reference is generated from.
#include "edge/reference.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/command.h"

namespace headwater {

void add_reference(CLI::App& app, Action& action) {
  auto kind = std::make_shared<std::string>();
  auto schema = std::make_shared<bool>(false);
  auto dir = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("reference", "Print the reference of nodes and options");
  command->add_option("NAME", *kind,
                      "A section or kind, such as store, mqtt_listen or decide; all if not given");
  command->add_flag("--json-schema", *schema,
                    "Print the JSON Schema of the config file, for editors");
  command->add_option("--write", *dir, "Write the reference files into this folder");
  command->footer(
      "\nExamples:\n"
      "  headwater reference decide\n"
      "  headwater reference --json-schema > config.schema.json");
  command->callback([=, &action] {
    action = [=]() -> int {
      if (!dir->empty()) {
        const Status written = write_reference(*dir);
        return written ? 0 : fail(written.error());
      }
      if (*schema) {
        std::printf("%s\n", config_json_schema().c_str());
        return 0;
      }
      const Result<std::string> text = reference_text(*kind);
      if (!text) {
        return fail(text.error());
      }
      std::printf("%s", text->c_str());
      return 0;
    };
  });
}

}  // namespace headwater
