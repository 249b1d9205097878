// The alert's JSON, as it goes to sinks and into the alerts lane.
//
//   {"id": "…32 hex…", "event": "raised", "device_id": "press-0042", "timestamp":
//   "2026-01-02T03:04:05Z",
//    "anomaly_score": 0.93, "threshold": 0.8, "severity": "high", "rule": "anomaly",
//    "model": {"name": "anomaly", "digest": "…64 hex…"}, "pipeline": "main", "edge_id":
//    "press-hall-2", "features": {"temperature": 81.2}, "onset": "…", "duration_s": 0, "count": 3,
//    "peak": 0.95, "raw_data": {…}}
//
// `event` is "alert" (every matching row is one), "raised" or "cleared"; onset, duration_s, count
// and peak come with the latter two. raw_data is the original message byte for byte (line breaks
// between tokens become spaces), or null where no row brought the event. A score that is missing is
// null.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compute/alarm.h"
#include "data/batch.h"

namespace headwater {

struct AlertFacts {
  std::string edge_id;
  std::string pipeline;
  std::string rule;
  std::string severity;
  std::string model_name;
  std::string model_digest;
  std::optional<double> threshold;
  std::vector<std::string> features;
};

std::string_view alert_event_name(AlarmEvent::Kind kind);
std::string alert_json(const AlertFacts& facts, const AlarmEvent& event, const Batch& batch);

// The number that `column` is compared with in a rule such as "score > 0.8"; nothing if the rule
// has another form.
std::optional<double> threshold_of(std::string_view rule, std::string_view column);

}  // namespace headwater
