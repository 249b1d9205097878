// Torture must find bugs: each of these is planted, and must be found within 500 trials.
#include "base/planted.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "telemetry/log.h"
#include "torture/simulated_trial.h"

namespace headwater::torture {
namespace {

#ifdef HW_PLANT_BUGS

struct Planted {
  Bug bug;
  std::string_view name;
};

class PlantedBug : public ::testing::TestWithParam<Planted> {};

TEST_P(PlantedBug, IsFound) {
  log::set_level(log::Level::kOff);
  const auto blueprint = Blueprint::make();
  ASSERT_TRUE(blueprint.ok()) << blueprint.error().text();
  plant(GetParam().bug);
  std::uint64_t trials = 0;
  std::string found;
  for (std::uint64_t seed = 1; seed <= 500 && found.empty(); ++seed) {
    const Trial trial = run_simulated(**blueprint, {.seed = seed, .load = 400});
    ++trials;
    if (!trial.verdict.good()) {
      found = trial.verdict.findings.empty() ? "?" : trial.verdict.findings.front();
    }
  }
  plant(Bug::kNone);
  EXPECT_FALSE(found.empty()) << "not found in " << trials << " trials";
  RecordProperty("trials", static_cast<int>(trials));
  std::printf("%s: trial %d: %s\n", std::string(GetParam().name).c_str(), static_cast<int>(trials),
              found.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    Torture, PlantedBug,
    ::testing::Values(
        Planted{Bug::kCommitWithoutSync, "CommitWithoutSync"},
        Planted{Bug::kAcknowledgeAtSubmit, "AcknowledgeAtSubmit"},
        Planted{Bug::kNoFolderSync, "NoFolderSync"}, Planted{Bug::kSequenceAgain, "SequenceAgain"},
        Planted{Bug::kStaleBlock, "StaleBlock"}, Planted{Bug::kSyncAgain, "SyncAgain"},
        Planted{Bug::kHighWaterDedupe, "HighWaterDedupe"}, Planted{Bug::kNoCrc, "NoCrc"},
        Planted{Bug::kDecidedEarly, "DecidedEarly"},
        Planted{Bug::kTornIsCommitted, "TornIsCommitted"},
        Planted{Bug::kGapAfterRelease, "GapAfterRelease"},
        Planted{Bug::kStateAheadOfCursor, "StateAheadOfCursor"},
        Planted{Bug::kSinkCursorAhead, "SinkCursorAhead"}, Planted{Bug::kNoReplay, "NoReplay"},
        Planted{Bug::kAlertsApart, "AlertsApart"}, Planted{Bug::kShortGap, "ShortGap"},
        Planted{Bug::kNoAnswerIsStored, "NoAnswerIsStored"},
        Planted{Bug::kForgottenIds, "ForgottenIds"}),
    [](const auto& given) { return std::string(given.param.name); });

#else

TEST(PlantedBug, NeedsABuildWithPlantedBugs) {
  GTEST_SKIP() << "HW_PLANT_BUGS is off";
}

#endif

}  // namespace
}  // namespace headwater::torture
