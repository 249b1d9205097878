// headwater model inspect|verify|bench|optimize
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>

#include "base/strings.h"
#include "cli/model_view.h"
#include "io/files.h"

namespace headwater {

void add_data_flags(CLI::App* command, DataFlags& flags) {
  command->add_option("--data", flags.data,
                      "Inputs: a folder of tensors, a .npy, or rows (.csv, .jsonl)");
  command
      ->add_option("--input", flags.inputs,
                   "NAME=FIELD,FIELD,…: which fields of a row make up an input")
      ->expected(1);
  command->add_flag("--allow-synthetic", flags.allow_synthetic,
                    "Make inputs up where none are given; accuracy is then not verified");
  command
      ->add_option("--free-dimension", flags.free_dimension,
                   "Of made-up inputs, where the model leaves a dimension open")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
}

Result<workbench::FeedOptions> feed_options(const DataFlags& flags) {
  workbench::FeedOptions options;
  options.allow_synthetic = flags.allow_synthetic;
  options.free_dimension = flags.free_dimension;
  for (const std::string& text : flags.inputs) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      return Error::invalid("--input '{}': write NAME=FIELD,FIELD,…", text);
    }
    auto& fields = options.fields[text.substr(0, equals)];
    for (const std::string_view field : split(std::string_view(text).substr(equals + 1), ',')) {
      fields.emplace_back(trim(field));
    }
  }
  return options;
}

workbench::Progress terminal_progress() {
  if (isatty(STDERR_FILENO) == 0) {
    return {};
  }
  using Clock = std::chrono::steady_clock;
  struct State {
    Clock::time_point start = Clock::now();
    Clock::time_point shown{};
    std::string what;
  };
  auto state = std::make_shared<State>();
  return [state](std::string_view what, std::uint64_t done, std::uint64_t total) {
    const auto now = Clock::now();
    if (what != state->what) {
      state->what = what;
      state->start = now;
      state->shown = {};
    }
    if (total == 0 || now - state->shown < std::chrono::milliseconds(100)) {
      return;
    }
    state->shown = now;
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const double spent = std::chrono::duration<double>(now - state->start).count();
    const auto filled = static_cast<std::size_t>(part * 30);
    const std::string left =
        part > 0.02 ? fmt::format("{:.0f} s left", spent / part - spent) : std::string();
    std::fprintf(stderr, "\r%-18s [%s%s] %3.0f %%  %-14s", state->what.c_str(),
                 std::string(filled, '#').c_str(), std::string(30 - filled, ' ').c_str(),
                 part * 100, left.c_str());
    std::fflush(stderr);
  };
}

void end_progress() {
  if (isatty(STDERR_FILENO) != 0) {
    std::fprintf(stderr, "\r%-78s\r", "");
  }
}

Status show_report(const ShownReport& report, const std::string& path, bool as_json) {
  if (!path.empty()) {
    HW_TRY(io::real_files().write_all(path, report.json));
  }
  const std::string& out = as_json ? report.json : report.text;
  std::fwrite(out.data(), 1, out.size(), stdout);
  if (!report.said.empty()) {
    std::fflush(stdout);
    std::fprintf(stderr, "headwater: %s\n", report.said.c_str());
  }
  return {};
}

int model_fail(const Error& error) {
  end_progress();
  std::fprintf(stderr, "headwater: %s\n", error.text().c_str());
  if (error.code() == Code::kUnavailable || error.code() == Code::kInternal ||
      error.code() == Code::kCancelled) {
    return exit_status(error.code());
  }
  return static_cast<int>(workbench::verdict_of(error));
}

void add_model(CLI::App& app, Action& action, bool whole) {
  CLI::App* model = app.add_subcommand("model", "Look at ONNX models, measure them, tidy them up");
  if (!whole) {
    return;
  }
  model->require_subcommand(1);
  model->footer(
      "Examples:\n"
      "  headwater model inspect model.onnx\n"
      "  headwater model verify model.onnx other.onnx --data feeds/\n"
      "  headwater model bench model.onnx other.onnx --data feeds/ --limit-cpu 500m\n"
      "  headwater model optimize --graph model.onnx -o out.onnx --data feeds/\n"
      "\nExit status: 0 done or improved, 10 kept as it was, 20 invalid model or input, 21 "
      "operator "
      "or\ndomain not supported, 30 verification failed (nothing written), 40 out of budget, 64 "
      "usage,\n75 no ONNX Runtime.");
  add_model_inspect(model, action);
  add_model_verify(model, action);
  add_model_bench(model, action);
  add_model_optimize(model, action);
  add_model_quantize(model, action);
  add_model_sensitivity(model, action);
}

}  // namespace headwater
