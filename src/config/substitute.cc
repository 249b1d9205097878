#include "config/substitute.h"

#include "config/small_file.h"

namespace headwater::config {
namespace {

constexpr std::string_view kFile = "file:";

bool in_name(char c, bool first) {
  return (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

// Length of the variable name at the start of `text`; 0 when there is none.
std::size_t name_length(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && in_name(text[length], length == 0)) {
    ++length;
  }
  return length;
}

// Whether what follows `${` is ours; all else is a template of the node.
bool is_ours(std::string_view inside) {
  if (inside.starts_with(kFile)) {
    return true;
  }
  const std::size_t length = name_length(inside);
  return length > 0 && (inside.substr(length).starts_with('}') ||
                        inside.substr(length).starts_with(":-") || length == inside.size());
}

Result<std::string> value_of(std::string_view inside, const Environment& environment,
                             std::size_t file_limit) {
  if (inside.starts_with(kFile)) {
    const std::string path(inside.substr(kFile.size()));
    auto content = HW_TRY(read_small_file(path, file_limit).with("${{file:{}}}", path));
    if (content.ends_with('\n')) {
      content.pop_back();
      if (content.ends_with('\r')) {
        content.pop_back();
      }
    }
    return content;
  }
  const std::size_t length = name_length(inside);
  const std::string_view name = inside.substr(0, length);
  const std::string* value = environment.find(name);
  const std::string_view rest = inside.substr(length);
  if (rest.starts_with(":-")) {
    return value == nullptr || value->empty() ? std::string(rest.substr(2)) : *value;
  }
  if (value == nullptr) {
    return Error::invalid(
        "the environment variable {} is not set; set it or write ${{{}:-default}}", name, name);
  }
  return *value;
}

}  // namespace

Result<Substituted> substitute(std::string_view text, const Environment& environment,
                               std::size_t file_limit) {
  Substituted out;
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("$${")) {
      out.text += "${";
      at += 3;
      continue;
    }
    if (!rest.starts_with("${") || !is_ours(rest.substr(2))) {
      out.text += text[at++];
      continue;
    }
    const std::size_t close = rest.find('}');
    if (close == std::string_view::npos) {
      return Error::invalid("the '}}' of '{}' is missing", rest.substr(0, 40));
    }
    std::string value = HW_TRY(value_of(rest.substr(2, close - 2), environment, file_limit));
    out.text += value;
    out.changed = true;
    out.secrets.push_back(std::move(value));
    at += close + 1;
  }
  return out;
}

std::string escape_substitutions(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const std::string_view rest = text.substr(at);
    if (rest.starts_with("$${") ||
        (rest.starts_with("${") && is_ours(rest.substr(2)) && (at == 0 || text[at - 1] != '$'))) {
      out += '$';
    }
    out += text[at];
  }
  return out;
}

}  // namespace headwater::config
