// What identifiers mean: columns and variables, the facts of a row, types.
#include "expr/checker.h"
#include "expr/expression.h"

namespace headwater::expr {

Names Names::of(const Schema& schema) {
  Names names = open(schema);
  names.open_ = false;
  return names;
}

Names Names::open(const Schema& schema) {
  Names names;
  names.open_ = true;
  names.row_facts_ = true;
  for (const Field& field : schema.fields()) {
    names.add(field.name, from_column_type(field.type));
  }
  return names;
}

Names& Names::add(std::string_view name, Type type) {
  for (Entry& entry : entries_) {
    if (entry.name == name) {
      entry.type = type;
      return *this;
    }
  }
  entries_.push_back({std::string(name), type});
  return *this;
}

Names& Names::without_row_facts() {
  row_facts_ = false;
  return *this;
}

std::optional<RowFact> row_fact(std::string_view name) {
  if (name == "device" || name == "device_id") {
    return RowFact::kDevice;
  }
  if (name == "topic") {
    return RowFact::kTopic;
  }
  if (name == "sender") {
    return RowFact::kSender;
  }
  if (name == "time" || name == "timestamp") {
    return RowFact::kTime;
  }
  if (name == "received") {
    return RowFact::kReceived;
  }
  return std::nullopt;
}

Type row_fact_type(RowFact fact) {
  return fact == RowFact::kTime || fact == RowFact::kReceived ? Type::kTimestamp : Type::kString;
}

std::optional<Type> type_by_name(std::string_view name) {
  for (const Type type :
       {Type::kNull, Type::kBool, Type::kInt, Type::kDouble, Type::kString, Type::kTimestamp,
        Type::kDuration, Type::kList, Type::kType, Type::kBytes}) {
    if (cel_type_name(type) == name) {
      return type;
    }
  }
  return std::nullopt;
}

}  // namespace headwater::expr
