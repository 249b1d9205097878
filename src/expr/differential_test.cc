// Columns against single values: random expressions over random batches give, row by row, what the
// interpreter gives. The generator is seeded; a failure prints its expression.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "expr/expression.h"

namespace headwater::expr {
namespace {

using Col = headwater::Type;

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t bound) { return random_() % bound; }
  template <std::size_t N>
  std::string pick(const std::array<const char*, N>& choices) {
    return choices[below(N)];
  }

  std::string boolean(int depth) {
    if (depth <= 0) {
      return pick<6>({"running", "stopped", "true", "false", "has(a)", "has(site)"});
    }
    switch (below(14)) {
      case 0:
      case 1:
        return binary(boolean(depth - 1), pick<2>({" && ", " || "}), boolean(depth - 1));
      case 2:
        return "!" + grouped(boolean(depth - 1));
      case 3:
      case 4:
        return binary(number(depth - 1), compare(), number(depth - 1));
      case 5:
        return binary(integer(depth - 1), compare(), integer(depth - 1));
      case 6:
        return binary(integer(depth - 1), compare(), number(depth - 1));
      case 7:
        return binary(text(depth - 1), compare(), text(depth - 1));
      case 8:
        return grouped(text(depth - 1)) + "." +
               pick<4>({"startsWith", "endsWith", "contains", "matches"}) + "(" +
               pick<4>({"'press'", "'-1'", "'[a-z]+'", "'é'"}) + ")";
      case 9:
        return grouped(pick<5>({number(depth - 1).c_str(), integer(depth - 1).c_str(), "site",
                                "device", "running"})) +
               pick<2>({" == ", " != "}) + "null";
      case 10:
        return binary(moment(depth - 1), compare(), moment(depth - 1));
      case 11:
        return pick<3>({"isNaN(", "isInf(", "isFinite("}) + number(depth - 1) + ")";
      case 12:
        return below(2) == 0 ? grouped(integer(depth - 1)) + " in [1, 2, 3, 7.0, -1]"
                             : grouped(text(depth - 1)) + " in ['press-1', 'x', '', 'Ulm']";
      default:
        return below(2) == 0 ? choice(boolean(depth - 1), boolean(depth - 1), depth)
                             : "[m, n, 1].exists(v, v > " + grouped(integer(depth - 1)) + ")";
    }
  }

  std::string number(int depth) {
    if (depth <= 0) {
      return pick<8>({"a", "b", "f", "a", "1.5", "-0.0", "1e300", "2.0"});
    }
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        return binary(number(depth - 1), pick<4>({" + ", " - ", " * ", " / "}), number(depth - 1));
      case 3:
        return pick<8>({"abs(", "sqrt(", "log(", "round(", "ceil(", "floor(", "trunc(", "sign("}) +
               number(depth - 1) + ")";
      case 4:
        return pick<2>({"min(", "max("}) + number(depth - 1) + ", " + number(depth - 1) + ", 3)";
      case 5:
        return below(2) == 0 ? "double(" + integer(depth - 1) + ")"
                             : "clamp(" + number(depth - 1) + ", -1, b)";
      case 6:
        return choice(number(depth - 1), number(depth - 1), depth);
      default:
        return "-" + grouped(number(depth - 1));
    }
  }

  std::string integer(int depth) {
    if (depth <= 0) {
      return pick<8>({"m", "n", "m", "0", "1", "-3", "9223372036854775807", "7"});
    }
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        return binary(integer(depth - 1), pick<5>({" + ", " - ", " * ", " / ", " % "}),
                      integer(depth - 1));
      case 3:
        return pick<3>({"abs(", "sign(", "int("}) + integer(depth - 1) + ")";
      case 4:
        return "int(" + number(depth - 1) + ")";
      case 5:
        return choice(integer(depth - 1), integer(depth - 1), depth);
      case 6:
        return below(2) == 0 ? "size(" + text(depth - 1) + ")"
                             : "min(" + integer(depth - 1) + ", m)";
      default:
        return grouped(moment(depth - 1)) + "." +
               pick<6>({"getHours()", "getDayOfWeek()", "getMilliseconds()", "getFullYear()",
                        "getMinutes('+02:00')", "getDayOfYear()"});
    }
  }

  std::string text(int depth) {
    if (depth <= 0) {
      return pick<6>({"site", "device", "topic", "'x'", "''", "'é'"});
    }
    switch (below(5)) {
      case 0:
      case 1:
        return binary(text(depth - 1), " + ", text(depth - 1));
      case 2:
        return pick<3>({"upper(", "lower(", "trim("}) + text(depth - 1) + ")";
      case 3:
        return "string(" + (below(2) == 0 ? integer(depth - 1) : boolean(depth - 1)) + ")";
      default:
        return choice(text(depth - 1), text(depth - 1), depth);
    }
  }

  std::string moment(int depth) {
    if (depth <= 0) {
      return pick<4>({"time", "received", "serviced", "timestamp('2024-02-29T12:00:00Z')"});
    }
    switch (below(3)) {
      case 0:
        return binary(moment(depth - 1), pick<2>({" + ", " - "}),
                      pick<4>({"duration('90s')", "(received - time)", "duration('-1.5h')",
                               "(serviced - received)"}));
      case 1:
        return choice(moment(depth - 1), moment(depth - 1), depth);
      default:
        return moment(0);
    }
  }

  std::string any(int depth) {
    switch (below(5)) {
      case 0:
        return number(depth);
      case 1:
        return integer(depth);
      case 2:
        return text(depth);
      case 3:
        return moment(depth);
      default:
        return boolean(depth);
    }
  }

  Batch batch(std::size_t rows, bool nulls) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const std::array<double, 8> numbers = {0.0,  -0.0,  1.5,       -2.25,
                                           1e18, 1e300, kInfinity, std::nan("")};
    const std::array<std::int64_t, 8> ints = {0,
                                              1,
                                              -1,
                                              7,
                                              3,
                                              1 << 20,
                                              std::numeric_limits<std::int64_t>::max(),
                                              std::numeric_limits<std::int64_t>::min()};
    const std::array<const char*, 5> texts = {"press-1", "Ulm", "", "élan", "x"};
    Batch out;
    for (std::size_t row = 0; row < rows; ++row) {
      Row facts;
      facts.device = texts[below(5)];
      facts.topic = "a/b";
      facts.time = WallTime{static_cast<std::int64_t>(below(1'000'000'000)) * 1'700'000'123};
      facts.received = facts.time + std::chrono::milliseconds(below(1000));
      out.add_row(facts);
    }
    for (const auto& [name, type] :
         {std::pair{"a", Col::kFloat64}, std::pair{"b", Col::kFloat64},
          std::pair{"f", Col::kFloat32}, std::pair{"m", Col::kInt64}, std::pair{"n", Col::kInt64},
          std::pair{"running", Col::kBool}, std::pair{"stopped", Col::kBool},
          std::pair{"site", Col::kString}, std::pair{"serviced", Col::kTimestamp}}) {
      Column& column = out.add_column(name, type);
      for (std::size_t row = 0; row < rows; ++row) {
        if (nulls && below(5) == 0) {
          continue;
        }
        switch (type) {
          case Col::kFloat64:
            column.set<double>(row, numbers[below(8)]);
            break;
          case Col::kFloat32:
            column.set<float>(row, static_cast<float>(numbers[below(5)]));
            break;
          case Col::kInt64:
            column.set<std::int64_t>(row, ints[below(8)]);
            break;
          case Col::kTimestamp:
            column.set<std::int64_t>(
                row, static_cast<std::int64_t>(below(1'000'000'000)) * 1'600'000'000);
            break;
          case Col::kBool:
            column.set<std::uint8_t>(row, static_cast<std::uint8_t>(below(2)));
            break;
          default:
            column.set(row, std::string_view(texts[below(5)]));
        }
      }
    }
    return out;
  }

 private:
  static std::string grouped(const std::string& inner) { return "(" + inner + ")"; }
  std::string binary(const std::string& a, const std::string& op, const std::string& b) {
    return grouped(a) + op + grouped(b);
  }
  std::string choice(const std::string& a, const std::string& b, int depth) {
    return "(" + grouped(boolean(depth - 1)) + " ? " + grouped(a) + " : " + grouped(b) + ")";
  }
  std::string compare() { return pick<6>({" < ", " <= ", " > ", " >= ", " == ", " != "}); }

  std::mt19937 random_;
};

// The row of a column as a value of `type`.
Value value_at(const Column& column, Type type, std::size_t row) {
  if (!column.valid(row)) {
    return Value();
  }
  switch (type) {
    case Type::kBool:
      return Value::boolean(column.values<std::uint8_t>()[row] != 0);
    case Type::kInt:
      return Value::integer(column.values<std::int64_t>()[row]);
    case Type::kTimestamp:
      return Value::timestamp(Timestamp{column.values<std::int64_t>()[row]});
    case Type::kString:
      return Value::string(std::string(column.values<std::string_view>()[row]));
    default:
      return Value::number(column.values<double>()[row]);
  }
}

bool same(const Value& a, const Value& b) {
  if (a.type() == Type::kDouble && b.type() == Type::kDouble && std::isnan(a.as_double())) {
    return std::isnan(b.as_double());
  }
  return a == b;
}

void compare_with_rows(unsigned seed, const Expression& expression, Batch& batch) {
  Column column;
  EvalStats stats;
  expression.evaluate(batch, batch.arena(), column, stats);
  std::uint64_t nulls = 0;
  std::uint64_t errors = 0;
  for (const std::uint32_t row : batch.selection()) {
    const auto expected = expression.evaluate_row(batch, row);
    const Value got = value_at(column, expression.type(), row);
    nulls += !expected || expected->is_null() ? 1 : 0;
    errors += expected ? 0 : 1;
    ASSERT_TRUE(same(got, expected ? *expected : Value()))
        << "seed " << seed << " row " << row << ": " << expression.text() << "\n gives "
        << to_json(got) << " in a column, alone "
        << (expected ? to_json(*expected) : expected.error().text());
  }
  ASSERT_EQ(stats.rows, batch.selected());
  ASSERT_EQ(stats.nulls, nulls) << expression.text();
  ASSERT_EQ(stats.errors, errors) << "seed " << seed << ": " << expression.text();
}

TEST(Differential, ColumnsEqualSingleValues) {
  for (unsigned seed = 0; seed < 1500; ++seed) {
    Generator generator(seed);
    Batch batch = generator.batch(1 + generator.below(140), seed % 3 != 0);
    if (seed % 4 == 1) {
      std::vector<std::uint32_t> some;
      for (std::uint32_t row = 0; row < batch.rows();
           row += static_cast<std::uint32_t>(1 + generator.below(5))) {
        some.push_back(row);
      }
      batch.select(std::move(some));
    }
    const std::string text = generator.any(1 + static_cast<int>(generator.below(4)));
    const auto compiled = compile(text, Names::of(batch.schema()));
    ASSERT_TRUE(compiled.ok()) << "seed " << seed << ": " << compiled.error().text();
    compare_with_rows(seed, *compiled, batch);
    if (HasFatalFailure()) {
      return;
    }
    // A second batch goes through the same buffers.
    Batch next = generator.batch(1 + generator.below(200), true);
    compare_with_rows(seed, *compiled, next);
    if (HasFatalFailure()) {
      return;
    }
  }
}

}  // namespace
}  // namespace headwater::expr
