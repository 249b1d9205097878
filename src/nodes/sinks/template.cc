#include "nodes/sinks/template.h"

namespace headwater {

Result<RowTemplate> RowTemplate::parse(std::string_view text, std::string_view edge_id) {
  RowTemplate made;
  while (!text.empty()) {
    const std::size_t begin = text.find("${");
    if (begin != 0) {
      made.pieces_.push_back({Part::kText, std::string(text.substr(0, begin))});
      if (begin == std::string_view::npos) {
        break;
      }
      text.remove_prefix(begin);
    }
    const std::size_t end = text.find('}');
    if (end == std::string_view::npos) {
      return Error::invalid("'{}' has no closing }}", text);
    }
    const std::string_view name = text.substr(2, end - 2);
    if (name == "device_id" || name == "device") {
      made.pieces_.push_back({Part::kDevice, {}});
    } else if (name == "topic") {
      made.pieces_.push_back({Part::kTopic, {}});
    } else if (name == "edge_id") {
      made.pieces_.push_back({Part::kText, std::string(edge_id)});
    } else {
      return Error::invalid(
          "unknown ${{{}}}; there are ${{device_id}}, ${{topic}} and ${{edge_id}}", name);
    }
    text.remove_prefix(end + 1);
  }
  return made;
}

void RowTemplate::fill(const Row& row, std::string& out) const {
  out.clear();
  for (const Piece& piece : pieces_) {
    switch (piece.part) {
      case Part::kText:
        out += piece.text;
        break;
      case Part::kDevice:
        out += row.device;
        break;
      case Part::kTopic:
        out += row.topic;
        break;
    }
  }
}

}  // namespace headwater
