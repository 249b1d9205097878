// headwater store ls and verify.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/strings.h"
#include "base/time.h"
#include "cli/command.h"
#include "cli/store_dir.h"
#include "cli/store_view.h"
#include "io/loop.h"
#include "store/fsck.h"
#include "store/repair.h"

namespace headwater {
namespace {

using Json = nlohmann::ordered_json;

Json lanes_json(const FsckReport& report) {
  Json lanes = Json::object();
  for (const Lane lane : kAllLanes) {
    const LaneReport& one = report.lanes[index_of(lane)];
    Json gaps = Json::object();
    for (std::size_t reason = 0; reason < one.gap_rows.size(); ++reason) {
      if (one.gap_rows[reason] != 0) {
        gaps[std::string(gap_reason_name(static_cast<GapReason>(reason)))] = one.gap_rows[reason];
      }
    }
    Json missing = Json::array();
    for (const auto& [first, last] : one.missing) {
      missing.push_back({first, last});
    }
    lanes[std::string(lane_name(lane))] = {
        {"rows", one.rows},          {"first_sequence", one.first},
        {"next_sequence", one.next}, {"floor", one.floor},
        {"gap_rows", gaps},          {"missing", missing},
        {"repeated", one.repeated}};
  }
  return lanes;
}

std::uint64_t log_bytes(const FsckReport& report) {
  std::uint64_t bytes = 0;
  for (const SegmentReport& segment : report.segments) {
    bytes += segment.end;
  }
  return bytes;
}

std::uint64_t file_bytes(const FsckReport& report) {
  std::uint64_t bytes = 0;
  for (const SegmentReport& segment : report.segments) {
    bytes += segment.file_bytes;
  }
  return bytes;
}

Json report_json(const FsckReport& report) {
  Json segments = Json::array();
  for (const SegmentReport& segment : report.segments) {
    segments.push_back({{"name", segment.name},
                        {"generation", segment.generation},
                        {"bytes", segment.end},
                        {"file_bytes", segment.file_bytes},
                        {"frames", segment.frames},
                        {"from", format_rfc3339(segment.from)},
                        {"to", format_rfc3339(segment.to)}});
  }
  Json damage = Json::array();
  for (const Damage& one : report.damage) {
    damage.push_back({{"file", one.file},
                      {"from", one.from},
                      {"to", one.to},
                      {"frames", one.frames},
                      {"on_record", one.on_record},
                      {"text", one.text}});
  }
  Json gaps = Json::array();
  for (const Gap& gap : report.gaps) {
    gaps.push_back({{"lane", std::string(lane_name(gap.lane))},
                    {"reason", std::string(gap_reason_name(gap.reason))},
                    {"first", gap.first},
                    {"last", gap.last},
                    {"count", gap.count}});
  }
  return {{"ok", report.sound()},           {"spool_id", report.spool_id.hex()},
          {"bytes", log_bytes(report)},     {"file_bytes", file_bytes(report)},
          {"frames", report.frames},        {"torn_bytes", report.torn_bytes},
          {"lanes", lanes_json(report)},    {"segments", std::move(segments)},
          {"spares", report.spares.size()}, {"damage", std::move(damage)},
          {"gaps", std::move(gaps)}};
}

void print_lanes(const FsckReport& report) {
  std::printf("%-12s %12s %14s %14s %12s\n", "lane", "rows", "first", "next", "let go");
  for (const Lane lane : kAllLanes) {
    const LaneReport& one = report.lanes[index_of(lane)];
    std::uint64_t let_go = 0;
    for (const std::uint64_t rows : one.gap_rows) {
      let_go += rows;
    }
    std::printf("%-12s %12llu %14llu %14llu %12llu\n", std::string(lane_name(lane)).c_str(),
                static_cast<unsigned long long>(one.rows),
                static_cast<unsigned long long>(one.first),
                static_cast<unsigned long long>(one.next), static_cast<unsigned long long>(let_go));
  }
}

void print_damage(const FsckReport& report) {
  for (const Damage& damage : report.damage) {
    std::printf("%s %s bytes %llu to %llu: %s\n", damage.on_record ? "damage on record," : "DAMAGE",
                damage.file.c_str(), static_cast<unsigned long long>(damage.from),
                static_cast<unsigned long long>(damage.to), damage.text.c_str());
  }
}

Result<FsckReport> read_report(const StoreFlags& flags) {
  return fsck_spool(io::real_files(), spool_dir(flags.dir));
}

}  // namespace

int store_ls(const StoreFlags& flags) {
  const auto report = read_report(flags);
  if (!report) {
    return fail(report.error());
  }
  const auto view = SpoolView::open(io::real_files(), spool_dir(flags.dir));
  if (!view) {
    return fail(view.error());
  }
  if (flags.json) {
    Json json = report_json(*report);
    json["cursors"] = Json::array();
    for (const SpoolView::Cursor& cursor : (*view)->cursors()) {
      json["cursors"].push_back({{"consumer", cursor.consumer},
                                 {"lane", std::string(lane_name(cursor.lane))},
                                 {"upto", cursor.upto}});
    }
    json["clock"] = Json::array();
    for (const ClockMap& map : (*view)->clock_maps()) {
      Json next = Json::object();
      for (const Lane lane : kAllLanes) {
        next[std::string(lane_name(lane))] = map.next[index_of(lane)];
      }
      json["clock"].push_back({{"boot", map.boot.hex()},
                               {"mono", map.mono.ns},
                               {"before", format_rfc3339(map.before)},
                               {"after", format_rfc3339(map.after)},
                               {"next", std::move(next)}});
    }
    std::printf("%s\n", json.dump(2).c_str());
    return 0;
  }
  std::printf("spool %s: %s of log in %zu segments (%s on disk)\n\n",
              report->spool_id.hex().c_str(), format_size(log_bytes(*report)).c_str(),
              report->segments.size(), format_size(file_bytes(*report)).c_str());
  print_lanes(*report);
  std::printf("\n%-40s %-12s %14s\n", "consumer", "lane", "up to");
  for (const SpoolView::Cursor& cursor : (*view)->cursors()) {
    std::printf("%-40s %-12s %14llu\n", cursor.consumer.c_str(),
                std::string(lane_name(cursor.lane)).c_str(),
                static_cast<unsigned long long>(cursor.upto));
  }
  for (const ClockMap& map : (*view)->clock_maps()) {
    std::printf("\nthe clock was set from %s to %s; stored by the new time: readings from %llu on",
                format_rfc3339(map.before).c_str(), format_rfc3339(map.after).c_str(),
                static_cast<unsigned long long>(map.next[index_of(Lane::kReadings)]));
  }
  std::printf("%s", (*view)->clock_maps().empty() ? "" : "\n");
  return 0;
}

int store_verify(const StoreFlags& flags) {
  const auto report = read_report(flags);
  if (!report) {
    return fail(report.error());
  }
  const int status = report->sound() ? 0 : exit_status(Code::kCorrupt);
  if (flags.json) {
    std::printf("%s\n", report_json(*report).dump(2).c_str());
    return status;
  }
  std::printf("%llu frames in %zu segments read, %s\n",
              static_cast<unsigned long long>(report->frames), report->segments.size(),
              format_size(log_bytes(*report)).c_str());
  if (report->torn_bytes != 0) {
    std::printf("torn tail: %llu bytes behind the last whole frame, never committed\n",
                static_cast<unsigned long long>(report->torn_bytes));
  }
  print_damage(*report);
  for (const Lane lane : kAllLanes) {
    const LaneReport& one = report->lanes[index_of(lane)];
    for (const auto& [first, last] : one.missing) {
      std::printf("MISSING %s %llu to %llu, without a gap record\n",
                  std::string(lane_name(lane)).c_str(), static_cast<unsigned long long>(first),
                  static_cast<unsigned long long>(last));
    }
    if (one.repeated != 0) {
      std::printf("REPEATED %s: %llu sequences are there twice\n",
                  std::string(lane_name(lane)).c_str(),
                  static_cast<unsigned long long>(one.repeated));
    }
  }
  print_lanes(*report);
  std::printf("\n%s\n",
              report->sound() ? "SOUND: every row is there or inside a gap record" : "NOT SOUND");
  return status;
}

// A spool of which nothing reads is set aside whole with --force, so that the edge begins a new
// one.
int set_aside(const StoreFlags& flags, const Error& error) {
  const std::string dir = spool_dir(flags.dir);
  if (!flags.force) {
    std::fprintf(
        stderr,
        "headwater: %s\n  Nothing can be repaired. --force renames the folder, so that the "
        "edge begins a new spool; its bytes are kept.\n",
        error.text().c_str());
    return exit_status(Code::kCorrupt);
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(Nanos{io::wall_now().ns});
  const std::string aside = fmt::format("{}.damaged-{}", dir, seconds.count());
  const auto lock = io::real_files().lock(dir + "/LOCK");
  if (!lock) {
    return fail(lock.error());
  }
  if (Status renamed = io::real_files().rename(dir, aside); !renamed) {
    return fail(renamed.error());
  }
  std::printf("%s was renamed to %s; the edge begins a new spool\n", dir.c_str(), aside.c_str());
  return 0;
}

int store_repair(const StoreFlags& flags) {
  const auto repaired = repair_spool(io::real_files(), spool_dir(flags.dir));
  if (!repaired) {
    return repaired.error().code() == Code::kCorrupt ? set_aside(flags, repaired.error())
                                                     : fail(repaired.error());
  }
  const int status = repaired->after.sound() ? 0 : exit_status(Code::kCorrupt);
  if (flags.json) {
    Json recorded = Json::array();
    for (const Gap& gap : repaired->recorded) {
      recorded.push_back({{"lane", std::string(lane_name(gap.lane))},
                          {"first", gap.first},
                          {"last", gap.last},
                          {"rows", gap.count},
                          {"reason", std::string(gap_reason_name(gap.reason))}});
    }
    const Json json = {{"changed", repaired->changed},
                       {"recorded", std::move(recorded)},
                       {"before", report_json(repaired->before)},
                       {"after", report_json(repaired->after)}};
    std::printf("%s\n", json.dump(2).c_str());
    return status;
  }
  if (!repaired->changed) {
    std::printf("SOUND: nothing to repair\n");
    return status;
  }
  print_damage(repaired->after);
  for (const Gap& gap : repaired->recorded) {
    std::printf(
        "recorded: %s %llu to %llu, %llu rows lost (%s)\n",
        std::string(lane_name(gap.lane)).c_str(), static_cast<unsigned long long>(gap.first),
        static_cast<unsigned long long>(gap.last), static_cast<unsigned long long>(gap.count),
        std::string(gap_reason_name(gap.reason)).c_str());
  }
  print_lanes(repaired->after);
  std::printf("\n%s\n", repaired->after.sound()
                            ? "REPAIRED: every row is there or inside a gap record"
                            : "STILL NOT SOUND: see above");
  return status;
}

}  // namespace headwater
