// headwater model inspect MODEL [--json] [--dot FILE] [--svg FILE] [--no-run]
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/model_view.h"
#include "io/files.h"
#include "workbench/inspect.h"

namespace headwater {
namespace {

struct InspectFlags {
  std::string model;
  std::string dot;
  std::string svg;
  bool json = false;
  bool no_run = false;
  std::int64_t free_dimension = 1;
};

Status write_picture(const std::string& to, Result<std::string> picture) {
  if (to.empty()) {
    return {};
  }
  const std::string text = HW_TRY(std::move(picture));
  if (to == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return {};
  }
  return io::real_files().write_all(to, text);
}

int run_inspect(const InspectFlags& flags) {
  for (const auto& [to, picture] :
       {std::pair{&flags.dot, &workbench::graph_dot}, {&flags.svg, &workbench::graph_svg}}) {
    if (!to->empty()) {
      if (const Status status = write_picture(*to, picture(flags.model)); !status) {
        return model_fail(status.error());
      }
    }
  }
  if (flags.dot == "-" || flags.svg == "-") {
    return 0;
  }
  const auto made = workbench::inspect(
      flags.model, {.run = !flags.no_run, .free_dimension = flags.free_dimension});
  if (!made) {
    return model_fail(made.error());
  }
  const std::string text = flags.json ? workbench::to_json(*made) : workbench::to_text(*made);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return 0;
}

}  // namespace

void add_model_inspect(CLI::App* model, Action& action) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* command = model->add_subcommand("inspect", "What is in a model, and what to look at");
  command->add_option("MODEL", flags->model, "An .onnx file")->required();
  command->add_flag("--json", flags->json, "JSON for scripts");
  command->add_option("--dot", flags->dot, "Write the graph for Graphviz; - is standard output");
  command->add_option("--svg", flags->svg, "Write the graph as a picture; - is standard output");
  command->add_flag("--no-run", flags->no_run, "Do not run the model: no FLOPs, no memory");
  command
      ->add_option("--free-dimension", flags->free_dimension,
                   "What to take for dimensions that the model leaves open")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command->callback([flags, &action] { action = [flags] { return run_inspect(*flags); }; });
}

}  // namespace headwater
