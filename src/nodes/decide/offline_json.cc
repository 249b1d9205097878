#include "nodes/decide/offline_json.h"

#include <nlohmann/json.hpp>

#include "base/strings.h"

namespace headwater {
namespace {

void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t have = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      group = group << 8 | (k < have ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out += k <= have ? kDigits[group >> (18 - 6 * k) & 63U] : '=';
    }
  }
}

}  // namespace

std::string offline_json(std::string_view edge_id, std::string_view pipeline, const Row& row,
                         std::string_view alert_id) {
  std::string out = "{\"id\":";
  append_json_string(out, alert_id);
  out += ",\"event\":\"offline\",\"device_id\":";
  append_json_string(out, row.device);
  out += ",\"client_id\":";
  append_json_string(out, row.sender);
  out += ",\"timestamp\":\"";
  append_rfc3339(out, row.time);
  out += "\",\"severity\":\"high\",\"rule\":\"offline\",\"pipeline\":";
  append_json_string(out, pipeline);
  out += ",\"edge_id\":";
  append_json_string(out, edge_id);
  out += ",\"topic\":";
  append_json_string(out, row.topic);
  if (row.payload.empty()) {
    out += ",\"will\":null";
  } else if (nlohmann::json::accept(row.payload)) {
    out += ",\"will\":";
    for (const char c : row.payload) {  // line breaks stand between tokens
      out += c == '\n' || c == '\r' ? ' ' : c;
    }
  } else if (is_utf8(row.payload)) {
    out += ",\"will\":";
    append_json_string(out, row.payload);
  } else {
    out += ",\"will_base64\":\"";
    append_base64(out, row.payload);
    out += '"';
  }
  return out + '}';
}

}  // namespace headwater
