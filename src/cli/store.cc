// headwater store ls|cat|export|verify DIR
#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace headwater {

void add_store(CLI::App& app, Action& action) {
  (void)app;
  (void)action;
}

}  // namespace headwater
