#include "pipeline/scoring.h"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "pipeline/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Texts = std::vector<std::string>;

TEST(Scoring, RecordsScoresAlertsAndTheCursorOfEachRow) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  for (int i = 1; i <= 4; ++i) {
    rig.feed->add(fmt::format("d {}", i));
  }
  ASSERT_TRUE(rig.settle());
  const auto decisions = read_decisions(*rig.spool);
  ASSERT_THAT(decisions, SizeIs(4));
  EXPECT_THAT(decisions.at(1), ElementsAre("1"));
  EXPECT_THAT(decisions.at(3), ElementsAre("3!"));
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("d n=3 sum=6"));
  EXPECT_EQ(rig.spool->cursor("decided/main/0", Lane::kReadings, kAllStreams), 4U);
  EXPECT_EQ(rig.scoring->counts().scored.get(), 4U);
  EXPECT_EQ(rig.scoring->counts().alerts.get(), 1U);
  EXPECT_EQ(rig.latency.count(), 4U);
}

TEST(Scoring, DecisionsWaitAsLongAsTheirReadingsUnlessOneAlerts) {
  Rig rig;
  rig.options.lanes[index_of(Lane::kReadings)].patience = std::chrono::hours(1);
  ASSERT_TRUE(rig.build());
  ASSERT_TRUE(rig.commit());  // what a start writes
  const std::uint64_t before = rig.spool->stats().commits;
  const Ticket start = rig.spool->committed();
  for (int i = 1; i <= 2; ++i) {
    rig.feed->add(fmt::format("d {}", i));
    rig.pump();
    while (rig.scoring->step(rig.pool)) {
    }
  }
  EXPECT_EQ(rig.spool->committed(), start) << "two readings and what became of them";
  rig.feed->add("d 3");
  rig.pump();
  while (rig.scoring->step(rig.pool)) {
  }
  EXPECT_TRUE(until([&] { return rig.spool->committed() > start + 4; })) << "the third alerts";
  EXPECT_EQ(rig.spool->stats().commits, before + 1);
}

TEST(Scoring, AnAlertCarriesWhereItsRowCameFrom) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  for (int i = 1; i <= 3; ++i) {
    rig.feed->add(fmt::format("d {}", i), 7);
  }
  ASSERT_TRUE(rig.settle());
  const auto reader = rig.spool->read(Lane::kAlerts, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_EQ(reader->row().stream, 2U);
  EXPECT_EQ(reader->row().row.device, "d");
  EXPECT_EQ(reader->row().row.topic, "t");
  EXPECT_EQ(reader->row().row.note, "alert");
  EXPECT_EQ(reader->row().row.partition, 7U);
  EXPECT_EQ(reader->row().row.position, 3U);
}

TEST(Scoring, RowsThatAreDroppedOrHaveNoScoreAreDecidedWithoutOne) {
  Rig rig;
  rig.stages = [] {
    std::vector<std::unique_ptr<Stage>> made;
    made.push_back(std::make_unique<Above>(1.0));
    made.push_back(std::make_unique<Score>());
    return made;
  };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.feed->add("d x");
  rig.feed->add("d 2");
  rig.feed->add("d 0");
  ASSERT_TRUE(rig.settle());
  const auto decisions = read_decisions(*rig.spool);
  ASSERT_THAT(decisions, SizeIs(4));
  EXPECT_THAT(decisions.at(1), ElementsAre("-"));
  EXPECT_THAT(decisions.at(2), ElementsAre("-"));
  EXPECT_THAT(decisions.at(3), ElementsAre("2"));
  EXPECT_EQ(rig.scoring->counts().unscored.get(), 3U);
}

TEST(Scoring, ABatchOfWhichNothingIsLeftIsDecided) {
  Rig rig;
  rig.stages = [] { return only<Above>(100.0); };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  expect_each_decided_once(rig);
  EXPECT_EQ(rig.scoring->counts().unscored.get(), 2U);
  EXPECT_EQ(rig.spool->cursor("decided/main/0", Lane::kReadings, kAllStreams), 2U);
}

TEST(Scoring, WithoutAScoreColumnDecisionsHaveNoScores) {
  Rig rig;
  rig.stages = [] { return std::vector<std::unique_ptr<Stage>>(); };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(read_decisions(*rig.spool).at(1), ElementsAre("-"));
  EXPECT_EQ(rig.scoring->counts().unscored.get(), 1U);
}

TEST(Scoring, AScoreThatIsNoNumberIsNoScore) {
  Rig rig;
  rig.stages = [] {
    return only<Step>([](Batch batch, Outputs& out) {
      batch.add_column("score", Type::kFloat64).set(0, std::nan(""));
      return out.emit(std::move(batch));
    });
  };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->counts().scored.get(), 0U);
  EXPECT_EQ(rig.scoring->counts().unscored.get(), 1U);
}

TEST(Scoring, AStepThatFailsLeavesItsRowsStoredAndUnscored) {
  Rig rig;
  bool fail = true;
  rig.stages = [&fail] {
    std::vector<std::unique_ptr<Stage>> made;
    made.push_back(std::make_unique<Step>([&fail](Batch batch, Outputs& out) -> Status {
      if (!fail) {
        batch.add_column("score", Type::kFloat64).set(0, 7.0);
      }
      HW_TRY(out.emit(std::move(batch)));
      return fail ? Status(Error::invalid("the model refused it")) : Status();
    }));
    return made;
  };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kReadings), ElementsAre("d 1"));
  EXPECT_EQ(rig.scoring->counts().failed.get(), 1U);
  EXPECT_EQ(rig.scoring->trouble(), "the model refused it");
  fail = false;
  rig.feed->add("d 2");
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->trouble(), "");
  EXPECT_THAT(read_decisions(*rig.spool).at(1), ElementsAre("-"));
  EXPECT_THAT(read_decisions(*rig.spool).at(2), ElementsAre("7"));
  expect_each_decided_once(rig);
}

TEST(Scoring, AStepThatLosesItsBatchIsToldAndEndsNothing) {
  const std::vector<std::pair<Step::Call, std::string>> bugs = {
      {[](Batch, Outputs&) { return Status(); }, "did not hand its batch on exactly once"},
      {[](Batch, Outputs&) { return Status(Error::invalid("no column 'x'")); }, "no column 'x'"},
      {[](Batch batch, Outputs& out) -> Status {
         HW_TRY(out.emit(std::move(batch)));
         return out.emit(Batch());
       },
       "exactly once"},
      {[](Batch, Outputs& out) { return out.emit(Batch()); }, "exactly once"},
  };
  for (const auto& pair : bugs) {
    const Step::Call& bug = pair.first;
    const std::string& told = pair.second;
    SCOPED_TRACE(told);
    Rig rig;
    rig.stages = [&bug] {
      std::vector<std::unique_ptr<Stage>> made;
      made.push_back(std::make_unique<Score>());
      made.push_back(std::make_unique<Step>([](Batch batch, Outputs& out) {
        out.alert(sample_alert("before", &batch, 1));
        return out.emit(std::move(batch));
      }));
      made.push_back(std::make_unique<Step>(bug));
      made.push_back(std::make_unique<Step>([](Batch batch, Outputs& out) {
        ADD_FAILURE() << "the batch is lost";
        return out.emit(std::move(batch));
      }));
      return made;
    };
    ASSERT_TRUE(rig.build());
    rig.feed->add("d 1");
    rig.feed->add("d 2");
    ASSERT_TRUE(rig.settle());
    EXPECT_THAT(rig.scoring->trouble(), HasSubstr(told));
    EXPECT_EQ(rig.scoring->counts().failed.get(), 1U);
    EXPECT_THAT(rig.lane(Lane::kReadings), SizeIs(2));
    EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("before"));
    expect_each_decided_once(rig);
  }
}

TEST(Scoring, AnAlertWithoutARowIsStoredAndMarksNone) {
  Rig rig;
  rig.stages = [] {
    return only<Step>([](Batch batch, Outputs& out) {
      Alert alert = sample_alert("evicted");
      alert.event = "cleared";
      out.alert(std::move(alert));
      return out.emit(std::move(batch));
    });
  };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("evicted"));
  EXPECT_THAT(read_decisions(*rig.spool).at(1), ElementsAre("-"));
  EXPECT_EQ(rig.scoring->counts().cleared.get(), 1U);
  EXPECT_EQ(rig.scoring->counts().alerts.get(), 0U);
  const auto reader = rig.spool->read(Lane::kAlerts, 1);
  ASSERT_EQ(reader->next().value(), ReadItem::kRow);
  EXPECT_EQ(reader->row().row.topic, "");
}

TEST(Scoring, AlertsOfTimersAreStoredAtOnceWithTheStateBehindThem) {
  Rig rig;
  int left = 1;
  rig.stages = [&left] {
    return only<Step>([](Batch batch, Outputs& out) { return out.emit(std::move(batch)); },
                      [&left](Outputs& out) {
                        if (left-- > 0) {
                          out.alert(sample_alert("silent"));
                        }
                        return out.emit(Batch());  // a timer has none
                      });
  };
  ASSERT_TRUE(rig.build());
  Texts seen;
  rig.scoring->observe([&](const Batch& batch, std::span<const Alert> alerts) {
    EXPECT_EQ(batch.rows(), 0U);
    for (const Alert& alert : alerts) {
      seen.push_back(alert.id);
    }
  });
  rig.scoring->tick({1});
  rig.scoring->tick({2});
  EXPECT_FALSE(rig.scoring->idle());
  ASSERT_TRUE(rig.commit());
  EXPECT_TRUE(rig.scoring->idle());
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("silent"));
  EXPECT_THAT(seen, ElementsAre("silent"));
  EXPECT_THAT(rig.scoring->trouble(), HasSubstr("no batch to hand on"));
  EXPECT_EQ(rig.scoring->counts().alerts.get(), 1U);
  EXPECT_TRUE(rig.spool->cursor("checkpoint/main/0", Lane::kReadings, kAllStreams).has_value());
}

TEST(Scoring, TimersWaitForRows) {
  Rig rig;
  int ticks = 0;
  rig.stages = [&ticks] {
    return only<Step>([](Batch batch, Outputs& out) { return out.emit(std::move(batch)); },
                      [&ticks](Outputs&) {
                        ++ticks;
                        return Status();
                      });
  };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  rig.pump();
  rig.scoring->tick({1});
  EXPECT_EQ(ticks, 0);
  rig.step();
  rig.scoring->tick({1});
  EXPECT_EQ(ticks, 1);
}

TEST(Scoring, DecisionsNameTheirOwnRowsWhenStreamsInterleave) {
  Rig rig;
  rig.room = 2;
  ASSERT_TRUE(rig.build());
  auto other_feed = std::make_shared<Feed>();
  const std::unique_ptr<Intake> other = rig.make_intake("main/other", 3, other_feed);
  // A third stream belongs to another pipeline.
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 20; ++i) {
    rig.feed->add(fmt::format("a {}", i));
    other_feed->add(fmt::format("b {}", 100 + i));
  }
  for (int i = 0; i < 12; ++i) {
    rig.pump();
    Transaction foreign;
    foreign.append(Lane::kReadings, 9, sample_row("foreign"));
    ASSERT_TRUE(rig.spool->submit(foreign).ok());
    other->pump(rig.pool);
    rig.step();
  }
  ASSERT_TRUE(rig.settle());
  other->on_commit(rig.spool->committed());
  const auto decisions = read_decisions(*rig.spool);
  EXPECT_THAT(decisions, SizeIs(40));
  const auto reader = rig.spool->read(Lane::kReadings, 1);
  while (reader->next().value() == ReadItem::kRow) {
    const std::string payload(reader->row().row.payload);
    const auto found = decisions.find(reader->row().sequence);
    if (payload == "foreign") {
      EXPECT_EQ(found, decisions.end());
      continue;
    }
    ASSERT_NE(found, decisions.end()) << payload;
    ASSERT_THAT(found->second, SizeIs(1));
    std::string score = found->second.front();
    if (score.ends_with('!')) {
      score.pop_back();
    }
    EXPECT_EQ(score, payload.substr(2));
  }
}

TEST(Scoring, DecisionsThatTheSpoolRefusesAreKeptAndSentAgain) {
  Rig rig;
  ASSERT_TRUE(rig.build());
  for (int i = 1; i <= 3; ++i) {
    rig.feed->add(fmt::format("d {}", i));
  }
  rig.pump();
  ASSERT_TRUE(rig.commit());
  rig.disk.fail(io::DiskCall::kWrite, EIO, 1'000'000);
  rig.disk.fail(io::DiskCall::kOpen, EIO, 1'000'000);
  append(*rig.spool, "x", Lane::kDebug);
  const MonoTime until = io::mono_now() + kPatience;
  while (rig.spool->stats().health == SpoolHealth::kOk && io::mono_now() < until) {
  }
  rig.step();
  rig.step();
  EXPECT_FALSE(rig.scoring->idle());
  EXPECT_NE(rig.scoring->trouble(), "");
  rig.scoring->checkpoint();  // must not overtake them
  rig.scoring->tick({1});
  rig.disk.clear_faults();
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.scoring->trouble(), "");
  EXPECT_THAT(rig.lane(Lane::kAlerts), ElementsAre("d n=3 sum=6"));
  expect_each_decided_once(rig);
}

TEST(Scoring, MoreAlertsThanAFrameTakesAreStoredInSeveral) {
  Rig rig;
  rig.stages = [] {
    return only<Step>([](Batch batch, Outputs& out) {
      for (const std::uint32_t row : batch.selection()) {
        out.alert(sample_alert(fmt::format("{} {}", row, std::string(9'000, 'x')), &batch, row));
      }
      return out.emit(std::move(batch));
    });
  };
  ASSERT_TRUE(rig.build());
  for (int i = 0; i < 50; ++i) {
    rig.feed->add(fmt::format("d {}", i));
  }
  ASSERT_TRUE(rig.settle());
  const Texts alerts = rig.lane(Lane::kAlerts);
  ASSERT_THAT(alerts, SizeIs(50));
  for (std::size_t i = 0; i < alerts.size(); ++i) {
    EXPECT_TRUE(alerts[i].starts_with(fmt::format("{} x", i)));
  }
  expect_each_decided_once(rig);
}

TEST(Scoring, AlertsOfOneRowThatAreTooLargeTogetherAreStoredOneByOne) {
  Rig rig;
  rig.stages = [] {
    return only<Step>([](Batch batch, Outputs& out) {
      out.alert(sample_alert("1" + std::string(100'000, 'x'), &batch, 0));
      out.alert(sample_alert("2" + std::string(100'000, 'x'), &batch, 0));
      out.alert(sample_alert("3" + std::string(200'000, 'x'), &batch, 0));  // above any frame
      return out.emit(std::move(batch));
    });
  };
  ASSERT_TRUE(rig.build());
  rig.feed->add("d 1");
  ASSERT_TRUE(rig.settle());
  const Texts alerts = rig.lane(Lane::kAlerts);
  ASSERT_THAT(alerts, SizeIs(2));
  EXPECT_EQ(rig.scoring->counts().failed.get(), 1U);
  EXPECT_THAT(rig.scoring->trouble(), HasSubstr("larger than the store takes"));
  expect_each_decided_once(rig);
}

}  // namespace
}  // namespace headwater
