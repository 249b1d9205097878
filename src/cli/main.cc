#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "cli/command.h"

namespace headwater {

std::string version() { return HW_VERSION; }

int fail(const Error& error) {
  std::fprintf(stderr, "headwater: %s\n", error.text().c_str());
  return exit_status(error.code());
}

bool coloured() { return isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr; }

}  // namespace headwater

int main(int argc, char** argv) {
  using headwater::Action;
  CLI::App app(
      "Headwater runs AI where the data is born: readings in, filtered, enriched, scored with ONNX\n"
      "models, alerts out, everything stored. Acknowledged means on disk.\n",
      "headwater");
  app.set_version_flag("--version", "headwater " + headwater::version());
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Examples:\n"
      "  headwater check edge.yaml                 find every error before it runs\n"
      "  headwater run edge.yaml                   run the edge\n"
      "  headwater simulate data.csv --to mqtt://127.0.0.1:1884 --rate 100\n"
      "  headwater store ls ./data                 what is on disk\n"
      "\n'headwater COMMAND --help' says more. Exit status: 0 done, 64 usage, 65 invalid input,\n"
      "66 not found, 70 a bug, 73 a limit reached, 74 damaged data, 75 try again.");
  Action action;
  headwater::add_run(app, action);
  headwater::add_check(app, action);
  headwater::add_simulate(app, action);
  headwater::add_store(app, action);
  headwater::add_expr(app, action);
  headwater::add_reference(app, action);
  headwater::add_top(app, action);
  headwater::add_tap(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : 64;  // EX_USAGE
  }
  return action ? action() : 64;
}
