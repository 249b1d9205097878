#include "uplink/uplink.h"

#include <algorithm>

#include "uplink/file_target.h"
#include "uplink/testing.h"

namespace headwater {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// The whole of it with its thread: a spool and a folder on one disk in memory.
class UplinkThread : public testing::Test {
 protected:
  UplinkThread() { open(); }
  ~UplinkThread() override { close(); }

  void open() {
    spool = Spool::open(disk, small_options()).value();
    FileTargetOptions file;
    file.dir.text = "outbox";
    options.max_rows = 50;
    options.max_backoff = std::chrono::milliseconds(5);
    Uplink::Parts parts;
    parts.made = {make_file_target(disk, file), options, "outbox"};
    parts.spool = spool.get();
    parts.edge_id = "hall";
    uplink = Uplink::create(std::move(parts)).value();
    // The spool's callbacks outlive the uplink.
    fanout = std::make_shared<Fanout>();
    fanout->uplink = uplink.get();
    spool->on_commit([fanout = fanout](Ticket, const Status&) {
      const std::lock_guard lock(fanout->mutex);
      if (fanout->uplink != nullptr) {
        fanout->uplink->committed();
      }
    });
    ASSERT_TRUE(uplink->start().ok());
  }
  void close() {
    {
      const std::lock_guard lock(fanout->mutex);
      fanout->uplink = nullptr;
    }
    uplink.reset();
    spool.reset();
  }
  void add(std::size_t rows, Lane lane) {
    Transaction transaction;
    for (std::size_t i = 0; i < rows; ++i) {
      transaction.append(lane, 0, sample_row("{}"));
    }
    ASSERT_TRUE(spool->submit(transaction).ok());
  }
  template <class Condition>
  bool within(Condition condition) {
    for (const MonoTime until = io::mono_now() + kPatience; io::mono_now() < until;) {
      if (condition()) {
        return true;
      }
      std::this_thread::yield();
    }
    return false;
  }
  std::vector<std::string> files(std::string_view lane) {
    auto names = disk.list("outbox").value();
    std::erase_if(names, [&](const std::string& name) {
      return name.find(fmt::format("_{}_", lane)) == std::string::npos;
    });
    return names;
  }
  const LaneStream& stream(Lane lane) {
    return **std::find_if(uplink->streams().begin(), uplink->streams().end(),
                          [&](const auto& one) { return one->lane() == lane; });
  }

  struct Fanout {
    std::mutex mutex;
    Uplink* uplink = nullptr;
  };
  io::FaultFiles disk{1};
  std::unique_ptr<Spool> spool;
  UplinkOptions options;
  std::shared_ptr<Fanout> fanout;
  std::unique_ptr<Uplink> uplink;
};

TEST_F(UplinkThread, WritesWhatIsCommitted) {
  add(120, Lane::kReadings);
  add(1, Lane::kAlerts);
  EXPECT_TRUE(within([&] { return stream(Lane::kReadings).cursor() == 100; }));
  EXPECT_TRUE(within([&] { return stream(Lane::kAlerts).settled(); }));
  EXPECT_THAT(files("readings"), SizeIs(2));
  EXPECT_THAT(files("alerts"), SizeIs(1));
  EXPECT_FALSE(uplink->settled());
}

TEST_F(UplinkThread, FinishesAtOnceWhenNothingMoreComes) {
  add(120, Lane::kReadings);
  ASSERT_TRUE(spool->flush(kPatience).ok());
  uplink->finish();
  EXPECT_TRUE(within([&] { return uplink->settled(); }));
  EXPECT_EQ(stream(Lane::kReadings).counts().rows.get(), 120U);
}

TEST_F(UplinkThread, GoesOnWhereItStopped) {
  for (std::uint64_t round = 1; round <= 5; ++round) {
    add(70, Lane::kReadings);
    uplink->drain(std::chrono::seconds(1));
    close();
    open();
  }
  add(1, Lane::kReadings);
  ASSERT_TRUE(spool->flush(kPatience).ok());
  uplink->finish();
  EXPECT_TRUE(within([&] { return uplink->settled(); }));
  std::uint64_t next = 1;
  for (const std::string& name : files("readings")) {
    const BatchHeader header = BatchReader::read_header(disk.contents("outbox/" + name)).value();
    EXPECT_EQ(header.first, next);
    next = header.last + 1;
  }
  EXPECT_EQ(next, 352U);
}

TEST_F(UplinkThread, AlertsOfTheLastMomentGoOutBeforeItStops) {
  add(30, Lane::kReadings);
  add(3, Lane::kAlerts);
  ASSERT_TRUE(spool->flush(kPatience).ok());
  uplink->drain(kPatience);
  EXPECT_TRUE(stream(Lane::kAlerts).settled());
  EXPECT_THAT(files("readings"), IsEmpty()) << "an open batch is not closed for it";
}

TEST_F(UplinkThread, DoesNotWaitForATargetThatFails) {
  disk.fail(io::DiskCall::kWrite, ENOSPC, 1'000'000, 0, "outbox");
  add(3, Lane::kAlerts);
  EXPECT_TRUE(within([&] { return stream(Lane::kAlerts).counts().retries.get() > 2; }));
  uplink->drain(kPatience);
  EXPECT_EQ(stream(Lane::kAlerts).pending(), 3U);
  EXPECT_NE(stream(Lane::kAlerts).trouble(), "");
}

}  // namespace
}  // namespace headwater
