#include "config/origins.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace headwater::config {
namespace {

constexpr std::string_view kPrefix = "HEADWATER_";

// "edge.data_dir" → "HEADWATER_EDGE_DATA_DIR"; "steps[0].x" → "HEADWATER_STEPS_0_X".
std::string variable_name(std::string_view path) {
  std::string out(kPrefix);
  for (const char c : path) {
    if (c >= 'a' && c <= 'z') {
      out += static_cast<char>(c - 'a' + 'A');
    } else if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
      out += c;
    } else if (out.back() != '_') {
      out += '_';
    }
  }
  return out;
}

Place nowhere(std::string name) {
  auto source = std::make_shared<Source>();
  source->name = std::move(name);
  return {std::move(source), {}, 1, ""};
}

std::string hint(std::string_view name, const std::vector<std::string_view>& known) {
  const std::string_view near = nearest_name(name, known);
  return near.empty() ? "" : fmt::format(", did you mean '{}'?", near);
}

}  // namespace

std::string_view origin_name(Origin origin) {
  switch (origin) {
    case Origin::kDefault:
      return "default";
    case Origin::kFile:
      return "file";
    case Origin::kEnvironment:
      return "environment";
    case Origin::kFlag:
      return "flag";
    case Origin::kRemote:
      break;
  }
  return "remote";
}

void Origins::set_flag(std::string path, std::string value) {
  given_.push_back({std::move(path), {Origin::kFlag, std::move(value), "--set"}, false, false});
}

void Origins::set_remote(std::string path, std::string value, std::string revision) {
  given_.push_back(
      {std::move(path), {Origin::kRemote, std::move(value), std::move(revision)}, false, false});
}

const Origins::Entry* Origins::find(std::string_view path) const {
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& entry) { return entry.path == path; });
  return at == entries_.end() ? nullptr : &*at;
}

void Origins::record(Entry entry) {
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& known) { return known.path == entry.path; });
  if (at == entries_.end()) {
    entries_.push_back(std::move(entry));
  } else {
    *at = std::move(entry);
  }
}

std::optional<Origins::Override> Origins::override_for(const std::string& path,
                                                       std::string_view declared, bool live,
                                                       Diagnostics& diagnostics) {
  std::optional<Override> best;
  for (Given& given : given_) {
    if (given.path != path) {
      continue;
    }
    given.refused = given.value.origin == Origin::kRemote && !live;
    given.used = true;
    if (!given.refused && (!best || given.value.origin >= best->origin)) {
      best = given.value;
    }
  }
  const std::string own = variable_name(path);
  const std::string* value = environment_.find(own);
  if (value != nullptr) {
    used_variables_.push_back(own);
  }
  std::string_view variable = own;
  if ((value == nullptr || value->empty()) && !declared.empty()) {
    value = environment_.find(declared);
    variable = declared;
    if (value != nullptr && !value->empty()) {
      const auto taken = std::find_if(declared_.begin(), declared_.end(),
                                      [&](const auto& entry) { return entry.first == declared; });
      if (taken == declared_.end()) {
        declared_.emplace_back(declared, path);
      } else if (taken->second != path) {
        diagnostics.error(nowhere(fmt::format("environment variable {}", declared)),
                          fmt::format("two options take it: {} and {}", taken->second, path),
                          fmt::format("unset it, and write the options in the file or as {} and {}",
                                      variable_name(taken->second), own));
      }
    }
  }
  if (!best && value != nullptr && !value->empty()) {
    best = Override{Origin::kEnvironment, *value, std::string(variable)};
  }
  return best;
}

void Origins::report_unused(Diagnostics& diagnostics) const {
  std::vector<std::string_view> paths;
  std::vector<std::string> variables;
  for (const Entry& entry : entries_) {
    paths.push_back(entry.path);
    variables.push_back(variable_name(entry.path));
  }
  for (const Given& given : given_) {
    const Place at = nowhere(given.value.origin == Origin::kFlag
                                 ? given.value.detail
                                 : fmt::format("remote config {}", given.value.detail));
    if (given.refused) {
      diagnostics.error(
          at,
          fmt::format("'{}' needs a restart; only live options can be set remotely", given.path));
    } else if (!given.used) {
      diagnostics.error(at, fmt::format("no option '{}'{}", given.path, hint(given.path, paths)));
    }
  }
  const std::vector<std::string_view> names(variables.begin(), variables.end());
  for (const Environment::Variable& variable : environment_.variables()) {
    const bool ours = variable.first.starts_with(kPrefix);
    const bool used = std::find(used_variables_.begin(), used_variables_.end(), variable.first) !=
                      used_variables_.end();
    if (ours && !used) {
      diagnostics.warning(nowhere(fmt::format("environment variable {}", variable.first)),
                          fmt::format("no option takes it{}", hint(variable.first, names)));
    }
  }
}

}  // namespace headwater::config
