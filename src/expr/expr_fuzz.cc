// Any text either is refused with a place inside it, or gives the same values in columns as row by
// row. The first byte chooses the names, the rest is the expression.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "expr/expression.h"

namespace {

using headwater::Batch;
using headwater::Column;
using headwater::Row;
using headwater::WallTime;
namespace expr = headwater::expr;

constexpr std::size_t kRows = 3;

void require(bool condition, const char* what, std::string_view text) {
  if (!condition) {
    std::fprintf(stderr, "%s: %.*s\n", what, static_cast<int>(text.size()), text.data());
    std::abort();
  }
}

Batch some_batch() {
  Batch batch;
  for (std::size_t row = 0; row < kRows; ++row) {
    Row facts;
    facts.device = row == 0 ? "press-1" : "";
    facts.topic = "sensors/1";
    facts.time = WallTime{1'700'000'000'123'456'789 + static_cast<std::int64_t>(row)};
    facts.received = facts.time;
    batch.add_row(facts);
  }
  batch.add_column("a", headwater::Type::kFloat64).set<double>(0, 1.5);
  batch.find("a")->set<double>(1, std::nan(""));
  batch.add_column("f", headwater::Type::kFloat32).set<float>(2, -2.0F);
  batch.add_column("n", headwater::Type::kInt64).set<std::int64_t>(0, INT64_MIN);
  batch.find("n")->set<std::int64_t>(2, 3);
  batch.add_column("b", headwater::Type::kBool).set<std::uint8_t>(1, 1);
  batch.add_column("s", headwater::Type::kString).set(0, std::string_view("\xc3\xa9lan"));
  batch.add_column("t", headwater::Type::kTimestamp).set<std::int64_t>(1, -1);
  batch.add_column("x.y", headwater::Type::kBytes).set(1, std::string_view("\xff"));
  return batch;
}

void check_columns(const expr::Expression& expression, std::string_view text) {
  Batch batch = some_batch();
  Column column;
  expr::EvalStats stats;
  expression.evaluate(batch, batch.arena(), column, stats);
  require(column.rows() == kRows && stats.rows == kRows, "rows are missing", text);
  require(stats.errors <= stats.nulls && stats.nulls == column.null_count(), "counts", text);
  for (std::size_t row = 0; row < kRows; ++row) {
    const auto value = expression.evaluate_row(batch, row);
    const bool present = value.ok() && !value->is_null();
    // A timestamp that a column has no room for is the one value that is missing there.
    const bool wide = present && value->type() == expr::Type::kTimestamp;
    require(present == column.valid(row) || wide, "column and row differ", text);
    if (!present || !column.valid(row)) {
      continue;
    }
    (void)expr::to_json(*value);
    if (value->type() == expr::Type::kBool && column.type() == headwater::Type::kBool) {
      require(value->as_bool() == (column.values<std::uint8_t>()[row] != 0), "bools differ", text);
    }
    if (value->type() == expr::Type::kInt && column.type() == headwater::Type::kInt64) {
      require(value->as_int() == column.values<std::int64_t>()[row], "ints differ", text);
    }
    if (value->type() == expr::Type::kDouble && column.type() == headwater::Type::kFloat64) {
      const double got = column.values<double>()[row];
      require(value->as_double() == got || (std::isnan(value->as_double()) && std::isnan(got)),
              "doubles differ", text);
    }
    if (value->type() == expr::Type::kString && column.type() == headwater::Type::kString) {
      const std::string_view got = column.values<std::string_view>()[row];
      std::string json;
      expr::append_json_value(json, *value);
      require(value->as_string() == got || json == got, "strings differ", text);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const Batch batch = some_batch();
  const expr::Names names =
      (bytes[0] & 1) != 0 ? expr::Names::open(batch.schema()) : expr::Names::of(batch.schema());
  expr::CompileOptions options;
  options.lenient = (bytes[0] & 2) != 0;
  options.want = (bytes[0] & 4) != 0 ? expr::Type::kBool : expr::Type::kDyn;
  expr::Problem problem;
  const auto compiled = expr::compile(text, names, options, &problem);
  if (!compiled) {
    require(problem.offset <= text.size() && !problem.message.empty(), "no place", text);
    return 0;
  }
  (void)compiled->evaluate_scalar({{"a", expr::Value::number(2)}, {"s", expr::Value::string("x")}});
  if ((bytes[0] & 4) == 0) {
    check_columns(*compiled, text);
  }
  return 0;
}
