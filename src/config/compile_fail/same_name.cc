// Does not compile: two fields have one name. The test config_same_name looks for the message.
#include "config/schema.h"

namespace headwater::config {

struct Twice {
  int first = 0;
  int second = 0;
};
template <>
inline constexpr auto kSchema<Twice> = schema<Twice>(
    "twice", "Has a name twice.", field(&Twice::first, {.name = "first", .doc = "First."}),
    field(&Twice::second, {.name = "first", .doc = "Second."}));

}  // namespace headwater::config
