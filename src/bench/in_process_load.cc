#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "base/bytes.h"
#include "bench/load.h"
#include "bench/schedule.h"
#include "pipeline/counts.h"

namespace headwater::bench {
namespace {

constexpr std::uint64_t kLatencyPoints = 64;  // of the rows of one acknowledgement

// What all parts of a load share.
struct Shared {
  telemetry::Histogram acknowledged;
};

// The messages of one worker's devices. On its thread.
class GeneratorSource final : public Source {
 public:
  struct Numbers {  // any thread
    Count sent;
    Count acknowledged;
    Count waiting;
  };

  GeneratorSource(std::vector<const Message*> messages, std::shared_ptr<Shared> shared,
                  std::uint64_t number_step, std::uint64_t number_offset)
      : messages_(std::move(messages)),
        shared_(std::move(shared)),
        number_step_(number_step),
        number_offset_(number_offset) {}
  ~GeneratorSource() override { close(); }

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    timer_ = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer_ < 0) {
      return Error::from_errno(errno, "make a timer");
    }
    return loop.watch(timer_, EPOLLIN, [this](std::uint32_t) {
      std::uint64_t times = 0;
      (void)!read(timer_, &times, sizeof times);
      armed_ = false;
    });
  }

  Result<More> take(std::size_t room, Batch& batch) override {
    const MonoTime now = io::mono_now();
    std::uint64_t due = messages_.empty() || paused_ ? 0 : schedule_.waiting(now);
    const std::uint64_t count = std::min<std::uint64_t>(due, room);
    if (count != 0) {
      const WallTime wall = io::wall_now();
      for (std::uint64_t i = 0; i < count; ++i) {
        add(batch, schedule_.taken() + i + 1, now, wall);
      }
      schedule_.take(count);
      numbers_->sent.add(count);
      due -= count;
    }
    numbers_->waiting.set(messages_.empty() ? 0 : schedule_.waiting(now));
    if (room != 0 && due != 0) {
      return More::kYes;
    }
    arm(room, now);
    return More::kNone;
  }

  Status acknowledge(Partition, Position upto) override {
    const MonoTime now = io::mono_now();
    const std::uint64_t from = numbers_->acknowledged.get();
    const std::uint64_t count = upto - from;
    // Times between two rows of one acknowledgement lie between theirs: a few stand for all.
    const std::uint64_t points = std::min(count, kLatencyPoints);
    for (std::uint64_t i = 0; i < points; ++i) {
      const std::uint64_t begin = count * i / points;
      const std::uint64_t end = count * (i + 1) / points;
      const Nanos took = now - schedule_.due(from + begin + (end - begin) / 2 + 1);
      shared_->acknowledged.record(static_cast<double>(took.count()) * 1e-9, end - begin);
    }
    numbers_->acknowledged.add(count);
    return {};
  }

  void pause(bool paused) override { paused_ = paused; }
  void close() override {
    if (timer_ >= 0) {
      loop_->unwatch(timer_);
      ::close(timer_);
      timer_ = -1;
    }
  }

  // The share of the whole load that its devices have.
  void pace(double rate) {
    schedule_.pace(messages_.empty() ? 0 : rate, io::mono_now());
    numbers_->waiting.set(0);
    armed_ = false;
  }
  std::shared_ptr<const Numbers> numbers() const { return numbers_; }
  std::size_t messages() const { return messages_.size(); }

 private:
  void add(Batch& batch, std::uint64_t number, MonoTime now, WallTime wall) {
    const Message& message = *messages_[next_];
    next_ = next_ + 1 == messages_.size() ? 0 : next_ + 1;
    Row row;
    char* const payload = batch.arena().allocate(message.payload.size());
    std::copy(message.payload.begin(), message.payload.end(), payload);
    const MonoTime due = schedule_.due(number);
    const WallTime due_wall{wall.ns - (now - due).count()};
    stamper_.fill(message, payload, due_wall, number * number_step_ + number_offset_);
    row.payload = {payload, message.payload.size()};
    row.topic = message.topic;  // lives longer than any batch
    row.sender = message.device;
    row.received = due_wall;
    row.time = due_wall;
    row.arrived = due;
    row.partition = 1;
    row.position = number;
    batch.add_row(row);
  }

  void arm(std::size_t room, MonoTime now) {
    if (armed_ || room == 0 || paused_ || timer_ < 0 || messages_.empty() || !schedule_.active()) {
      return;
    }
    const Nanos at{std::max(schedule_.next(), now).ns};
    itimerspec spec{};
    spec.it_value.tv_sec = at.count() / 1'000'000'000;
    spec.it_value.tv_nsec = at.count() % 1'000'000'000;
    timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
    armed_ = true;
  }

  std::vector<const Message*> messages_;
  std::shared_ptr<Shared> shared_;
  std::uint64_t number_step_;
  std::uint64_t number_offset_;
  std::shared_ptr<Numbers> numbers_ = std::make_shared<Numbers>();
  io::Loop* loop_ = nullptr;
  Schedule schedule_;
  Stamper stamper_;
  std::size_t next_ = 0;
  int timer_ = -1;
  bool armed_ = false;
  bool paused_ = false;
};

class InProcessLoad final : public Load {
 public:
  InProcessLoad(const std::vector<Message>& messages, std::string source)
      : messages_(messages), source_(std::move(source)) {}

  AgentEnds ends() override {
    AgentEnds ends = silent_ends();
    ends.sources = [this, silent = ends.sources](
                       std::string_view name,
                       std::span<io::Loop* const> loops) -> std::vector<std::unique_ptr<Source>> {
      return name == source_ ? sources(loops) : silent(name, loops);
    };
    return ends;
  }
  Status start(const Agent&) override {
    running_ = true;
    return {};
  }

  void pace(double rate) override {
    for (const Part& part : parts_) {
      const double share =
          static_cast<double>(part.messages) / static_cast<double>(messages_.size());
      part.loop->post([source = part.source, rate = rate * share] { source->pace(rate); });
    }
  }
  LoadCounts counts() const override {
    LoadCounts counts;
    for (const Part& part : parts_) {
      counts.acknowledged += part.numbers->acknowledged.get();
      counts.sent += part.numbers->sent.get();
      counts.waiting += part.numbers->waiting.get();
    }
    return counts;
  }
  const telemetry::Histogram& acknowledged() const override { return shared_->acknowledged; }
  std::string trouble() const override { return {}; }
  void stop() override {
    if (std::exchange(running_, false)) {  // the loops of an agent that did not start are no more
      pace(0);
    }
  }

 private:
  struct Part {
    io::Loop* loop = nullptr;
    GeneratorSource* source = nullptr;  // on the loop's thread
    std::shared_ptr<const GeneratorSource::Numbers> numbers;
    std::size_t messages = 0;
  };

  // Devices are dealt out to workers, so that each keeps its order.
  std::vector<std::unique_ptr<Source>> sources(std::span<io::Loop* const> loops) {
    std::vector<std::vector<const Message*>> dealt(loops.size());
    for (const Message& message : messages_) {
      dealt[hash64(message.device) % loops.size()].push_back(&message);
    }
    std::vector<std::unique_ptr<Source>> made;
    for (std::size_t i = 0; i < loops.size(); ++i) {
      const std::size_t messages = dealt[i].size();
      auto source =
          std::make_unique<GeneratorSource>(std::move(dealt[i]), shared_, loops.size(), i);
      parts_.push_back({loops[i], source.get(), source->numbers(), messages});
      made.push_back(std::move(source));
    }
    return made;
  }

  const std::vector<Message>& messages_;
  std::string source_;
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::vector<Part> parts_;
  bool running_ = false;
};

}  // namespace

std::unique_ptr<Load> make_in_process_load(const std::vector<Message>& messages,
                                           std::string source) {
  return std::make_unique<InProcessLoad>(messages, std::move(source));
}

}  // namespace headwater::bench
