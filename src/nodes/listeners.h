// Listeners: the MQTT listeners of this edge by the names of their sources, for sinks that speak to
// the listeners' clients.
//
// Filled while sources are made, read by sinks from their start on: one thread at a time.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace headwater {

namespace mqtt {
class ListenerGroup;
}

class Listeners {
 public:
  void add(std::string name, std::weak_ptr<mqtt::ListenerGroup> group) {
    groups_[std::move(name)] = std::move(group);
  }
  // Null if there is none of that name, or no more.
  std::shared_ptr<mqtt::ListenerGroup> find(std::string_view name) const {
    const auto found = groups_.find(name);
    return found == groups_.end() ? nullptr : found->second.lock();
  }

 private:
  std::map<std::string, std::weak_ptr<mqtt::ListenerGroup>, std::less<>> groups_;
};

}  // namespace headwater
