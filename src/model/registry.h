// Registry: the models that this process has loaded, by the name the config gives them.
//
// Thread-safe. Replacing a model does not disturb those who run the old one: they hold it until
// they ask again (generation() is a cheap way to see that there is something new).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/model.h"

namespace headwater::model {

class Registry {
 public:
  struct Entry {
    std::string name;
    std::shared_ptr<const Model> model;  // a worker takes model->another()
  };

  // Loads and puts under `name`, replacing what was there. On failure the old one stays.
  Result<std::shared_ptr<const Model>> load(std::string name, ModelOptions options);
  void put(std::string name, std::shared_ptr<const Model> model);
  bool remove(std::string_view name);

  // kNotFound with the nearest name.
  Result<std::shared_ptr<const Model>> find(std::string_view name) const;
  // Sorted by name.
  std::vector<Entry> list() const;

  // Grows with every change.
  std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 private:
  std::atomic<std::uint64_t> generation_{0};
  mutable std::mutex mutex_;    // guards entries_
  std::vector<Entry> entries_;  // sorted by name
};

}  // namespace headwater::model
