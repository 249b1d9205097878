// What the tests of the uplink share: a spool on a disk in memory, a target that answers as told,
// and a clock that stands still.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "columnar/batch_reader.h"
#include "store/testing.h"
#include "uplink/lane_stream.h"

namespace headwater {

// "1 2 3-5:shed" of a batch: its rows and gaps.
inline std::string contents(const EncodedBatch& batch) {
  BatchReader reader;
  const Status opened = reader.open(batch.bytes);
  if (!opened) {
    return opened.error().text();
  }
  std::string out;
  for (;;) {
    const Result<BatchItem> item = reader.next();
    if (!item) {
      return item.error().text();
    }
    if (*item == BatchItem::kEnd) {
      return out;
    }
    out += out.empty() ? "" : " ";
    if (*item == BatchItem::kGap) {
      out += fmt::format("{}-{}:{}", reader.gap().first, reader.gap().last, reader.gap().reason);
    } else {
      out += fmt::format("{}", reader.row().sequence);
      if (reader.row().decided) {
        out += fmt::format("={}{}", reader.row().score, reader.row().alerted ? "!" : "");
      }
    }
  }
}

// Of one lane: at most `most_open` batches are on their way at once.
class FakeTarget final : public UplinkTarget {
 public:
  Status start(io::Loop&) override { return {}; }
  void send(const EncodedBatch& batch, Done done) override {
    EXPECT_LT(open_.size(), most_open);
    sent.push_back(fmt::format("{}-{}", batch.header.first, batch.header.last));
    on_send(batch.header);
    bodies.push_back(contents(batch));
    bytes += batch.bytes.size();
    open_.push_back({sent.back(), bodies.back(), std::move(done)});
  }
  void close() override { open_.clear(); }

  bool waiting() const { return !open_.empty(); }
  // The oldest that has no answer.
  const std::string& body() const { return open_.front().body; }
  std::vector<std::string> on_the_way() const {
    std::vector<std::string> names;
    for (const Open& one : open_) {
      names.push_back(one.name);
    }
    return names;
  }
  void answer(Receipt receipt, Nanos retry_after = {}, bool silent = false) {
    ASSERT_FALSE(open_.empty()) << "nothing was sent";
    const Done done = std::move(open_.front().done);
    open_.pop_front();
    done({receipt, retry_after, "told so", silent});
  }
  void answer(std::string_view name, Receipt receipt) {
    const auto found =
        std::find_if(open_.begin(), open_.end(), [&](const Open& one) { return one.name == name; });
    ASSERT_NE(found, open_.end()) << name << " is not on its way";
    std::rotate(open_.begin(), found, found + 1);
    answer(receipt);
  }

  std::size_t most_open = 1;
  std::function<void(const BatchHeader&)> on_send = [](const BatchHeader&) {};
  std::vector<std::string> sent;    // "1-10" of each attempt
  std::vector<std::string> bodies;  // contents() of each
  std::uint64_t bytes = 0;

 private:
  struct Open {
    std::string name;
    std::string body;
    Done done;
  };
  std::deque<Open> open_;
};

class UplinkTest : public testing::Test {
 protected:
  UplinkTest() { open(); }

  void open(OnFull on_full = OnFull::kShedOldest) {
    SpoolOptions options = small_options();
    options.on_full = on_full;
    spool = Spool::open(disk, options).value();
    spool->deliver_to(kUplinkConsumer, Lane::kReadings);
  }
  // kill -9 and a new start.
  void restart() {
    stream.reset();
    spool.reset();
    target = FakeTarget();
    target.most_open = parts.live_first ? 2 : 1;
    disk.restart_process();
    open();
  }

  void commit() { ASSERT_TRUE(spool->flush(kPatience).ok()); }
  void add_rows(std::size_t count, std::uint16_t stream_number = 0, Lane lane = Lane::kReadings,
                std::size_t payload = 20) {
    Transaction transaction;
    for (std::size_t i = 0; i < count; ++i) {
      StoredRow row = sample_row("");
      const std::string text = "\"" + std::string(payload - 2, 'x') + "\"";
      row.payload = text;
      transaction.append(lane, stream_number, row);
    }
    ASSERT_TRUE(spool->submit(transaction).ok());
    commit();
  }
  void decide(std::uint64_t first, std::vector<double> scores, std::uint16_t stream_number = 0) {
    Transaction transaction;
    const std::vector<std::uint8_t> alerted(scores.size(), 1);
    transaction.decide({.pipeline = "main",
                        .lane = Lane::kReadings,
                        .stream = stream_number,
                        .first = first,
                        .count = static_cast<std::uint32_t>(scores.size()),
                        .sequences = {},
                        .model_digest = "abcdef",
                        .scores = scores,
                        .alerted = alerted});
    transaction.cursor("decided/main/0", Lane::kReadings, kAllStreams, first + scores.size() - 1);
    ASSERT_TRUE(spool->submit(transaction).ok());
    commit();
  }

  // Time goes on; the wall clock with it.
  void pass(Nanos time) {
    clock.mono = clock.mono + time;
    clock.wall = clock.wall + time;
  }

  LaneStream& make(Lane lane = Lane::kReadings) {
    parts.spool = spool.get();
    parts.target = &target;
    parts.lane = lane;
    parts.edge_id = "hall";
    parts.seed = 7;
    parts.wake = [] {};
    // The boundaries are on disk before each attempt.
    target.on_send = [this](const BatchHeader& header) {
      const std::string blob = spool->state("uplink/batch/" + header.lane);
      ByteReader in(blob);
      EXPECT_EQ(in.get_varint(), 2U);
      bool there = false;
      for (std::uint64_t count = in.get_varint(); count > 0; --count) {
        const std::uint64_t first = in.get_varint();
        const std::uint64_t last = in.get_varint();
        (void)in.get_varint();
        there = there || (first == header.first && last == header.last);
      }
      EXPECT_TRUE(there && in.ok()) << header.first << "-" << header.last;
    };
    stream = std::make_unique<LaneStream>(parts);
    return *stream;
  }
  // Until it waits for something: its target, the time, more rows.
  LaneStream::Next pump() {
    LaneStream::Next next;
    for (int i = 0; i < 1000; ++i) {
      const Ticket before = spool->committed();
      next = stream->pump(clock);
      if (target.on_the_way().size() == target.most_open) {
        return next;
      }
      commit();
      if (!next.again && spool->committed() == before) {
        return next;
      }
    }
    ADD_FAILURE() << "it never comes to rest";
    return next;
  }
  void store_all() {
    pump();
    while (target.waiting()) {
      target.answer(Receipt::kStored);
      pump();
    }
  }

  io::FaultFiles disk{1};
  std::unique_ptr<Spool> spool;
  FakeTarget target;
  // The spool's wall clock is the real one.
  LanePlan::Clock clock{io::mono_now(), io::wall_now()};
  LaneStream::Parts parts;
  std::unique_ptr<LaneStream> stream;
};

}  // namespace headwater
