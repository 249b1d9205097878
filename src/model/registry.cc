#include "model/registry.h"

#include <algorithm>
#include <utility>

#include "base/strings.h"

namespace headwater::model {
namespace {

template <class Entries>
auto lower_bound(Entries& entries, std::string_view name) {
  return std::lower_bound(entries.begin(), entries.end(), name,
                          [](const Registry::Entry& entry, std::string_view wanted) {
                            return std::string_view(entry.name).compare(wanted) < 0;
                          });
}

}  // namespace

Result<std::shared_ptr<const Model>> Registry::load(std::string name, ModelOptions options) {
  std::shared_ptr<const Model> model = HW_TRY(Model::load(std::move(options)));
  put(std::move(name), model);
  return model;
}

void Registry::put(std::string name, std::shared_ptr<const Model> model) {
  std::shared_ptr<const Model> old;  // released after the lock: closing a session takes time
  {
    const std::lock_guard lock(mutex_);
    const auto at = lower_bound(entries_, name);
    if (at != entries_.end() && at->name == name) {
      old = std::exchange(at->model, std::move(model));
    } else {
      entries_.insert(at, Entry{std::move(name), std::move(model)});
    }
  }
  generation_.fetch_add(1, std::memory_order_release);
}

bool Registry::remove(std::string_view name) {
  std::shared_ptr<const Model> old;
  {
    const std::lock_guard lock(mutex_);
    const auto at = lower_bound(entries_, name);
    if (at == entries_.end() || at->name != name) {
      return false;
    }
    old = std::move(at->model);
    entries_.erase(at);
  }
  generation_.fetch_add(1, std::memory_order_release);
  return true;
}

Result<std::shared_ptr<const Model>> Registry::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto at = lower_bound(entries_, name);
  if (at != entries_.end() && at->name == name) {
    return at->model;
  }
  std::vector<std::string_view> names;
  for (const Entry& entry : entries_) {
    names.emplace_back(entry.name);
  }
  const std::string_view near = nearest_name(name, names);
  return Error::not_found("no model '{}'{}", name,
                          near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

std::vector<Registry::Entry> Registry::list() const {
  const std::lock_guard lock(mutex_);
  return entries_;
}

}  // namespace headwater::model
