#include "compute/alarm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace headwater {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

std::unique_ptr<AlarmMachine> make(AlarmOptions options) {
  options.rule = "rule";
  options.episodes = true;
  auto made = AlarmMachine::create(std::move(options));
  EXPECT_TRUE(made) << (made ? "" : made.error().text());
  return std::move(made).value();
}

// Rows are written as a score and a time: raise is score > 8, clear is score < 6, NaN is null.
AlarmRow at(double time, double score, std::string_view key = "d") {
  AlarmRow row;
  row.key = key;
  row.time.ns = static_cast<std::int64_t>(time * 1e9);
  row.identity = hash128(std::string(key) + std::to_string(time) + "/" + std::to_string(score));
  row.score = score;
  row.raise = std::isnan(score) ? Truth::kNull : score > 8 ? Truth::kTrue : Truth::kFalse;
  row.clear = std::isnan(score) ? Truth::kNull : score < 6 ? Truth::kTrue : Truth::kFalse;
  return row;
}

// "+d@2..5 n3 p9.5": raised (or "-" cleared, "!" per row, "x" evicted), key, onset..time, count,
// peak.
std::string show(const AlarmEvent& event) {
  const char* const kind = event.kind == AlarmEvent::Kind::kRow           ? "!"
                           : event.kind == AlarmEvent::Kind::kRaised      ? "+"
                           : event.reason == AlarmEvent::Reason::kEvicted ? "x"
                                                                          : "-";
  return fmt::format("{}{}@{}..{} n{} p{}", kind, event.key,
                     static_cast<double>(event.onset.ns) / 1e9,
                     static_cast<double>(event.time.ns) / 1e9, event.count, event.peak);
}

struct Trial {
  explicit Trial(AlarmOptions options) : machine(make(std::move(options))) {}
  std::vector<std::string> step(const std::vector<AlarmRow>& rows) {
    std::vector<AlarmEvent> made;
    for (const AlarmRow& row : rows) {
      machine->step(row, stats, made);
    }
    return taken(std::move(made));
  }
  std::vector<std::string> tick(double time) {
    std::vector<AlarmEvent> made;
    machine->tick(WallTime{static_cast<std::int64_t>(time * 1e9)}, stats, made);
    return taken(std::move(made));
  }
  std::vector<std::string> taken(std::vector<AlarmEvent> made) {
    std::vector<std::string> shown;
    for (const AlarmEvent& event : made) {
      shown.push_back(show(event));
    }
    events.insert(events.end(), made.begin(), made.end());
    return shown;
  }

  std::unique_ptr<AlarmMachine> machine;
  AlarmStats stats;
  std::vector<AlarmEvent> events;
};

TEST(Alarm, PerRowAlertsOnEveryMatchingRow) {
  auto machine = AlarmMachine::create({.rule = "r"});
  ASSERT_TRUE(machine);
  AlarmStats stats;
  std::vector<AlarmEvent> events;
  for (const AlarmRow& row : {at(1, 9), at(2, 1), at(3, NAN), at(4, 9.5)}) {
    (*machine)->step(row, stats, events);
  }
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(show(events[1]), "!d@4..4 n1 p9.5");
  EXPECT_NE(events[0].id, events[1].id);
  EXPECT_EQ(stats.null_rows, 1U);
  EXPECT_EQ((*machine)->keys(), 0U);
}

TEST(Alarm, RaisesOnceAndClearsOnce) {
  Trial run({.has_clear = true});
  EXPECT_THAT(run.step({at(1, 5), at(2, 9), at(3, 9.5), at(4, 7), at(5, 9), at(6, 5), at(7, 5)}),
              ElementsAre("+d@2..2 n1 p9", "-d@2..6 n3 p9.5"));
  EXPECT_EQ(run.events[0].id, run.events[1].id);
  EXPECT_EQ(run.events[1].duration, seconds(4));
  EXPECT_EQ(run.events[0].onset_identity, at(2, 9).identity);
  EXPECT_EQ(run.events[1].lowest, 5);
}

TEST(Alarm, ClearsOnTheFirstRowThatDoesNotRaiseWithoutClearWhen) {
  Trial run({});
  EXPECT_THAT(run.step({at(2, 9), at(3, 7)}), ElementsAre("+d@2..2 n1 p9", "-d@2..3 n1 p9"));
}

TEST(Alarm, KeepsDevicesApart) {
  Trial run({.has_clear = true});
  EXPECT_THAT(run.step({at(1, 9, "a"), at(1, 9, "b"), at(2, 5, "a")}),
              ElementsAre("+a@1..1 n1 p9", "+b@1..1 n1 p9", "-a@1..2 n1 p9"));
  EXPECT_EQ(run.machine->active(), 1U);
}

TEST(Alarm, WaitsForTheOnDelayWithTheFirstRowAsOnset) {
  Trial run({.has_clear = true, .on_delay = {.duration = seconds(5)}});
  EXPECT_THAT(run.step({at(0, 9), at(3, 9), at(4, 7), at(5, 9)}), IsEmpty());
  EXPECT_THAT(run.step({at(6, 8.5), at(9.9, 12)}), IsEmpty());
  EXPECT_THAT(run.step({at(10, 9)}), ElementsAre("+d@5..10 n4 p12"));
}

TEST(Alarm, NullRowsNeitherBreakNorFulfil) {
  Trial run({.has_clear = true, .on_delay = {.duration = seconds(5)}});
  EXPECT_THAT(run.step({at(0, 9), at(3, NAN), at(6, NAN)}), IsEmpty());
  EXPECT_THAT(run.step({at(7, 9)}), ElementsAre("+d@0..7 n2 p9"));
  EXPECT_THAT(run.step({at(8, NAN), at(9, NAN)}), IsEmpty());
  EXPECT_EQ(run.stats.null_rows, 4U);
}

TEST(Alarm, RaisesOnKOfNWithTheOldestMatchAsOnset) {
  Trial run({.has_clear = true, .on_delay = {.count = 3, .of = 5}});
  EXPECT_THAT(run.step({at(0, 9), at(1, 1), at(2, 1), at(3, 9), at(4, 1), at(5, 9)}), IsEmpty());
  EXPECT_THAT(run.step({at(6, NAN), at(7, 8.5)}), ElementsAre("+d@3..7 n3 p9"));
  // A new episode starts from nothing.
  EXPECT_THAT(run.step({at(8, 1), at(9, 9), at(10, 9)}), ElementsAre("-d@3..8 n3 p9"));
  EXPECT_THAT(run.step({at(11, 9)}), ElementsAre("+d@9..11 n3 p9"));
}

TEST(Alarm, WaitsForTheOffDelay) {
  Trial run({.has_clear = true, .off_delay = {.duration = seconds(10)}});
  EXPECT_THAT(run.step({at(0, 9), at(1, 5), at(8, 7), at(9, 5), at(18, 5)}),
              ElementsAre("+d@0..0 n1 p9"));
  EXPECT_THAT(run.step({at(19, 5)}), ElementsAre("-d@0..19 n1 p9"));

  Trial rows({.has_clear = true, .off_delay = {.count = 2, .of = 3}});
  EXPECT_THAT(rows.step({at(0, 9), at(1, 5), at(2, 7), at(3, 5)}),
              ElementsAre("+d@0..0 n1 p9", "-d@0..3 n1 p9"));
}

TEST(Alarm, SuppressesWhatComesAndGoesWithinTheCooldown) {
  Trial run({.has_clear = true, .cooldown = seconds(60)});
  EXPECT_THAT(run.step({at(0, 9), at(1, 5), at(10, 9), at(20, 5)}),
              ElementsAre("+d@0..0 n1 p9", "-d@0..1 n1 p9"));
  EXPECT_EQ(run.stats.suppressed, 1U);
  // What still holds at its end is raised, with its true onset.
  EXPECT_THAT(run.step({at(30, 9), at(60.9, 11)}), IsEmpty());
  EXPECT_THAT(run.step({at(61, 9)}), ElementsAre("+d@30..61 n3 p11"));
}

TEST(Alarm, ReRaisesAfterTheCooldownByCount) {
  Trial run({.has_clear = true, .on_delay = {.count = 2, .of = 3}, .cooldown = seconds(60)});
  run.step({at(0, 9), at(1, 9), at(2, 5)});
  EXPECT_THAT(run.step({at(10, 9), at(11, 9), at(12, 5), at(13, 5)}), IsEmpty());
  EXPECT_EQ(run.stats.suppressed, 1U);
  EXPECT_THAT(run.step({at(61, 9), at(62, 9)}), ElementsAre("+d@61..62 n2 p9"));
}

TEST(Alarm, OldRowsMayRaiseButNeverClear) {
  Trial run({.has_clear = true, .on_delay = {.count = 2, .of = 2}});
  EXPECT_THAT(run.step({at(10, 9), at(5, 1), at(6, 9)}), ElementsAre("+d@10..10 n2 p9"));
  EXPECT_THAT(run.step({at(7, 1), at(10, 5)}), ElementsAre("-d@10..10 n2 p9"));
  EXPECT_EQ(run.stats.out_of_order, 3U);
}

TEST(Alarm, MovesOnlyWithRowsUnlessTheLastConditionHolds) {
  Trial rows({.has_clear = true, .on_delay = {.duration = seconds(5)}});
  rows.step({at(0, 9)});
  EXPECT_THAT(rows.tick(100), IsEmpty());
  EXPECT_THAT(rows.step({at(101, 5)}), IsEmpty());

  Trial hold({.has_clear = true,
              .on_delay = {.duration = seconds(5)},
              .off_delay = {.duration = seconds(3)},
              .hold_last = true});
  hold.step({at(0, 9)});
  EXPECT_THAT(hold.tick(5), IsEmpty());  // a row of 5 s may still come
  EXPECT_THAT(hold.tick(5.1), ElementsAre("+d@0..5 n1 p9"));
  EXPECT_EQ(hold.events[0].row, AlarmEvent::kNoRow);
  EXPECT_THAT(hold.step({at(6, 5)}), IsEmpty());
  EXPECT_THAT(hold.tick(20), ElementsAre("-d@0..9 n1 p9"));
}

TEST(Alarm, GivesTheSameEventsWhetherTicksComeOrNot) {
  std::mt19937 random(4);
  const AlarmOptions options{.has_clear = true,
                             .on_delay = {.duration = seconds(3)},
                             .off_delay = {.duration = seconds(4)},
                             .cooldown = seconds(7),
                             .hold_last = true};
  Trial with(options);
  Trial without(options);
  double now = 0;
  std::vector<std::string> a;
  std::vector<std::string> b;
  const auto add = [](std::vector<std::string>& to, std::vector<std::string> more) {
    to.insert(to.end(), more.begin(), more.end());
  };
  for (int i = 0; i < 3000; ++i) {
    now += static_cast<double>(random() % 5);
    add(a, with.tick(now));
    const AlarmRow row = at(now, static_cast<double>(random() % 12));
    add(a, with.step({row}));
    add(b, without.step({row}));
  }
  add(a, with.tick(now + 100));
  add(b, without.tick(now + 100));
  EXPECT_EQ(a, b);
  EXPECT_GT(a.size(), 100U);
}

TEST(Alarm, EvictsTheOldestEpisodeWhenTooManyAreActive) {
  Trial run({.has_clear = true, .max_active = 2, .max_keys = 5});
  EXPECT_THAT(run.step({at(0, 9, "a"), at(1, 9, "b"), at(2, 9, "a"), at(3, 9, "c")}),
              ElementsAre("+a@0..0 n1 p9", "+b@1..1 n1 p9", "xa@0..3 n2 p9", "+c@3..3 n1 p9"));
  EXPECT_EQ(run.machine->active(), 2U);
  EXPECT_THAT(run.step({at(4, 9, "a")}), IsEmpty());
  EXPECT_THAT(run.step({at(5, 7, "a"), at(6, 9, "a")}),
              ElementsAre("xb@1..6 n1 p9", "+a@6..6 n1 p9"));
}

TEST(Alarm, NeverForgetsAnActiveDevice) {
  Trial run({.has_clear = true, .max_active = 2, .max_keys = 3});
  run.step({at(0, 9, "a"), at(1, 9, "b")});
  for (int i = 0; i < 50; ++i) {
    run.step({at(2 + i, 5, "x" + std::to_string(i))});
  }
  EXPECT_EQ(run.machine->keys(), 3U);
  EXPECT_EQ(run.stats.evicted_keys, 49U);
  EXPECT_THAT(run.step({at(99, 5, "a")}), ElementsAre("-a@0..99 n1 p9"));
}

TEST(Alarm, IdStandsOnReadingRuleModelAndOnset) {
  const Id128 reading{1, 2};
  const std::string id = alert_id(reading, "rule", "sha256:ab", WallTime{5});
  EXPECT_EQ(id.size(), 32U);
  EXPECT_NE(id, alert_id(Id128{1, 3}, "rule", "sha256:ab", WallTime{5}));
  EXPECT_NE(id, alert_id(reading, "rules", "sha256:ab", WallTime{5}));
  EXPECT_NE(id, alert_id(reading, "rule", "sha256:ac", WallTime{5}));
  EXPECT_NE(id, alert_id(reading, "rule", "sha256:ab", WallTime{6}));
  EXPECT_NE(alert_id(reading, "ab", "c", WallTime{5}), alert_id(reading, "a", "bc", WallTime{5}));
  // Stored in spools and sent upstream: must never change.
  EXPECT_EQ(id, "15db8075402444e6feafaa17a452f996");
}

TEST(Alarm, ReadsABatch) {
  Batch batch;
  for (int i = 0; i < 3; ++i) {
    Row row;
    row.device = "d";
    row.time.ns = i;
    row.identity = {0, static_cast<std::uint64_t>(i)};
    batch.add_row(row);
  }
  Column raise(Type::kBool);
  raise.reset(Type::kBool, 3);
  raise.set(0, std::uint8_t{1});
  raise.set(2, std::uint8_t{0});
  Column score(Type::kFloat32);
  score.reset(Type::kFloat32, 3);
  score.set(0, 0.5F);
  auto machine = make({});
  AlarmStats stats;
  std::vector<AlarmEvent> events;
  machine->process(batch, raise, nullptr, &score, stats, events);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].row, 0U);
  EXPECT_EQ(events[0].score, 0.5);
  EXPECT_EQ(events[1].row, 2U);
  EXPECT_EQ(stats.null_rows, 1U);
}

TEST(Alarm, ListsActiveEpisodesOldestFirst) {
  Trial run({.has_clear = true});
  run.step({at(0, 9, "b"), at(1, 9, "a"), at(2, 9, "c"), at(3, 5, "a"), at(4, 10, "b")});
  const auto active = run.machine->active_episodes();
  ASSERT_EQ(active.size(), 2U);
  EXPECT_EQ(show(active[0]), "+b@0..4 n2 p10");
  EXPECT_EQ(active[0].id, run.events[0].id);
  EXPECT_EQ(active[1].key, "c");
}

TEST(Alarm, GivesTheSameEventsWhenRestoredAnywhere) {
  const std::vector<AlarmOptions> all = {
      {.has_clear = true},
      {.has_clear = true, .on_delay = {.duration = seconds(4)}, .off_delay = {.count = 2, .of = 4}},
      {.has_clear = true,
       .on_delay = {.count = 3, .of = 5},
       .off_delay = {.duration = seconds(3)},
       .cooldown = seconds(9)},
      {.has_clear = true,
       .on_delay = {.duration = seconds(2)},
       .off_delay = {.duration = seconds(2)},
       .cooldown = seconds(5),
       .hold_last = true},
      {.on_delay = {.count = 2, .of = 3}, .max_active = 1, .max_keys = 3}};
  for (std::size_t which = 0; which < all.size(); ++which) {
    std::mt19937 random(9);
    Trial whole(all[which]);
    Trial cut(all[which]);
    double now = 0;
    static const char* const kDevices[] = {"a", "b", "c", "e"};
    for (int i = 0; i < 1500; ++i) {
      now += static_cast<double>(random() % 3);
      const double back = random() % 10 == 0 ? 2.0 : 0.0;
      const double score = random() % 11 == 0 ? NAN : static_cast<double>(random() % 13);
      const AlarmRow row = at(now - back, score, kDevices[random() % 4]);
      whole.step({row});
      cut.step({row});
      std::string state;
      ByteWriter writer(state);
      cut.machine->save(writer);
      cut.machine = make(all[which]);
      ByteReader reader(state);
      ASSERT_TRUE(cut.machine->restore(reader));
      EXPECT_TRUE(reader.empty());
    }
    ASSERT_EQ(cut.events.size(), whole.events.size()) << which;
    EXPECT_GT(whole.events.size(), 20U) << which;
    for (std::size_t i = 0; i < whole.events.size(); ++i) {
      ASSERT_EQ(show(cut.events[i]), show(whole.events[i])) << which;
      ASSERT_EQ(cut.events[i].id, whole.events[i].id);
    }
  }
}

TEST(Alarm, ClearsAnEpisodeUnderTheIdItWasRaisedWithWhateverTheOptionsAreByThen) {
  Trial before({.rule = "old", .model_digest = "sha256:ab", .has_clear = true});
  before.step({at(0, 9, "a")});
  std::string state;
  ByteWriter writer(state);
  before.machine->save(writer);
  Trial after({.rule = "new", .model_digest = "sha256:cd", .has_clear = true});
  ByteReader reader(state);
  ASSERT_TRUE(after.machine->restore(reader));
  after.step({at(1, 1, "a"), at(2, 9, "a")});
  ASSERT_EQ(after.events.size(), 2U);
  EXPECT_EQ(after.events[0].id, before.events.at(0).id);
  EXPECT_NE(after.events[1].id, before.events.at(0).id);
}

TEST(Alarm, RefusesDamagedState) {
  Trial run({.has_clear = true, .on_delay = {.count = 2, .of = 5}});
  run.step({at(0, 9, "a"), at(1, 9, "a"), at(2, 9, "b")});
  std::string state;
  ByteWriter writer(state);
  run.machine->save(writer);
  for (std::size_t cut = 0; cut < state.size(); ++cut) {
    ByteReader reader(std::string_view(state).substr(0, cut));
    EXPECT_FALSE(run.machine->restore(reader)) << cut;
  }
  EXPECT_EQ(run.machine->active(), 1U);
}

TEST(Alarm, RefusesOptionsThatMeanNothing) {
  EXPECT_FALSE(AlarmMachine::create({.has_clear = true}));
  EXPECT_FALSE(AlarmMachine::create({.on_delay = {.duration = seconds(1)}}));
  EXPECT_FALSE(AlarmMachine::create({.episodes = true, .on_delay = {.count = 4, .of = 3}}));
  EXPECT_FALSE(AlarmMachine::create({.episodes = true, .max_active = 10, .max_keys = 10}));
}

TEST(Delay, ParsesBothForms) {
  EXPECT_EQ(Delay::parse("5s")->duration, seconds(5));
  EXPECT_EQ(Delay::parse("3 of 5")->count, 3U);
  EXPECT_EQ(Delay::parse(" 64  of  64 ")->of, 64U);
  for (const char* bad :
       {"", "5", "0 of 3", "4 of 3", "1 of 65", "x of 3", "3 of", "-1 of 3", "3of5"}) {
    EXPECT_FALSE(Delay::parse(bad)) << bad;
  }
}

}  // namespace
}  // namespace headwater
