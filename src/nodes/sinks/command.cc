#include "nodes/sinks/command.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "base/strings.h"
#include "nodes/expression.h"
#include "nodes/sinks/answers.h"
#include "nodes/sinks/template.h"
#include "protocol/mqtt/listener.h"

namespace headwater {
namespace {

constexpr std::size_t kMostOpen = 1024;

class CommandSink final : public Sink {
 public:
  CommandSink(CommandSinkOptions options, RowTemplate topic,
              std::shared_ptr<const Listeners> listeners)
      : options_(std::move(options)), topic_(std::move(topic)), listeners_(std::move(listeners)) {}

  ~CommandSink() override {
    if (loop_ != nullptr) {
      loop_->cancel(timer_);
    }
  }

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    group_ = listeners_ == nullptr ? nullptr : listeners_->find(options_.listener);
    if (group_.expired()) {
      return Error::invalid("the listener '{}' does not run: no pipeline takes its messages",
                            options_.listener);
    }
    return {};
  }

  Status submit(BatchRef batch, Token token) override {
    const std::shared_ptr<mqtt::ListenerGroup> group = group_.lock();
    if (closed_ || group == nullptr) {
      return Error::unavailable("closed");
    }
    if (open_.size() + batch->selected() > kMostOpen) {
      return Error::unavailable("{} commands wait for their clients", open_.size());
    }
    const MonoTime now = io::mono_now();
    for (const std::uint32_t index : batch->selection()) {
      const Row& row = batch->row(index);
      const MonoTime until = (row.arrived == MonoTime{} ? now : row.arrived) + options_.max_age;
      if ((row.flags & kRowReplayed) != 0 || until <= now) {
        answers_.add(token, index, Verdict::kExpired);
        continue;
      }
      topic_.fill(row, filled_);
      auto command = std::make_shared<mqtt::Command>();
      command->topic = filled_;
      command->payload = row.payload;
      command->content_type = "application/json";
      command->qos = static_cast<std::uint8_t>(options_.qos);
      command->until = until;
      command->on_end = [loop = loop_] {
        loop->post([] {});
      };  // a round, in which poll() is called
      open_.push_back({command, token, index});
      group->send(std::move(command));
    }
    arm();
    return {};
  }

  std::size_t poll(std::span<Outcome> outcomes) override {
    const MonoTime now = io::mono_now();
    std::erase_if(open_, [&](const Open& one) { return settle(one, now); });
    return answers_.poll(outcomes);
  }

  std::string state() const override {
    return closed_ ? "closed" : fmt::format("{} waiting", open_.size());
  }
  void close() override { closed_ = true; }

 private:
  struct Open {
    std::shared_ptr<mqtt::Command> command;
    Token token = 0;
    std::uint32_t row = 0;
  };

  // True: it is answered.
  bool settle(const Open& one, MonoTime now) {
    mqtt::Command& command = *one.command;
    switch (command.state.load()) {
      case mqtt::CommandState::kDelivered:
        answers_.add(one.token, one.row, Verdict::kOk);
        return true;
      case mqtt::CommandState::kRefused:
        answers_.add(one.token, one.row, Verdict::kReject);
        return true;
      case mqtt::CommandState::kWaiting:
      case mqtt::CommandState::kSent:
      case mqtt::CommandState::kExpired:
        break;
    }
    const bool too_late = now >= command.until + CommandSinkOptions::kAnswerTime;
    if ((now < command.until || !command.expire()) && !too_late) {
      return false;
    }
    answers_.add(one.token, one.row, Verdict::kExpired);
    return true;
  }

  // While something is open there is a round now and then, in which it may expire.
  void arm() {
    if (timer_ == 0 && !open_.empty()) {
      timer_ = loop_->after(std::chrono::milliseconds(50), [this] {
        timer_ = 0;
        arm();
      });
    }
  }

  CommandSinkOptions options_;
  RowTemplate topic_;
  std::shared_ptr<const Listeners> listeners_;
  std::weak_ptr<mqtt::ListenerGroup> group_;
  io::Loop* loop_ = nullptr;
  std::deque<Open> open_;
  io::TimerId timer_ = 0;
  std::string filled_;  // reused
  Answers answers_;
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<Sink> make_command_sink(const CommandSinkOptions& options, const config::Node& node,
                                        const SinkContext& context,
                                        config::Diagnostics& diagnostics) {
  bool good = true;
  Result<RowTemplate> topic = RowTemplate::parse(options.topic, context.edge_id);
  if (!topic) {
    diagnostics.error(option_node(node, "topic"), topic.error().text());
    good = false;
  }
  const std::vector<std::string>& names = context.listener_names;
  if (std::find(names.begin(), names.end(), options.listener) == names.end()) {
    const std::vector<std::string_view> known(names.begin(), names.end());
    const std::string_view nearest = nearest_name(options.listener, known);
    diagnostics.error(
        option_node(node, "listener"),
        fmt::format("no source '{}' of the type mqtt_listen{}", options.listener,
                    nearest.empty() ? "" : fmt::format(", did you mean '{}'?", nearest)));
    good = false;
  }
  if (!good) {
    return nullptr;
  }
  return std::make_unique<CommandSink>(options, std::move(*topic), context.listeners);
}

}  // namespace headwater
