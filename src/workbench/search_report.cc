#include <nlohmann/json.hpp>

#include "io/files.h"
#include "workbench/compare.h"
#include "workbench/search.h"

namespace headwater::workbench {
namespace {

using Json = nlohmann::ordered_json;

Json decibels(double snr) {
  return snr == kEqual ? Json("equal") : Json(snr);
}

Json to_value(const Candidate& candidate) {
  Json json;
  json["kind"] = candidate.recipe.kind;
  json["per_channel"] = candidate.recipe.per_channel;
  json["store_rest"] = candidate.recipe.store_rest;
  json["left_out"] = candidate.recipe.left_out;
  json["bytes"] = candidate.bytes;
  json["snr_db"] = decibels(candidate.snr);
  json["worst_sample_snr_db"] = decibels(candidate.worst_snr);
  if (candidate.drop) {
    json["accuracy_drop_points"] = *candidate.drop;
  }
  if (candidate.speed) {
    json["speed"] = {{"ratio", candidate.speed->value},
                     {"low", candidate.speed->low},
                     {"high", candidate.speed->high}};
  }
  json["rejected"] = candidate.rejected;
  return json;
}

}  // namespace

std::string to_json(const SearchReport& report) {
  Json json;
  json["verdict"] = static_cast<int>(report.verdict);
  json["reason"] = report.reason;
  json["chosen"] = report.chosen ? to_value(*report.chosen) : Json();
  json["bytes_before"] = report.bytes_before;
  json["bytes_after"] = report.bytes_after;
  json["sha256_before"] = report.digest_before;
  json["sha256_after"] = report.digest_after;
  json["sha256_data"] = report.data_digest;
  json["runtime"] = report.runtime;
  json["accuracy_verified"] = report.verified;
  json["calibrated_on"] = report.calibrated_on;
  json["judged_on"] = report.judged_on;
  json["safe_without_vnni"] = report.safe_without_vnni;
  json["seconds"] = report.seconds;
  json["notes"] = report.notes;
  json["candidates"] = Json::array();
  for (const Candidate& candidate : report.candidates) {
    json["candidates"].push_back(to_value(candidate));
  }
  json["sensitivity"] = Json::array();
  for (const Sensitivity& one : report.sensitivity) {
    json["sensitivity"].push_back(
        {{"node", one.node}, {"op", one.op}, {"snr_db", decibels(one.snr)}});
  }
  json["nodes"] = Json::array();
  for (const NodeNote& note : report.nodes) {
    json["nodes"].push_back(
        {{"node", note.node}, {"op", note.op}, {"quantized", note.changed}, {"what", note.what}});
  }
  return json.dump(2) + "\n";
}

std::string to_text(const SearchReport& report) {
  std::string text;
  if (!report.candidates.empty()) {
    text += fmt::format("{:<22} {:>10} {:>8} {:>10} {:>22}  {}\n", "candidate", "bytes", "of it",
                        "accuracy", "speed (95 %)", "");
  }
  for (const Candidate& one : report.candidates) {
    const std::string name =
        one.recipe.kind + (one.recipe.per_channel ? "" : " per tensor") +
        (one.recipe.left_out.empty() ? "" : fmt::format(" -{}", one.recipe.left_out.size()));
    const bool chosen = report.chosen && report.chosen->bytes == one.bytes &&
                        report.chosen->recipe.kind == one.recipe.kind &&
                        report.chosen->recipe.left_out == one.recipe.left_out;
    text += fmt::format("{:<22} {:>10} {:>8.3f} {:>10} {:>22}  {}\n", name, one.bytes,
                        static_cast<double>(one.bytes) /
                            static_cast<double>(std::max<std::uint64_t>(1, report.bytes_before)),
                        snr_text(one.snr),
                        one.speed ? fmt::format("{:.2f}× [{:.2f}, {:.2f}]", one.speed->value,
                                                one.speed->low, one.speed->high)
                                  : "-",
                        chosen ? "chosen" : one.rejected);
  }
  if (report.candidates.empty()) {
    for (const Sensitivity& one : report.sensitivity) {
      text += fmt::format("{:>10}  {} '{}'\n", snr_text(one.snr), one.op, one.node);
    }
  }
  for (const std::string& note : report.notes) {
    text += "note: " + note + "\n";
  }
  text +=
      fmt::format("calibrated on {} inputs, judged on {} others{}; {:.1f} s\n",
                  report.calibrated_on, report.judged_on,
                  report.verified ? "" : " (made up: accuracy is not verified)", report.seconds);
  return text;
}

Result<Recipe> recipe_from_report(const std::string& path) {
  const std::string text = HW_TRY(io::real_files().read_all(path));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("chosen")) {
    return Error::invalid("'{}' is not a report of 'headwater model optimize'", path);
  }
  Recipe recipe;
  const Json& chosen = json["chosen"];
  if (chosen.is_null()) {
    return recipe;
  }
  if (!chosen.is_object() || !chosen.contains("kind") || !chosen["kind"].is_string() ||
      !chosen.contains("left_out") || !chosen["left_out"].is_array()) {
    return Error::invalid("'{}' names no recipe", path);
  }
  recipe.kind = chosen["kind"].get<std::string>();
  recipe.per_channel = !chosen.contains("per_channel") || chosen["per_channel"] == true;
  recipe.store_rest = chosen.contains("store_rest") && chosen["store_rest"] == true;
  for (const Json& name : chosen["left_out"]) {
    if (!name.is_string()) {
      return Error::invalid("'{}': a name in left_out is not text", path);
    }
    recipe.left_out.push_back(name.get<std::string>());
  }
  return recipe;
}

}  // namespace headwater::workbench
