// Does not compile: `forgotten` has no field. The test config_missing_field looks for the message.
#include "config/schema.h"

namespace headwater::config {

struct Incomplete {
  int known = 0;
  int forgotten = 0;
};
template <>
inline constexpr auto kSchema<Incomplete> = schema<Incomplete>(
    "incomplete", "Lacks a field.", field(&Incomplete::known, {.name = "known", .doc = "Known."}));

}  // namespace headwater::config
