#include "edge/tap_json.h"

#include "base/strings.h"

namespace headwater {

std::string tap_json(const Row& row, std::size_t index, const Column* score) {
  std::string out = "{\"device_id\":";
  append_json_string(out, row.device);
  out += ",\"timestamp\":\"";
  append_rfc3339(out, row.time);
  out += "\",\"topic\":";
  append_json_string(out, row.topic);
  out += ",\"score\":";
  if (score != nullptr && score->valid(index)) {
    append_json_number(out, score->as_double(index));
  } else {
    out += "null";
  }
  out += ",\"payload\":";
  for (const char c : row.payload) {
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  out += '}';
  return out;
}

}  // namespace headwater
