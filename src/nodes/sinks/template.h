// Text with ${…} that is filled in per row: ${device_id} (also ${device}), ${topic}, ${edge_id}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/batch.h"

namespace headwater {

class RowTemplate {
 public:
  // kInvalid names the unknown ${…} and those there are.
  static Result<RowTemplate> parse(std::string_view text, std::string_view edge_id);

  // Replaces the content of `out`.
  void fill(const Row& row, std::string& out) const;

 private:
  enum class Part : std::uint8_t { kText, kDevice, kTopic };
  struct Piece {
    Part part = Part::kText;
    std::string text;
  };
  std::vector<Piece> pieces_;
};

}  // namespace headwater
