#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/strings.h"
#include "cli/command.h"

namespace headwater {

std::string version() {
  return HW_VERSION;
}

int fail(const Error& error) {
  std::fprintf(stderr, "headwater: %s\n", error.text().c_str());
  return exit_status(error.code());
}

bool coloured() {
  return isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
}

namespace {

constexpr int kUsage = 64;  // EX_USAGE of sysexits.h

// Says so and returns true where `name` is no command.
bool unknown_command(const CLI::App& app, std::string_view name) {
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
  }
  if (std::find(commands.begin(), commands.end(), name) != commands.end()) {
    return false;
  }
  const std::vector<std::string_view> known(commands.begin(), commands.end());
  const std::string_view nearest = nearest_name(name, known);
  std::fprintf(stderr, "headwater: no command '%s'%s; see headwater --help\n",
               std::string(name).c_str(),
               nearest.empty() ? "" : fmt::format(", did you mean '{}'?", nearest).c_str());
  return true;
}

}  // namespace

}  // namespace headwater

int main(int argc, char** argv) {
  using headwater::Action;
  CLI::App app(
      "Headwater runs AI where the data is born: readings in, filtered, enriched, scored with "
      "ONNX\n"
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
      "  headwater bench edge.yaml --rate 1000     whether this machine copes with it\n"
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
  headwater::add_bench(app, action);
  headwater::add_model(app, action, argc > 1 && std::string_view(argv[1]) == "model");
  headwater::add_torture(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (argc > 1 && argv[1][0] != '-' && headwater::unknown_command(app, argv[1])) {
      return headwater::kUsage;
    }
    const int status = app.exit(error);
    return status == 0 ? 0 : headwater::kUsage;
  }
  return action ? action() : headwater::kUsage;
}
