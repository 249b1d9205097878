// Runs the CEL specification's cases through our evaluator.
//
//   hw_cel_cases < cases.jsonl > outcomes.jsonl
//
// Reads what cases.mjs writes; answers each line with {"id": …, "error": whether an error is
// wanted, "outcome": …, "detail": …}, outcome being "pass", "fail" (another value or error than the
// specification says), "refused" (a case with a value does not compile) or "foreign" (the case
// gives or wants a value that readings do not have). An expected error may come from the compiler
// or the evaluation.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "expr/expression.h"
#include "expr/time_text.h"

namespace headwater::expr {
namespace {

using nlohmann::json;

std::optional<double> number_of(const json& value) {
  if (value.is_number()) {
    return value.get<double>();
  }
  const std::string text = value.get<std::string>();
  if (text == "NaN") {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double infinity = std::numeric_limits<double>::infinity();
  return text == "Infinity"    ? std::optional(infinity)
         : text == "-Infinity" ? std::optional(-infinity)
                               : std::nullopt;
}

std::optional<Value> type_of_name(const std::string& name) {
  for (int i = 0; i < static_cast<int>(Type::kBytes); ++i) {
    if (cel_type_name(static_cast<Type>(i)) == name) {
      return Value::type_value(static_cast<Type>(i));
    }
  }
  return std::nullopt;
}

// google.protobuf.Timestamp and Duration in an Any.
std::optional<Value> message_of(const json& any) {
  const std::string type = any.value("@type", "");
  if (type == "type.googleapis.com/google.protobuf.Duration") {
    const auto duration = parse_duration_text(any["value"].get<std::string>());
    return duration ? std::optional(Value::duration(*duration)) : std::nullopt;
  }
  if (type == "type.googleapis.com/google.protobuf.Timestamp") {
    const auto time = parse_timestamp(any["value"].get<std::string>());
    return time ? std::optional(Value::timestamp(*time)) : std::nullopt;
  }
  return std::nullopt;
}

// A cel.expr.Value in protobuf's JSON; nullopt for types that readings do not have.
std::optional<Value> value_of(const json& value) {
  if (!value.is_object() || value.size() != 1) {
    return std::nullopt;
  }
  const std::string kind = value.begin().key();
  const json& content = value.begin().value();
  if (kind == "nullValue") {
    return Value();
  }
  if (kind == "boolValue") {
    return Value::boolean(content.get<bool>());
  }
  if (kind == "int64Value") {
    return Value::integer(std::stoll(content.get<std::string>()));
  }
  if (kind == "doubleValue") {
    const auto number = number_of(content);
    return number ? std::optional(Value::number(*number)) : std::nullopt;
  }
  if (kind == "stringValue") {
    return Value::string(content.get<std::string>());
  }
  if (kind == "typeValue") {
    return type_of_name(content.get<std::string>());
  }
  if (kind == "objectValue") {
    return message_of(content);
  }
  if (kind == "listValue") {
    Value::List elements;
    for (const json& element : content.value("values", json::array())) {
      std::optional<Value> made = value_of(element);
      if (!made) {
        return std::nullopt;
      }
      elements.push_back(std::move(*made));
    }
    return Value::list(std::move(elements));
  }
  return std::nullopt;
}

// The specification compares NaN with NaN as the same result.
bool same(const Value& a, const Value& b) {
  const bool both_nan = a.type() == Type::kDouble && b.type() == Type::kDouble &&
                        std::isnan(a.as_double()) && std::isnan(b.as_double());
  return both_nan || a == b;
}

struct Outcome {
  std::string_view kind;
  std::string detail;
};

// The value that the case wants: true where it does not say, null where it states a type alone.
json wanted_of(const json& test) {
  if (test.contains("typedResult")) {
    return test["typedResult"].value("result", json());
  }
  return test.value("value", json{{"boolValue", true}});
}

Outcome run(const json& test) {
  Names names;
  Bindings bindings;
  const json bound = test.value("bindings", json::object());
  for (const auto& [name, binding] : bound.items()) {
    std::optional<Value> value = value_of(binding.value("value", json()));
    if (!value) {
      return {"foreign", fmt::format("variable {} is {}", name, binding.dump())};
    }
    names.add(name, value->type() == Type::kList ? Type::kDyn : value->type());
    bindings[name] = std::move(*value);
  }
  const bool wants_error = test.contains("evalError");
  std::optional<Value> wanted;
  if (!wants_error) {
    const json wanted_json = wanted_of(test);
    wanted = value_of(wanted_json);
    if (!wanted) {
      return {"foreign", "wants " + (wanted_json.is_null() ? "a type only" : wanted_json.dump())};
    }
  }
  const std::string text = test["expr"].get<std::string>();
  CompileOptions options;
  options.lenient = test.value("disableCheck", false);
  const Result<Expression> compiled = compile(text, names, options);
  const std::string want = wants_error ? "an error" : to_json(*wanted);
  if (!compiled) {
    const std::string reason = compiled.error().text();
    return {wants_error ? "pass" : "refused",
            fmt::format("`{}`: {}", text, reason.substr(0, reason.find('\n')))};
  }
  const Result<Value> result = compiled->evaluate_scalar(bindings);
  const std::string got = result ? to_json(*result) : "error: " + result.error().text();
  const bool good = wants_error ? !result : result && same(*result, *wanted);
  return {good ? "pass" : "fail", fmt::format("`{}`: wants {}, got {}", text, want, got)};
}

}  // namespace
}  // namespace headwater::expr

int main() {
  using nlohmann::json;
  std::string line;
  try {
    while (std::getline(std::cin, line)) {
      const json test = json::parse(line);
      const headwater::expr::Outcome outcome = headwater::expr::run(test);
      const json answer = {{"id", test["id"]},
                           {"error", test.contains("evalError")},
                           {"outcome", outcome.kind},
                           {"detail", outcome.detail}};
      std::puts(answer.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "hw_cel_cases: %s, at %s\n", error.what(), line.c_str());
    return 1;
  }
  return 0;
}
