#include "protocol/mqtt/listener.h"

#include <utility>

#include "base/bytes.h"
#include "protocol/mqtt/connection_table.h"
#include "protocol/mqtt/door.h"

namespace headwater::mqtt {
namespace {

Status check(const ListenerOptions& options) {
  if (options.topics.empty()) {
    return Error::invalid("no topics: name at least one topic filter, '#' for all");
  }
  if (options.receive_maximum == 0) {
    return Error::invalid("receive_maximum must be 1 or more");
  }
  if (options.max_packet_bytes < 128 || options.max_packet_bytes > kMaxRemainingLength) {
    return Error::invalid("max_packet_bytes {} is outside 128 to {}", options.max_packet_bytes,
                          kMaxRemainingLength);
  }
  if (options.messages_per_second < 0 || options.bytes_per_second < 0) {
    return Error::invalid("a quota cannot be negative; 0 is none");
  }
  if (options.client_id_is_username && options.password_file.empty() &&
      options.tls.client_ca.empty()) {
    return Error::invalid(
        "client_id_is_username needs a password file or a client CA to know who is who");
  }
  return {};
}

}  // namespace

Listener::Listener() = default;
Listener::~Listener() = default;

bool Listener::take(std::size_t room, Arena& arena, std::vector<Publish>& out) {
  return table_->take(room, arena, out);
}
void Listener::acknowledge(std::uint32_t client, std::uint64_t upto) {
  table_->acknowledge(client, upto);
}
void Listener::decline(std::uint32_t client, std::uint64_t from, std::uint64_t upto) {
  table_->decline(client, from, upto);
}
void Listener::flush() {
  table_->flush();
}
void Listener::pause(bool paused) {
  table_->pause(paused);
}
void Listener::drain() {
  table_->drain();
}
void Listener::close() {
  table_->close_all();
}
void Listener::take_session_changes(std::vector<SessionChange>& out) {
  table_->take_changes(out);
}

ListenerStats Listener::stats() const {
  ListenerStats stats = table_->stats();
  if (door_ != nullptr) {
    const DoorCounts& door = door_->counts();
    stats.refused_credentials += door.refused_credentials.load(std::memory_order_relaxed);
    stats.refused_full += door.refused_full.load(std::memory_order_relaxed);
    stats.refused_other += door.refused_other.load(std::memory_order_relaxed);
    stats.accept_errors += door.accept_errors.load(std::memory_order_relaxed);
  }
  return stats;
}

struct ListenerGroup::Parts {
  std::vector<io::Loop*> loops;
  std::vector<std::unique_ptr<Listener>> workers;
  std::unique_ptr<Door> door;
  // Calls that are posted when the group ends find this gone.
  std::shared_ptr<Parts*> alive;

  std::size_t worker_of(std::string_view client_id) const {
    return hash64(client_id) % workers.size();
  }
  void admit(Admission admission);
  void send(std::size_t index, std::shared_ptr<Command> command);

  std::optional<TopicPattern> commands;
};

void ListenerGroup::Parts::admit(Admission admission) {
  const std::size_t index = worker_of(admission.client_id);
  if (loops[index] == loops[0]) {
    return workers[index]->table_->admit(std::move(admission));
  }
  auto going = std::make_shared<Admission>(std::move(admission));
  loops[index]->post([alive = std::weak_ptr<Parts*>(alive), index, going] {
    if (const auto parts = alive.lock()) {
      (*parts)->workers[index]->table_->admit(std::move(*going));
    }
  });
}

void ListenerGroup::Parts::send(std::size_t index, std::shared_ptr<Command> command) {
  loops[index]->post(
      [alive = std::weak_ptr<Parts*>(alive), index, command = std::move(command)]() mutable {
        if (const auto parts = alive.lock()) {
          (*parts)->workers[index]->table_->send(std::move(command));
        }
      });
}

void ListenerGroup::send(std::shared_ptr<Command> command) {
  if (!parts_->commands || !valid_topic_name(command->topic)) {
    return command->end(CommandState::kRefused);
  }
  if (const auto client = parts_->commands->client_of(command->topic)) {
    return parts_->send(parts_->worker_of(*client), std::move(command));
  }
  for (std::size_t index = 0; index < parts_->workers.size(); ++index) {
    parts_->send(index, command);
  }
}

ListenerGroup::ListenerGroup() : parts_(std::make_unique<Parts>()) {}
ListenerGroup::~ListenerGroup() = default;

Result<std::unique_ptr<ListenerGroup>> ListenerGroup::open(const ListenerOptions& options,
                                                           std::span<io::Loop* const> loops) {
  HW_CHECK(!loops.empty(), "a listener needs a loop to live on");
  HW_TRY(check(options));
  const WriteRules rules = HW_TRY(WriteRules::create(options.topics, options.write_own));
  std::optional<TopicPattern> commands;
  if (!options.commands.empty()) {
    commands = HW_TRY(TopicPattern::parse(options.commands));
  }
  std::unique_ptr<ListenerGroup> group(new ListenerGroup());
  Parts& parts = *group->parts_;
  parts.alive = std::make_shared<Parts*>(&parts);
  parts.loops.assign(loops.begin(), loops.end());
  parts.commands = commands;
  for (io::Loop* loop : loops) {
    std::unique_ptr<Listener> worker(new Listener());
    worker->table_ = std::make_unique<ConnectionTable>(options, rules, commands, *loop);
    parts.workers.push_back(std::move(worker));
  }
  parts.door = HW_TRY(Door::open(options, *loops[0], [&parts](Admission admission) {
                        parts.admit(std::move(admission));
                      }).with("MQTT listener on '{}'", options.address));
  parts.workers[0]->door_ = parts.door.get();
  return group;
}

Status ListenerGroup::restore_session(std::string_view key, std::string_view blob) {
  return parts_->workers[parts_->worker_of(key)]->table_->restore(key, blob);
}

void ListenerGroup::start() {
  parts_->loops[0]->post([alive = std::weak_ptr<Parts*>(parts_->alive)] {
    if (const auto parts = alive.lock()) {
      (*parts)->door->start();
    }
  });
}

void ListenerGroup::stop_accepting() {
  parts_->loops[0]->post([alive = std::weak_ptr<Parts*>(parts_->alive)] {
    if (const auto parts = alive.lock()) {
      (*parts)->door->stop();
    }
  });
}

std::uint16_t ListenerGroup::port() const {
  return parts_->door->port();
}
std::size_t ListenerGroup::workers() const {
  return parts_->workers.size();
}
Listener& ListenerGroup::worker(std::size_t index) {
  return *parts_->workers[index];
}

}  // namespace headwater::mqtt
