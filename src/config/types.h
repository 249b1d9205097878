// Value types of options: the unit or the care a value needs is in its type.
//
//   struct UplinkOptions {
//     Duration every = std::chrono::seconds(60);     // "60s"
//     ByteSize max_batch{1 << 20};                   // "1MiB"
//     Endpoint address{"127.0.0.1", 8080};           // "127.0.0.1:8080"
//     Path ca_file;                                  // a file or folder
//     Secret token;                                  // never in a log, a dump or an error
//     Map<std::string> headers;                      // in the order of the file
//   };
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace headwater::config {

// "250ms", "30s", "1h30m".
using Duration = Nanos;

// "64MiB", "512KiB", "1GB", "4096B".
struct ByteSize {
  std::uint64_t bytes = 0;
  friend auto operator<=>(const ByteSize&, const ByteSize&) = default;
};

// The name of a file or folder, as written; relative names are relative to the working folder.
struct Path {
  std::string text;
  bool empty() const { return text.empty(); }
  friend auto operator<=>(const Path&, const Path&) = default;
};

// A password, key or token. Nothing prints it: dumps, errors, docs and diffs show "***".
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  // The plain value, for the one call that needs it.
  const std::string& reveal() const { return value_; }
  bool empty() const { return value_.empty(); }
  friend bool operator==(const Secret&, const Secret&) = default;

 private:
  std::string value_;
};

// "127.0.0.1:1884", "edge.local:8080", "[::1]:1884"; an empty host (":1884") is every interface.
struct Endpoint {
  std::string host;
  std::uint16_t port = 0;

  bool empty() const { return host.empty() && port == 0; }
  std::string text() const;
  static Result<Endpoint> parse(std::string_view text);
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// Names to values in the order of the file. Lookup is linear: options have tens of entries.
template <class T>
class Map {
 public:
  using Entry = std::pair<std::string, T>;

  T* find(std::string_view name) {
    const auto at = std::find_if(entries_.begin(), entries_.end(),
                                 [&](const Entry& entry) { return entry.first == name; });
    return at == entries_.end() ? nullptr : &at->second;
  }
  const T* find(std::string_view name) const { return const_cast<Map*>(this)->find(name); }
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  // The value of `name`, added at the end when it is new.
  T& operator[](std::string_view name) {
    T* found = find(name);
    return found != nullptr ? *found : entries_.emplace_back(std::string(name), T{}).second;
  }
  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  void clear() { entries_.clear(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }

 private:
  std::vector<Entry> entries_;
};

}  // namespace headwater::config
