// Where checkpoints are: keys in the spool with a prefix per part, or memory.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pipeline/source.h"
#include "store/spool.h"

namespace headwater {

class TransactionState final : public StateWriter {
 public:
  TransactionState(Transaction& transaction, std::string prefix)
      : transaction_(transaction), prefix_(std::move(prefix)) {}

  void put(std::string_view key, std::string_view blob) override {
    transaction_.state(prefix_ + std::string(key), blob);
  }

 private:
  Transaction& transaction_;
  std::string prefix_;
};

class SpoolState final : public StateReader {
 public:
  SpoolState(const Spool& spool, std::string prefix) : spool_(spool), prefix_(std::move(prefix)) {}

  std::string get(std::string_view key) const override {
    return spool_.state(prefix_ + std::string(key));
  }
  std::vector<std::pair<std::string, std::string>> all() const override {
    std::vector<std::pair<std::string, std::string>> found;
    spool_.for_each_state(prefix_, [&](std::string_view key, std::string_view blob) {
      found.emplace_back(key.substr(prefix_.size()), blob);
    });
    return found;
  }

 private:
  const Spool& spool_;
  std::string prefix_;
};

// Checkpoints in memory.
class MapState final : public StateWriter, public StateReader {
 public:
  void put(std::string_view key, std::string_view blob) override { map_[std::string(key)] = blob; }
  std::string get(std::string_view key) const override {
    const auto found = map_.find(key);
    return found == map_.end() ? std::string() : found->second;
  }
  std::vector<std::pair<std::string, std::string>> all() const override {
    return {map_.begin(), map_.end()};
  }

 private:
  std::map<std::string, std::string, std::less<>> map_;
};

}  // namespace headwater
