#include "workbench/quantize.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "workbench/graph.h"
#include "workbench/onnx_file.h"
#include "workbench/quantize_static.h"
#include "workbench/quantize_weights.h"
#include "workbench/residual_norm.h"
#include "workbench/session.h"

namespace headwater::workbench {
namespace {

QuantizeReport refuse(QuantizeReport report, Verdict verdict, std::string why) {
  report.verdict = verdict;
  report.reason = std::move(why);
  return report;
}

Result<QuantizeReport> keep(QuantizeReport report, const OnnxModel& original,
                            const std::string& output, std::string why) {
  HW_TRY(copy_model(original, output));
  report.bytes_after = report.bytes_before;
  report.digest_after = report.digest_before;
  return refuse(std::move(report), Verdict::kKept, std::move(why));
}

Result<Feed> first_feed(const QuantizeOptions& options, const OnnxModel& model) {
  auto session = HW_TRY(Session::open(model, {.level = GraphLevel::kBasic}));
  const Feeds feeds = HW_TRY(Feeds::open(options.data, session->inputs(), options.feeds));
  return feeds.read(0);
}

Result<Comparison> compare_with_original(const QuantizeOptions& options, const OnnxModel& original,
                                         Session& other, const Progress& progress) {
  auto reference = HW_TRY(Session::open(original, {.level = GraphLevel::kBasic}));
  const Feeds feeds = HW_TRY(Feeds::open(options.data, reference->inputs(), options.feeds));
  Comparer comparer(reference->outputs());
  const std::size_t count = std::min(feeds.size(), options.max_feeds);
  for (std::size_t i = 0; i < count; ++i) {
    report(progress, "compare", i, count);
    const Feed feed = HW_TRY(feeds.read(i));
    const auto wanted = HW_TRY(reference->run(feed));
    const auto got = HW_TRY(other.run(feed));
    HW_TRY(comparer.add(wanted, got));
  }
  return comparer.result();
}

nlohmann::ordered_json json_snr(double snr) {
  return snr == kEqual ? nlohmann::ordered_json("equal") : nlohmann::ordered_json(snr);
}

}  // namespace

Result<QuantizeReport> quantize_file(const QuantizeOptions& options, const Progress& progress) {
  QuantizeReport report;
  auto loaded = load_model(options.input);
  if (!loaded) {
    return refuse(std::move(report), verdict_of(loaded.error()), loaded.error().text());
  }
  const OnnxModel original = std::move(*loaded);
  report.bytes_before = original.file_bytes + external_bytes(original);
  report.digest_before = original.digest;
  OnnxModel model = original;
  Status sound = sort_nodes(model.proto);
  if (sound) {
    sound = check_model(model.proto);
  }
  if (!sound) {
    return refuse(std::move(report), verdict_of(sound.error()), sound.error().text());
  }
  prepare_names(model.proto);
  lift_constants(model.proto);
  drop_initializer_inputs(model.proto);
  const WeightOptions weights{.per_channel = options.per_channel,
                              .reduced_range = options.reduced_range,
                              .exclude = options.exclude};
  if (options.kind == QuantizeKind::kStatic) {
    auto made = HW_TRY(quantize_static_file(model, options, progress));
    report.nodes = std::move(made.nodes);
    report.notes = std::move(made.notes);
    report.safe_without_vnni = options.reduced_range;
  } else if (options.kind == QuantizeKind::kDynamic) {
    if (options.check && (!options.data.empty() || options.feeds.allow_synthetic)) {
      const Feed feed = HW_TRY(first_feed(options, model));
      if (const int joined = HW_TRY(join_residual_norms(model, feed)); joined > 0) {
        report.notes.push_back(
            fmt::format("{} residual sums joined with the LayerNorm behind them", joined));
      }
    }
    report.nodes = HW_TRY(quantize_dynamic(model, weights));
    // Tables are int8 in the file; a product of the graph stays as it is.
    auto tables = HW_TRY(store_tables_int8(model, weights));
    report.nodes.insert(report.nodes.end(), tables.begin(), tables.end());
    report.safe_without_vnni = options.reduced_range;
  } else {
    report.nodes = HW_TRY(store_weights_int8(model, weights));
  }
  const auto changed = std::count_if(report.nodes.begin(), report.nodes.end(),
                                     [](const NodeNote& note) { return note.changed; });
  if (changed == 0) {
    if (options.check) {
      if (auto plain = Session::open(original, {}); !plain) {
        return refuse(std::move(report), verdict_of(plain.error()), plain.error().text());
      }
    }
    return keep(std::move(report), original, options.output,
                "nothing to quantize: no node has constant float32 weights that int8 can take");
  }
  const std::uint64_t bytes = HW_TRY(serialize(model)).size() + external_bytes(model);
  if (bytes > report.bytes_before + 1024) {
    return keep(
        std::move(report), original, options.output,
        fmt::format("the result would be larger: {} bytes against {}", bytes, report.bytes_before));
  }
  if (options.check) {
    report.runtime = HW_TRY(runtime_version());
    auto session = Session::open(model, {});
    if (!session) {
      // The original's fault, or ours: the verdict tells which.
      auto plain = Session::open(original, {});
      return plain ? refuse(std::move(report), Verdict::kVerifyFailed, session.error().text())
                   : refuse(std::move(report), verdict_of(plain.error()), plain.error().text());
    }
    if (!options.data.empty() || options.feeds.allow_synthetic) {
      report.comparison = HW_TRY(compare_with_original(options, original, **session, progress));
    }
  }
  HW_TRY(save_model(model, options.output));
  const OnnxModel written = HW_TRY(load_model(options.output));
  report.bytes_after = written.file_bytes + external_bytes(written);
  report.digest_after = written.digest;
  return report;
}

std::string to_json(const QuantizeReport& report) {
  nlohmann::ordered_json json;
  json["verdict"] = static_cast<int>(report.verdict);
  json["reason"] = report.reason;
  json["bytes_before"] = report.bytes_before;
  json["bytes_after"] = report.bytes_after;
  json["sha256_before"] = report.digest_before;
  json["sha256_after"] = report.digest_after;
  json["runtime"] = report.runtime;
  json["safe_without_vnni"] = report.safe_without_vnni;
  if (report.comparison) {
    json["snr_db"] = json_snr(report.comparison->snr);
    json["worst_sample_snr_db"] = json_snr(report.comparison->worst_snr);
    json["samples"] = report.comparison->samples;
  }
  json["notes"] = report.notes;
  json["nodes"] = nlohmann::ordered_json::array();
  for (const NodeNote& note : report.nodes) {
    json["nodes"].push_back(
        {{"node", note.node}, {"op", note.op}, {"quantized", note.changed}, {"what", note.what}});
  }
  return json.dump(2) + "\n";
}

std::string to_text(const QuantizeReport& report) {
  std::string text;
  if (!report.reason.empty()) {
    return text;  // the reason goes to standard error
  }
  std::map<std::string, int> done;
  std::map<std::string, int> left;
  for (const NodeNote& note : report.nodes) {
    ++(note.changed ? done[note.op + ": " + note.what] : left[note.op + ": " + note.what]);
  }
  text += fmt::format(
      "{} → {} bytes ({:.3f})\n", report.bytes_before, report.bytes_after,
      static_cast<double>(report.bytes_after) / static_cast<double>(report.bytes_before));
  for (const auto& [what, count] : done) {
    text += fmt::format("  {:>4} {}\n", count, what);
  }
  for (const auto& [what, count] : left) {
    text += fmt::format("  {:>4} left, {}\n", count, what);
  }
  for (const std::string& note : report.notes) {
    text += "  " + note + "\n";
  }
  if (report.comparison) {
    text +=
        fmt::format("accuracy: {} over {} inputs, {} at worst\n", snr_text(report.comparison->snr),
                    report.comparison->samples, snr_text(report.comparison->worst_snr));
  } else {
    text += "accuracy: not verified (no --data)\n";
  }
  if (!report.safe_without_vnni) {
    text += "on CPUs without VNNI, products of full int8 may saturate: --reduced-range avoids it\n";
  }
  return text;
}

}  // namespace headwater::workbench
