// headwater model verify A B --data DIR [--min-snr DB] [--json]
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "base/strings.h"
#include "cli/model_view.h"
#include "workbench/compare.h"

namespace headwater {
namespace {

struct VerifyFlags {
  std::string first;
  std::string second;
  DataFlags data;
  double min_snr = 0;
  double min_agreement = 0;
  bool samples = false;
  bool json = false;
};

std::string number(double value) {
  std::string text;
  append_json_number(text, value);  // null for "equal"
  return text;
}

void print_json(const VerifyFlags& flags, const workbench::Comparison& result, bool passed,
                const workbench::Feeds& feeds, const std::string& digest) {
  const auto quoted = [](std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
  };
  std::string out = fmt::format(
      R"({{"first":{},"second":{},"data":{},"data_sha256":"{}","synthetic":{},"samples":{},"passed":{},"snr_db":{},"worst_snr_db":{},"outputs":[)",
      quoted(flags.first), quoted(flags.second), quoted(feeds.where()), digest, feeds.synthetic(),
      result.samples, passed, number(result.snr), number(result.worst_snr));
  bool first = true;
  for (const workbench::OutputError& one : result.outputs) {
    out += first ? "" : ",";
    first = false;
    out += fmt::format(
        R"({{"name":{},"snr_db":{},"worst_snr_db":{},"worst_sample":{},"largest":{},"mean":{},"elements":{},"different":{},"rows":{},"agree":{},"samples":[)",
        quoted(one.name), number(one.snr), number(one.worst_snr), one.worst_sample,
        number(one.largest), number(one.mean), one.elements, one.different, one.rows, one.agree);
    for (std::size_t i = 0; i < one.by_sample.size(); ++i) {
      out += (i == 0 ? "" : ",") + number(one.by_sample[i]);
    }
    out += "]}";
  }
  std::printf("%s]}\n", out.c_str());
}

void print_text(const VerifyFlags& flags, const workbench::Comparison& result,
                const workbench::Feeds& feeds) {
  std::printf("%-24s %10s %10s %7s %12s %12s %10s\n", "output", "SNR", "worst", "sample",
              "largest |d|", "mean |d|", "labels");
  for (const workbench::OutputError& one : result.outputs) {
    const std::string labels =
        one.rows == 0 ? "-"
                      : fmt::format("{:.2f} %", 100.0 * static_cast<double>(one.agree) /
                                                    static_cast<double>(one.rows));
    std::printf("%-24s %10s %10s %7zu %12.4g %12.4g %10s\n", one.name.c_str(),
                workbench::snr_text(one.snr).c_str(), workbench::snr_text(one.worst_snr).c_str(),
                one.worst_sample, one.largest, one.mean, labels.c_str());
  }
  if (flags.samples) {
    for (const workbench::OutputError& one : result.outputs) {
      for (std::size_t i = 0; i < one.by_sample.size(); ++i) {
        std::printf("%s\t%zu\t%s\n", one.name.c_str(), i,
                    workbench::snr_text(one.by_sample[i]).c_str());
      }
    }
  }
  std::printf("%zu inputs%s\n", result.samples,
              feeds.synthetic() ? ", made up: this says little about accuracy" : "");
}

Result<int> verify(const VerifyFlags& flags) {
  HW_TRY(workbench::check_file(flags.first));
  HW_TRY(workbench::check_file(flags.second));
  auto first = HW_TRY(workbench::Session::open(flags.first, {}));
  auto second = HW_TRY(workbench::Session::open(flags.second, {}));
  const auto options = HW_TRY(feed_options(flags.data));
  const auto feeds = HW_TRY(workbench::Feeds::open(flags.data.data, first->inputs(), options));
  const auto result = HW_TRY(workbench::compare(*first, *second, feeds, terminal_progress()));
  end_progress();
  bool passed = result.worst_snr >= flags.min_snr || flags.min_snr <= 0;
  for (const workbench::OutputError& one : result.outputs) {
    passed = passed && (one.rows == 0 || static_cast<double>(one.agree) * 100 >=
                                             flags.min_agreement * static_cast<double>(one.rows));
  }
  if (flags.json) {
    print_json(flags, result, passed, feeds, HW_TRY(feeds.digest()));
  } else {
    print_text(flags, result, feeds);
  }
  if (!passed) {
    std::fprintf(stderr, "headwater: the second model differs more than allowed\n");
  }
  return static_cast<int>(passed ? workbench::Verdict::kImproved
                                 : workbench::Verdict::kVerifyFailed);
}

}  // namespace

void add_model_verify(CLI::App* model, Action& action) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App* command = model->add_subcommand("verify", "How far two models' outputs are apart");
  command->add_option("A", flags->first, "The reference")->required();
  command->add_option("B", flags->second, "The model to judge")->required();
  add_data_flags(command, flags->data);
  command->add_option("--min-snr", flags->min_snr,
                      "Exit 30 when a sample of an output is below so many dB");
  command->add_option("--min-agreement", flags->min_agreement,
                      "Exit 30 when fewer percent of the rows have the same label");
  command->add_flag("--samples", flags->samples, "A line for each sample too");
  command->add_flag("--json", flags->json, "JSON for scripts");
  command->footer(
      "SNR is 10*log10(sum of squares of A / sum of squares of the difference); 'equal' is no "
      "difference.\nThe label of a row is the place of its largest element along the last axis.");
  command->callback([flags, &action] {
    action = [flags] {
      const auto status = verify(*flags);
      return status ? *status : model_fail(status.error());
    };
  });
}

}  // namespace headwater
