// What an alert's JSON says about itself: its id and its event.
#pragma once

#include <string>
#include <string_view>

namespace headwater {

struct AlertName {
  std::string id;
  std::string event;  // "alert", "raised" or "cleared"
};

// Empty where the JSON does not say. Reads only as far as it needs to: raw_data behind them is not
// looked at.
AlertName alert_name(std::string_view json);

}  // namespace headwater
