// What stands at the ends of an agent that is measured.
#include <array>
#include <deque>

#include "bench/load.h"

namespace headwater::bench {
namespace {

class SilentSource final : public Source {
 public:
  Status start(io::Loop&) override { return {}; }
  Result<More> take(std::size_t, Batch&) override { return More::kNone; }
  Status acknowledge(Partition, Position) override { return {}; }
  void pause(bool) override {}
  void close() override {}
};

// Has every alert at once.
class CountingSink final : public Sink {
 public:
  Status start(io::Loop&) override { return {}; }
  Status submit(BatchRef batch, Token token) override {
    for (const std::uint32_t row : batch->selection()) {
      outcomes_.push_back({token, row, Verdict::kOk});
    }
    return {};
  }
  std::size_t poll(std::span<Outcome> outcomes) override {
    std::size_t count = 0;
    for (; count < outcomes.size() && !outcomes_.empty(); ++count) {
      outcomes[count] = outcomes_.front();
      outcomes_.pop_front();
    }
    return count;
  }
  std::string state() const override { return "counting"; }
  void close() override {}

 private:
  std::deque<Outcome> outcomes_;
};

// Has every batch in the next round.
class CountingTarget final : public UplinkTarget {
 public:
  Status start(io::Loop& loop) override {
    loop_ = &loop;
    return {};
  }
  void send(const EncodedBatch&, Done done) override {
    loop_->post([done = std::move(done), life = life_, opened = *life_] {
      if (*life == opened) {
        done({.receipt = Receipt::kStored, .text = {}});
      }
    });
  }
  void close() override { ++*life_; }

 private:
  io::Loop* loop_ = nullptr;
  std::shared_ptr<int> life_ = std::make_shared<int>(0);  // goes up with each close()
};

}  // namespace

AgentEnds silent_ends() {
  AgentEnds ends;
  ends.servers = false;
  ends.sources = [](std::string_view, std::span<io::Loop* const> loops) {
    std::vector<std::unique_ptr<Source>> sources;
    for (std::size_t i = 0; i < loops.size(); ++i) {
      sources.push_back(std::make_unique<SilentSource>());
    }
    return sources;
  };
  ends.sink = [](std::string_view) { return std::make_unique<CountingSink>(); };
  ends.uplink = [] { return std::make_unique<CountingTarget>(); };
  return ends;
}

}  // namespace headwater::bench
