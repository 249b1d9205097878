// Types: gives every node of a parsed tree its type, chooses overloads, adapts literals, and folds
// what is constant.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "expr/tree.h"

namespace headwater::expr {

// The facts of a row that need no column.
enum class RowFact : std::uint8_t { kDevice, kTopic, kSender, kTime, kReceived };
std::optional<RowFact> row_fact(std::string_view name);
Type row_fact_type(RowFact fact);

// What a name is.
struct NameInfo {
  Type type = Type::kDyn;
  Type element = Type::kDyn;
  bool absent = false;  // known, but this batch lacks it: null everywhere
};
// By name and whether it was in backticks. nullopt: no such name.
using NameTypes = std::function<std::optional<NameInfo>(std::string_view name, bool quoted)>;

struct CheckOptions {
  Type want = Type::kDyn;
  // A type error becomes a value (kFail) instead of a fault: what evaluating an unchecked CEL
  // expression gives.
  bool lenient = false;
};

// On failure fills `fault`, but for the hint of a near name: then fault.message is "no field 'x'".
bool check(Tree& tree, const NameTypes& names, const CheckOptions& options, Fault& fault);

// `int`, `string`, `google.protobuf.Timestamp`, … as values.
std::optional<Type> type_by_name(std::string_view name);

}  // namespace headwater::expr
