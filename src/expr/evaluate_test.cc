// Evaluation of whole batches: types of the result column, nulls, errors and their counts,
// selections, row facts, names bound batch by batch.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "expr/expression.h"

namespace headwater::expr {
namespace {

using Col = headwater::Type;

// Rows of a press: temperature 0, 10, 20, …; pressure null in odd rows; count -2, -1, 0, …
Batch press_batch(std::size_t rows) {
  Batch batch;
  for (std::size_t row = 0; row < rows; ++row) {
    Row facts;
    facts.device = batch.arena().copy(row % 2 == 0 ? "press-1" : "lathe-2");
    facts.topic = "sensors/x/readings";
    facts.time = WallTime{static_cast<std::int64_t>(row) * 1'000'000'000};
    facts.received = WallTime{facts.time.ns + 250'000'000};
    batch.add_row(facts);
  }
  batch.add_column("temperature", Col::kFloat64);
  batch.add_column("pressure", Col::kFloat32);
  batch.add_column("count", Col::kInt64);
  batch.add_column("running", Col::kBool);
  batch.add_column("site", Col::kString);
  for (std::size_t row = 0; row < rows; ++row) {
    batch.find("temperature")->set<double>(row, static_cast<double>(row) * 10);
    if (row % 2 == 0) {
      batch.find("pressure")->set<float>(row, static_cast<float>(row) + 0.5F);
    }
    batch.find("count")->set<std::int64_t>(row, static_cast<std::int64_t>(row) - 2);
    batch.find("running")->set<std::uint8_t>(row, row % 3 == 0 ? 1 : 0);
    if (row != 1) {
      batch.find("site")->set(row, batch.arena().copy(row % 2 == 0 ? "Ulm" : "Göteborg"));
    }
  }
  return batch;
}

Expression must_compile(std::string_view text, const Names& names, CompileOptions options = {}) {
  auto compiled = compile(text, names, options);
  EXPECT_TRUE(compiled.ok()) << compiled.error().text();
  return std::move(*compiled);
}

struct Evaluated {
  Column column;
  EvalStats stats;
};
Evaluated evaluate(std::string_view text, Batch& batch, CompileOptions options = {}) {
  Evaluated out;
  must_compile(text, Names::of(batch.schema()), options)
      .evaluate(batch, batch.arena(), out.column, out.stats);
  return out;
}

TEST(Evaluate, GivesEachTypeItsColumn) {
  Batch batch = press_batch(3);
  EXPECT_EQ(evaluate("temperature > 5", batch).column.type(), Col::kBool);
  EXPECT_EQ(evaluate("temperature + 1", batch).column.type(), Col::kFloat64);
  EXPECT_EQ(evaluate("count + 1", batch).column.type(), Col::kInt64);
  EXPECT_EQ(evaluate("site + '!'", batch).column.type(), Col::kString);
  EXPECT_EQ(evaluate("time + duration('1s')", batch).column.type(), Col::kTimestamp);
  EXPECT_EQ(evaluate("[count, 1]", batch).column.type(), Col::kString);
  EXPECT_EQ(evaluate("[count, 1]", batch).column.values<std::string_view>()[0], "[-2,1]");
  EXPECT_EQ(evaluate("type(count)", batch).column.values<std::string_view>()[0], "\"int\"");
  const Evaluated age = evaluate("received - time", batch);
  EXPECT_EQ(age.column.type(), Col::kFloat64);
  EXPECT_EQ(age.column.values<double>()[2], 0.25);
}

TEST(Evaluate, ConstantsFillTheColumn) {
  Batch batch = press_batch(70);
  EXPECT_EQ(evaluate("1 + 2", batch).column.values<std::int64_t>()[69], 3);
  const Evaluated text = evaluate("'a' + 'b'", batch);
  EXPECT_EQ(text.column.values<std::string_view>()[69], "ab");
  EXPECT_TRUE(text.column.all_valid());
  const Evaluated nothing = evaluate("null", batch);
  EXPECT_EQ(nothing.column.null_count(), 70U);
  EXPECT_EQ(nothing.stats.nulls, 70U);
  EXPECT_EQ(nothing.stats.errors, 0U);
}

TEST(Evaluate, MissingValuesMakeTheResultMissing) {
  Batch batch = press_batch(4);
  const Evaluated sum = evaluate("temperature + pressure", batch);
  EXPECT_TRUE(sum.column.valid(0));
  EXPECT_FALSE(sum.column.valid(1));
  EXPECT_EQ(sum.column.values<double>()[2], 22.5);
  EXPECT_EQ(sum.column.values<double>()[1], 0.0);
  EXPECT_EQ(sum.stats.rows, 4U);
  EXPECT_EQ(sum.stats.nulls, 2U);
  EXPECT_EQ(sum.stats.errors, 0U);

  const Evaluated present = evaluate("has(pressure)", batch);
  EXPECT_EQ(present.stats.nulls, 0U);
  EXPECT_EQ(present.column.values<std::uint8_t>()[0], 1);
  EXPECT_EQ(present.column.values<std::uint8_t>()[1], 0);
  const Evaluated gone = evaluate("pressure == null", batch);
  EXPECT_EQ(gone.stats.nulls, 0U);
  EXPECT_EQ(gone.column.values<std::uint8_t>()[1], 1);
  const Evaluated filled = evaluate("has(pressure) ? pressure : -1.0", batch);
  EXPECT_EQ(filled.stats.nulls, 0U);
  EXPECT_EQ(filled.column.values<double>()[3], -1.0);
}

TEST(Evaluate, LogicDecidesWithoutTheMissingSide) {
  Batch batch = press_batch(4);
  const Evaluated either = evaluate("pressure > 0.0 || temperature >= 30", batch);
  EXPECT_TRUE(either.column.valid(3));
  EXPECT_EQ(either.column.values<std::uint8_t>()[3], 1);
  EXPECT_FALSE(either.column.valid(1));
  const Evaluated both = evaluate("pressure > 0.0 && temperature > 15", batch);
  EXPECT_TRUE(both.column.valid(1));
  EXPECT_EQ(both.column.values<std::uint8_t>()[1], 0);
  EXPECT_FALSE(both.column.valid(3));
}

TEST(Evaluate, ErrorsMakeTheirRowNullAndAreCounted) {
  Batch batch = press_batch(5);
  const Evaluated out = evaluate("100 / count", batch);
  EXPECT_EQ(out.column.values<std::int64_t>()[0], -50);
  EXPECT_FALSE(out.column.valid(2));
  EXPECT_EQ(out.column.values<std::int64_t>()[4], 50);
  EXPECT_EQ(out.stats.nulls, 1U);
  EXPECT_EQ(out.stats.errors, 1U);
  EXPECT_EQ(out.stats.first_error, "divide by zero");

  const Evaluated absorbed = evaluate("count == 0 || 100 / count > 49", batch);
  EXPECT_EQ(absorbed.stats.errors, 0U);
  EXPECT_EQ(absorbed.column.values<std::uint8_t>()[2], 1);
  const Evaluated guarded = evaluate("count == 0 ? 0 : 100 / count", batch);
  EXPECT_EQ(guarded.stats.errors, 0U);
  const Evaluated conversion = evaluate("int(temperature * 1e18)", batch);
  EXPECT_EQ(conversion.stats.errors, 4U);
  EXPECT_TRUE(conversion.column.valid(0));
}

TEST(Evaluate, CountsAndFilterOnlyLookAtSelectedRows) {
  Batch batch = press_batch(100);
  batch.select({0, 2, 64, 99});
  const Evaluated out = evaluate("100 / count > 0 && pressure > 0", batch);
  EXPECT_EQ(out.stats.rows, 4U);
  EXPECT_EQ(out.stats.errors, 1U);  // row 2
  EXPECT_EQ(out.stats.nulls, 2U);   // and row 99 has no pressure
  const Evaluated text = evaluate("site + '-' + string(count)", batch);
  EXPECT_EQ(text.column.values<std::string_view>()[64], "Ulm-62");

  std::vector<std::uint8_t> flags(batch.rows());
  to_flags(evaluate("pressure > 60", batch).column, flags);
  batch.keep(flags);
  EXPECT_EQ(batch.selected(), 1U);
  EXPECT_EQ(batch.selection()[0], 64U);
}

TEST(Evaluate, FlagsCountNullAsFalse) {
  Batch batch = press_batch(6);
  std::vector<std::uint8_t> flags(6, 7);
  EXPECT_EQ(to_flags(evaluate("pressure >= 2", batch).column, flags), 2U);
  EXPECT_EQ(flags, (std::vector<std::uint8_t>{0, 0, 1, 0, 1, 0}));
  EXPECT_EQ(to_flags(evaluate("temperature", batch).column, flags), 0U);
  EXPECT_EQ(flags, std::vector<std::uint8_t>(6, 0));
}

TEST(Evaluate, ReadsTheFactsOfTheRow) {
  Batch batch = press_batch(3);
  const Evaluated press = evaluate("device.startsWith('press') && device_id == device", batch);
  EXPECT_EQ(press.column.values<std::uint8_t>()[0], 1);
  EXPECT_EQ(press.column.values<std::uint8_t>()[1], 0);
  EXPECT_EQ(evaluate("timestamp.getSeconds()", batch).column.values<std::int64_t>()[2], 2);
  EXPECT_EQ(evaluate("has(sender)", batch).column.values<std::uint8_t>()[0], 0);
  EXPECT_EQ(evaluate("topic", batch).column.values<std::string_view>()[1], "sensors/x/readings");
}

TEST(Evaluate, BackticksMeanTheColumn) {
  Batch batch = press_batch(2);
  batch.add_column("topic", Col::kFloat64).set<double>(0, 4.5);
  batch.add_column("flow rate (l/min)", Col::kFloat64).set<double>(0, 2.0);
  const Evaluated out = evaluate("`topic` * `flow rate (l/min)`", batch);
  EXPECT_EQ(out.column.values<double>()[0], 9.0);
  EXPECT_EQ(evaluate("topic", batch).column.type(), Col::kString);
}

TEST(Evaluate, WantedDoubleWidensInts) {
  Batch batch = press_batch(3);
  const Evaluated out = evaluate("count", batch, {.want = Type::kDouble});
  EXPECT_EQ(out.column.type(), Col::kFloat64);
  EXPECT_EQ(out.column.values<double>()[0], -2.0);
}

TEST(Evaluate, StringsItMakesLiveInTheArena) {
  Batch batch = press_batch(3);
  Column column;
  EvalStats stats;
  {
    const Expression upper = must_compile("upper(site) + '!'", Names::of(batch.schema()));
    upper.evaluate(batch, batch.arena(), column, stats);
    const Expression literal = must_compile("'constant'", Names());
    Column constant;
    literal.evaluate(batch, batch.arena(), constant, stats);
    std::swap(batch.add_column("kept", Col::kString), constant);
  }
  EXPECT_EQ(column.values<std::string_view>()[2], "ULM!");
  EXPECT_FALSE(column.valid(1));
  EXPECT_EQ(batch.find("kept")->values<std::string_view>()[0], "constant");
}

TEST(Evaluate, AnEmptyBatchGivesAnEmptyColumn) {
  Batch batch = press_batch(0);
  for (const std::string_view text : {"temperature > 1", "site + 'x'", "[count]", "1", "null"}) {
    const Evaluated out = evaluate(text, batch);
    EXPECT_EQ(out.column.rows(), 0U);
    EXPECT_EQ(out.stats.rows, 0U);
  }
}

TEST(Evaluate, OpenNamesAreBoundToEachBatch) {
  const Expression expression = must_compile("speed * 2 > limit", Names::open());
  EXPECT_EQ(expression.type(), Type::kBool);

  Batch doubles = press_batch(1);
  doubles.add_column("speed", Col::kFloat64).set<double>(0, 3.5);
  doubles.add_column("limit", Col::kInt64).set<std::int64_t>(0, 6);
  Batch ints = press_batch(1);
  ints.add_column("limit", Col::kFloat32).set<float>(0, 7.5F);
  ints.add_column("speed", Col::kInt64).set<std::int64_t>(0, 3);
  Batch lacking = press_batch(1);
  Batch wrong = press_batch(1);
  wrong.add_column("speed", Col::kString).set(0, std::string_view("fast"));
  wrong.add_column("limit", Col::kFloat64);

  for (int round = 0; round < 3; ++round) {
    Column out;
    EvalStats stats;
    expression.evaluate(doubles, doubles.arena(), out, stats);
    EXPECT_EQ(out.values<std::uint8_t>()[0], 1);
    expression.evaluate(ints, ints.arena(), out, stats);
    EXPECT_TRUE(out.valid(0));
    EXPECT_EQ(out.values<std::uint8_t>()[0], 0);
    EXPECT_EQ(stats.nulls, 0U);
    expression.evaluate(lacking, lacking.arena(), out, stats);
    EXPECT_EQ(out.type(), Col::kBool);
    EXPECT_FALSE(out.valid(0));
    EXPECT_EQ(stats.nulls, 1U);
    EXPECT_EQ(stats.errors, 0U);
    expression.evaluate(wrong, wrong.arena(), out, stats);
    EXPECT_FALSE(out.valid(0));
    EXPECT_EQ(stats.errors, 1U);
    EXPECT_NE(stats.first_error.find("no '*' of string and int"), std::string::npos)
        << stats.first_error;
  }
}

TEST(Evaluate, OpenResultsTakeTheTypeThatTheBatchGives) {
  const Expression expression = must_compile("speed", Names::open());
  EXPECT_EQ(expression.column_type(), std::nullopt);
  Batch batch = press_batch(2);
  Column out;
  EvalStats stats;
  batch.add_column("speed", Col::kInt64).set<std::int64_t>(0, 6);
  expression.evaluate(batch, batch.arena(), out, stats);
  EXPECT_EQ(out.type(), Col::kInt64);
  batch.add_column("speed", Col::kString).set(0, std::string_view("fast"));
  expression.evaluate(batch, batch.arena(), out, stats);
  EXPECT_EQ(out.values<std::string_view>()[0], "fast");
}

TEST(Evaluate, ValuesOfMixedTypesFindACommonColumn) {
  Batch batch = press_batch(2);
  const Evaluated numbers = evaluate("[count, temperature][count + 2]", batch);
  EXPECT_EQ(numbers.column.type(), Col::kFloat64);
  EXPECT_EQ(numbers.column.values<double>()[0], -2.0);
  EXPECT_EQ(numbers.column.values<double>()[1], 10.0);
  const Evaluated mixed = evaluate("[site, count][count + 2]", batch);
  EXPECT_EQ(mixed.column.type(), Col::kString);
  EXPECT_EQ(mixed.column.values<std::string_view>()[0], "\"Ulm\"");
  EXPECT_EQ(mixed.column.values<std::string_view>()[1], "-1");
}

TEST(Evaluate, ADynResultThatIsNotWhatIsWantedIsAnError) {
  Batch batch = press_batch(2);
  const Evaluated out = evaluate("[running, count][count + 2]", batch, {.want = Type::kBool});
  EXPECT_EQ(out.column.type(), Col::kBool);
  EXPECT_TRUE(out.column.valid(0));
  EXPECT_FALSE(out.column.valid(1));
  EXPECT_EQ(out.stats.errors, 1U);
  EXPECT_NE(out.stats.first_error.find("int"), std::string::npos);
}

TEST(Evaluate, BytesColumnsCanOnlyBeAskedFor) {
  Batch batch = press_batch(2);
  batch.add_column("picture", Col::kFrame).set(1, std::string_view("\xff\xd8"));
  EXPECT_EQ(evaluate("has(picture)", batch).column.values<std::uint8_t>()[1], 1);
  EXPECT_EQ(evaluate("picture == null", batch).column.values<std::uint8_t>()[0], 1);
}

TEST(Evaluate, CopiesShareTheProgramAndHaveTheirOwnBuffers) {
  Batch batch = press_batch(2);
  const Expression first = must_compile("temperature * 2", Names::of(batch.schema()));
  const Expression second = first;
  Column a;
  Column b;
  EvalStats stats;
  first.evaluate(batch, batch.arena(), a, stats);
  second.evaluate(batch, batch.arena(), b, stats);
  EXPECT_EQ(a.values<double>()[1], 20.0);
  EXPECT_EQ(b.values<double>()[1], 20.0);
  EXPECT_EQ(second.text(), "temperature * 2");
}

TEST(Evaluate, ListsOfManyElementsAreSearched) {
  Batch batch = press_batch(200);
  std::string list = "[";
  for (int value = 0; value < 100; value += 3) {
    list += std::to_string(value) + ", ";
  }
  const Evaluated ints = evaluate("count in " + list + "]", batch);
  const Evaluated doubles = evaluate("temperature / 10 in " + list + "0.5]", batch);
  const Evaluated texts = evaluate(
      "site in ['Ulm', 'Bonn', 'Bern', 'Graz', 'Linz', 'Lyon', 'Nice', 'Rome', 'Turin', 'Zug']",
      batch);
  for (std::size_t row = 0; row < 200; ++row) {
    const auto count = static_cast<int>(row) - 2;
    EXPECT_EQ(ints.column.values<std::uint8_t>()[row], count >= 0 && count < 100 && count % 3 == 0);
    EXPECT_EQ(doubles.column.values<std::uint8_t>()[row], row < 100 && row % 3 == 0);
    EXPECT_EQ(texts.column.values<std::uint8_t>()[row], row % 2 == 0);
  }
}

}  // namespace
}  // namespace headwater::expr
