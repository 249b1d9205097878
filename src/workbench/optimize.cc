#include "workbench/optimize.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "base/strings.h"
#include "io/files.h"
#include "workbench/graph.h"
#include "workbench/inspect.h"
#include "workbench/onnx_file.h"
#include "workbench/opset.h"

namespace headwater::workbench {
namespace {

// Inputs and outputs kept to verify with; large ones are fewer.
constexpr std::uint64_t kMaxHeldBytes = std::uint64_t{64} << 20;

// A file that ONNX Runtime writes for us, gone at the end unless it was moved.
class Scratch {
 public:
  Scratch(const std::string& beside, std::string_view suffix)
      : path_(fmt::format("{}.{}.new{}", beside, getpid(), suffix)) {}
  ~Scratch() { unlink(path_.c_str()); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

int count_nodes(const OnnxModel& model) {
  int nodes = 0;
  each_graph(model.proto, [&](const onnx::GraphProto& graph) { nodes += graph.node_size(); });
  return nodes;
}

const char* level_name(GraphLevel level) {
  switch (level) {
    case GraphLevel::kNone:
      return "none";
    case GraphLevel::kBasic:
      return "basic";
    case GraphLevel::kExtended:
      return "extended";
    case GraphLevel::kAll:
      return "all";
  }
  return "none";
}

void set_metadata(OnnxModel& model, const std::string& key, const std::string& value) {
  for (auto& entry : *model.proto.mutable_metadata_props()) {
    if (entry.key() == key) {
      entry.set_value(value);
      return;
    }
  }
  auto* entry = model.proto.add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
}

// One model on its way, with the outputs of the original kept to hold each step against.
class Optimizer {
 public:
  Optimizer(const GraphOptions& options, const Progress& progress)
      : options_(options), progress_(progress) {}

  Result<GraphReport> run() {
    auto loaded = load_model(options_.input);
    if (!loaded) {
      return refuse(verdict_of(loaded.error()), loaded.error().text());
    }
    model_ = std::move(*loaded);
    report_.bytes_before = model_.file_bytes + external_bytes(model_);
    report_.nodes_before = count_nodes(model_);
    report_.opset_before = opset(model_.proto);
    report_.digest_before = model_.digest;
    report_.runtime = HW_TRY(runtime_version());
    Status sound = sort_nodes(model_.proto);
    if (sound) {
      sound = check_model(model_.proto);
    }
    if (!sound) {
      return refuse(Verdict::kInvalidInput, sound.error().text());
    }
    // Before anything runs: an operator without a conversion ends it.
    if (options_.upgrade) {
      OnnxModel trial = model_;
      if (const Upgrade tried = upgrade_opset(trial); !tried.unsupported.empty()) {
        return refuse(Verdict::kUnsupported,
                      tried.unsupported + "; --keep-opset leaves the opset as it is");
      }
    }
    auto original = Session::open(model_, {.level = GraphLevel::kBasic});
    if (!original) {
      return refuse(verdict_of(original.error()), original.error().text());
    }
    auto feeds = Feeds::open(options_.data, (*original)->inputs(), options_.feeds);
    if (!feeds) {
      return std::move(feeds).error();
    }
    report_.data = feeds->synthetic() ? "made up" : feeds->where();
    report_.verified = !feeds->synthetic();
    ports_.assign((*original)->outputs().begin(), (*original)->outputs().end());
    const std::size_t count = std::min(feeds->size(), options_.max_feeds);
    std::uint64_t held = 0;
    for (std::size_t i = 0; i < count; ++i) {
      report(progress_, "run the original", i, count);
      feeds_.push_back(HW_TRY(feeds->read(i)));
      auto outputs = (*original)->run(feeds_.back());
      if (!outputs) {
        return refuse(Verdict::kInvalidInput, fmt::format("the model does not run on input {}: {}",
                                                          i, outputs.error().text()));
      }
      for (const Tensor& tensor : *outputs) {
        held += tensor.bytes.size();
      }
      for (const auto& [name, tensor] : feeds_.back()) {
        held += tensor.bytes.size();
      }
      reference_.push_back(std::move(*outputs));
      if (held > kMaxHeldBytes) {
        break;
      }
    }
    original->reset();
    tidy();
    if (options_.upgrade) {
      if (auto stop = upgrade()) {
        return std::move(*stop);
      }
    }
    return finish();
  }

 private:
  Result<GraphReport> refuse(Verdict verdict, std::string why) {
    report_.verdict = verdict;
    report_.reason = std::move(why);
    return report_;
  }

  void tidy() {
    const auto say = [&](int count, const char* what) {
      if (count > 0) {
        report_.steps.push_back(fmt::format("{}: {}", what, count));
      }
    };
    say(prepare_names(model_.proto), "nodes given a name of their own");
    say(lift_constants(model_.proto), "Constant nodes made initializers");
    say(drop_initializer_inputs(model_.proto), "initializers taken out of the inputs");
    say(drop_unused(model_.proto), "unused nodes and initializers removed");
  }

  // The outputs of `session` against the original's.
  Result<Comparison> held_against(Session& session) {
    Comparer comparer(ports_);
    for (std::size_t i = 0; i < feeds_.size(); ++i) {
      report(progress_, "verify", i, feeds_.size());
      const std::vector<Tensor> outputs = HW_TRY(session.run(feeds_[i]).with("input {}", i));
      HW_TRY(comparer.add(reference_[i], outputs).with("input {}", i));
    }
    return comparer.result();
  }

  // A verdict that ends the run, or nothing.
  std::optional<Result<GraphReport>> upgrade() {
    OnnxModel lifted = model_;
    std::map<std::string, ValueFacts> values;
    if (opset(model_.proto) < kTargetOpset) {
      if (auto probed = probe_values(model_, feeds_.front())) {
        values = std::move(*probed);
      }
    }
    const Upgrade done = upgrade_opset(lifted, values);
    if (!done.unsupported.empty()) {
      return refuse(Verdict::kUnsupported,
                    done.unsupported + "; --keep-opset leaves the opset as it is");
    }
    if (done.from == done.to) {
      return std::nullopt;
    }
    auto session = Session::open(lifted, {.level = GraphLevel::kBasic});
    auto error = session ? held_against(**session) : Result<Comparison>(session.error());
    if (!error || error->worst_snr < options_.min_snr) {
      report_.notes.push_back(
          fmt::format("stays at opset {}: converted to {} it {}", done.from, done.to,
                      error ? "differs from the original: " + snr_text(error->worst_snr)
                            : "is refused: " + error.error().text()));
      return std::nullopt;
    }
    std::string operators;
    for (const auto& [op, nodes] : done.rewritten) {
      operators += fmt::format("{}{} {}", operators.empty() ? "" : ", ", nodes, op);
    }
    report_.steps.push_back(fmt::format("opset {} converted to {}{}{}; equal on inputs to {}",
                                        done.from, done.to, operators.empty() ? "" : ", rewriting ",
                                        operators, snr_text(error->worst_snr)));
    model_ = std::move(lifted);
    return std::nullopt;
  }

  // What ONNX Runtime's level makes of the tidied model; the reason why not.
  Result<OnnxModel> levelled() {
    const Scratch scratch(options_.output, ".onnx");
    HW_TRY(Session::open(model_, {.level = options_.level, .save_to = scratch.path()}));
    OnnxModel made = HW_TRY(load_model(scratch.path()));
    *made.proto.mutable_metadata_props() = model_.proto.metadata_props();
    prepare_names(made.proto);
    return made;
  }

  void label(OnnxModel& model) const {
    if (!report_.cpu.empty()) {
      set_metadata(model, "headwater.cpu", report_.cpu);
      set_metadata(model, "headwater.runtime", report_.runtime);
    }
  }

  void warn_of_cpu() {
    if (options_.level > GraphLevel::kBasic) {
      bool fast = false;
      report_.cpu = cpu_int8(fast);
      report_.notes.push_back(fmt::format(
          "level {} ties the file to the CPU provider of ONNX Runtime {} and to CPUs like this one "
          "({}); basic is portable",
          level_name(options_.level), report_.runtime, report_.cpu));
    }
  }

  bool too_large(std::uint64_t bytes) const {
    return !options_.allow_larger && bytes > report_.bytes_before + 1024;
  }

  Result<GraphReport> finish() {
    if (options_.ort_format) {
      return finish_ort();
    }
    if (options_.level != GraphLevel::kNone) {
      if (options_.level > GraphLevel::kBasic) {
        bool fast = false;
        report_.cpu = cpu_int8(fast);
      }
      auto made = levelled();
      if (!made) {
        return refuse(Verdict::kVerifyFailed, made.error().text());
      }
      label(*made);
      const std::uint64_t bytes = HW_TRY(serialize(*made)).size() + external_bytes(*made);
      if (too_large(bytes)) {
        report_.notes.push_back(
            fmt::format("level {} left out: it makes the file {} bytes (constants computed ahead); "
                        "--allow-larger takes it",
                        level_name(options_.level), bytes));
        report_.cpu.clear();
      } else {
        model_ = std::move(*made);
        warn_of_cpu();
        report_.steps.push_back(fmt::format("level {} of ONNX Runtime {}",
                                            level_name(options_.level), report_.runtime));
      }
    }
    report_.nodes_after = count_nodes(model_);
    report_.opset_after = opset(model_.proto);
    const std::uint64_t bytes = HW_TRY(serialize(model_)).size() + external_bytes(model_);
    if (too_large(bytes)) {
      return keep(fmt::format("the result would be larger: {} bytes against {}", bytes,
                              report_.bytes_before));
    }
    if (report_.nodes_after == report_.nodes_before && bytes >= report_.bytes_before &&
        report_.opset_after == report_.opset_before && report_.cpu.empty()) {
      return keep("nothing to tidy");
    }
    auto session = Session::open(model_, {});
    if (auto failed = verify(session)) {
      return std::move(*failed);
    }
    HW_TRY(save_model(model_, options_.output));
    const OnnxModel written = HW_TRY(load_model(options_.output));
    report_.bytes_after = written.file_bytes + external_bytes(written);
    report_.digest_after = written.digest;
    return report_;
  }

  // The output is the input.
  Result<GraphReport> keep(std::string why) {
    report_.verdict = Verdict::kKept;
    report_.reason = std::move(why);
    report_.nodes_after = report_.nodes_before;
    report_.opset_after = report_.opset_before;
    report_.bytes_after = report_.bytes_before;
    report_.digest_after = report_.digest_before;
    report_.steps.clear();
    const OnnxModel original = HW_TRY(load_model(options_.input));
    HW_TRY(copy_model(original, options_.output));
    return report_;
  }

  Result<GraphReport> finish_ort() {
    const Scratch scratch(options_.output, ".ort");
    auto written = Session::open(model_, {.level = options_.level,
                                          .config = {{"session.save_model_format", "ORT"}},
                                          .save_to = scratch.path()});
    if (!written) {
      return refuse(Verdict::kVerifyFailed, written.error().text());
    }
    report_.steps.push_back(fmt::format("level {} of ONNX Runtime {}, in ORT format",
                                        level_name(options_.level), report_.runtime));
    auto session = Session::open(scratch.path(), {});
    if (auto failed = verify(session)) {
      return std::move(*failed);
    }
    const std::string bytes = HW_TRY(io::real_files().read_all(scratch.path()));
    report_.bytes_after = bytes.size();
    report_.opset_after = opset(model_.proto);
    warn_of_cpu();
    report_.notes.push_back(
        "a model in ORT format loads faster and can be mapped, but tools cannot read it: keep the "
        ".onnx");
    HW_TRY(write_file(options_.output, bytes));
    return report_;
  }

  std::optional<Result<GraphReport>> verify(Result<std::unique_ptr<Session>>& session) {
    if (!session) {
      return refuse(Verdict::kVerifyFailed, session.error().text());
    }
    auto error = held_against(**session);
    if (!error) {
      return refuse(Verdict::kVerifyFailed, error.error().text());
    }
    report_.comparison = std::move(*error);
    const double wanted = std::min(options_.min_snr, 80.0);
    if (report_.comparison.worst_snr < wanted) {
      return refuse(Verdict::kVerifyFailed,
                    fmt::format("the result differs from the original: {} at worst, {} wanted",
                                snr_text(report_.comparison.worst_snr), snr_text(wanted)));
    }
    return std::nullopt;
  }

  const GraphOptions& options_;
  const Progress& progress_;
  OnnxModel model_;
  GraphReport report_;
  std::vector<Port> ports_;
  std::vector<Feed> feeds_;
  std::vector<std::vector<Tensor>> reference_;
};

}  // namespace

Verdict verdict_of(const Error& error) {
  const std::string& text = error.text();
  for (const char* sign :
       {"is not a registered function/op", "No Op registered for", "No opset import for domain",
        "Could not find an implementation", "NOT_IMPLEMENTED", "is under development",
        "ONNX Runtime only *guarantees* support", "no conversion to opset"}) {
    if (text.find(sign) != std::string::npos) {
      return Verdict::kUnsupported;
    }
  }
  return Verdict::kInvalidInput;
}

Result<GraphReport> optimize_graph(const GraphOptions& options, const Progress& progress) {
  return Optimizer(options, progress).run();
}

std::string to_text(const GraphReport& report) {
  std::string text;
  for (const std::string& step : report.steps) {
    text += fmt::format("  {}\n", step);
  }
  for (const std::string& note : report.notes) {
    text += fmt::format("  note: {}\n", note);
  }
  if (report.verdict == Verdict::kKept) {
    return text + fmt::format("kept as it was: {}\n", report.reason);
  }
  if (!report.reason.empty()) {
    return text + fmt::format("nothing written: {}\n", report.reason);
  }
  text +=
      fmt::format("nodes {} → {}, bytes {} → {}, opset {} → {}\n", report.nodes_before,
                  report.nodes_after == 0 ? "?" : std::to_string(report.nodes_after),
                  report.bytes_before, report.bytes_after, report.opset_before, report.opset_after);
  return text + fmt::format("outputs against the original on {} inputs ({}): {} at worst{}\n",
                            report.comparison.samples, report.data,
                            snr_text(report.comparison.worst_snr),
                            report.verified ? "" : "; accuracy is not verified on real inputs");
}

std::string to_json(const GraphReport& report) {
  const auto quoted = [](std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
  };
  const auto list = [&](const std::vector<std::string>& items) {
    std::string out = "[";
    for (const std::string& item : items) {
      out += (out.size() > 1 ? "," : "") + quoted(item);
    }
    return out + "]";
  };
  const auto number = [](double value) {
    std::string out;
    append_json_number(out, value);
    return out;
  };
  return fmt::format(
      R"({{"verdict":{},"reason":{},"steps":{},"notes":{},"opset_before":{},"opset_after":{},)"
      R"("nodes_before":{},"nodes_after":{},"bytes_before":{},"bytes_after":{},"verified":{},)"
      R"("data":{},"samples":{},"equal":{},"snr_db":{},"worst_snr_db":{},"runtime":{},"cpu":{},)"
      R"("sha256_before":"{}","sha256_after":"{}"}})"
      "\n",
      static_cast<int>(report.verdict), quoted(report.reason), list(report.steps),
      list(report.notes), report.opset_before, report.opset_after, report.nodes_before,
      report.nodes_after, report.bytes_before, report.bytes_after, report.verified,
      quoted(report.data), report.comparison.samples, std::isinf(report.comparison.worst_snr),
      number(report.comparison.snr), number(report.comparison.worst_snr), quoted(report.runtime),
      quoted(report.cpu), report.digest_before, report.digest_after);
}

}  // namespace headwater::workbench
