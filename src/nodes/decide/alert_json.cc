#include "nodes/decide/alert_json.h"

#include <charconv>
#include <cmath>

#include "base/strings.h"

namespace headwater {
namespace {

void append_key(std::string& out, std::string_view key) {
  if (out.back() != '{') {
    out += ',';
  }
  append_json_string(out, key);
  out += ':';
}

void append_text(std::string& out, std::string_view key, std::string_view value) {
  append_key(out, key);
  append_json_string(out, value);
}

void append_number(std::string& out, std::string_view key, double value) {
  append_key(out, key);
  append_json_number(out, value);
}

void append_time(std::string& out, std::string_view key, WallTime value) {
  append_key(out, key);
  out += '"';
  append_rfc3339(out, value);
  out += '"';
}

void append_value(std::string& out, const Column& column, std::size_t row) {
  if (!column.valid(row)) {
    out += "null";
    return;
  }
  switch (column.type()) {
    case Type::kString:
    case Type::kBytes:
      append_json_string(out, column.values<std::string_view>()[row]);
      return;
    case Type::kBool:
      out += column.values<std::uint8_t>()[row] != 0 ? "true" : "false";
      return;
    case Type::kInt64:
      out += std::to_string(column.values<std::int64_t>()[row]);
      return;
    case Type::kTimestamp:
      out += '"';
      append_rfc3339(out, {column.values<std::int64_t>()[row]});
      out += '"';
      return;
    case Type::kFloat32:
      // The shortest text of the float, not of the double it becomes: 0.1, not 0.10000000149011612.
      if (const float value = column.values<float>()[row]; std::isfinite(value)) {
        char buffer[24];
        const auto end = std::to_chars(buffer, buffer + sizeof buffer, value);
        out.append(buffer, static_cast<std::size_t>(end.ptr - buffer));
      } else {
        out += "null";
      }
      return;
    default:
      append_json_number(out, column.as_double(row));
  }
}

}  // namespace

std::string_view alert_event_name(AlarmEvent::Kind kind) {
  switch (kind) {
    case AlarmEvent::Kind::kRow:
      return "alert";
    case AlarmEvent::Kind::kRaised:
      return "raised";
    case AlarmEvent::Kind::kCleared:
      return "cleared";
  }
  return "";
}

std::string alert_json(const AlertFacts& facts, const AlarmEvent& event, const Batch& batch) {
  const bool has_row = event.row != AlarmEvent::kNoRow;
  std::string out = "{";
  append_text(out, "id", event.id);
  append_text(out, "event", alert_event_name(event.kind));
  append_text(out, "device_id", event.key);
  append_time(out, "timestamp", event.time);
  append_number(out, "anomaly_score", event.score);
  append_key(out, "threshold");
  if (facts.threshold) {
    append_json_number(out, *facts.threshold);
  } else {
    out += "null";
  }
  append_text(out, "severity", facts.severity);
  append_text(out, "rule", facts.rule);
  append_key(out, "model");
  out += '{';
  append_text(out, "name", facts.model_name);
  append_text(out, "digest", facts.model_digest);
  out += '}';
  append_text(out, "pipeline", facts.pipeline);
  append_text(out, "edge_id", facts.edge_id);
  append_key(out, "features");
  out += '{';
  for (const std::string& feature : facts.features) {
    const Column* column = has_row ? batch.find(feature) : nullptr;
    if (column != nullptr) {
      append_key(out, feature);
      append_value(out, *column, event.row);
    }
  }
  out += '}';
  if (event.kind != AlarmEvent::Kind::kRow) {
    append_time(out, "onset", event.onset);
    append_number(out, "duration_s", static_cast<double>(event.duration.count()) * 1e-9);
    append_key(out, "count");
    out += std::to_string(event.count);
    append_number(out, "peak", event.peak);
    if (event.reason == AlarmEvent::Reason::kEvicted) {
      append_text(out, "reason", "evicted");
    }
  }
  append_key(out, "raw_data");
  if (has_row && (batch.row(event.row).flags & kRowUndecoded) != 0) {
    append_json_string(out, batch.row(event.row).payload);  // no JSON, or not to be read any more
  } else if (has_row) {
    // A line break in a decoded message stands between tokens (JSON strings hold none): a space
    // keeps alerts one line each.
    for (const char c : batch.row(event.row).payload) {
      out += c == '\n' || c == '\r' ? ' ' : c;
    }
  } else {
    out += "null";
  }
  out += '}';
  return out;
}

std::optional<double> threshold_of(std::string_view rule, std::string_view column) {
  rule = trim(rule);
  if (!rule.starts_with(column)) {
    return std::nullopt;
  }
  rule = trim(rule.substr(column.size()));
  const std::size_t operator_length = rule.starts_with(">=") || rule.starts_with("<=") ? 2 : 1;
  if (rule.empty() || (rule.front() != '>' && rule.front() != '<')) {
    return std::nullopt;
  }
  rule = trim(rule.substr(operator_length));
  double value = 0;
  const auto [end, error] = std::from_chars(rule.data(), rule.data() + rule.size(), value);
  if (error != std::errc{} || end != rule.data() + rule.size()) {
    return std::nullopt;
  }
  return value;
}

}  // namespace headwater
