#include "columnar/batch.h"

#include <fmt/format.h>

namespace headwater {

std::string batch_safe_name(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '-';
    if (safe) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string batch_file_name(const BatchHeader& header) {
  return fmt::format("{}_{}_{}_{:020}-{:020}.jsonl.zst", batch_safe_name(header.edge),
                     header.spool.hex(), header.lane, header.first, header.last);
}

}  // namespace headwater
