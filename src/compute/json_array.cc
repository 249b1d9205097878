#include "compute/json_array.h"

namespace headwater {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size() && is_space(text[at])) {
    ++at;
  }
  return at;
}

// Behind the string that opens at `at`; the size of `text` where it does not end.
std::size_t skip_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '"') {
      return at + 1;
    }
    at += text[at] == '\\' ? 1 : 0;
  }
  return text.size();
}

// The comma or bracket that ends the element at `at`; the size of `text` where nothing does.
std::size_t element_end(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  while (at < text.size()) {
    switch (text[at]) {
      case '"':
        at = skip_string(text, at);
        continue;
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        if (depth == 0) {
          return at;
        }
        --depth;
        break;
      case ',':
        if (depth == 0) {
          return at;
        }
        break;
      default:
        break;
    }
    ++at;
  }
  return at;
}

Status split(std::string_view text, std::size_t max, std::vector<std::string_view>& elements) {
  std::size_t at = skip_space(text, 0);
  if (at == text.size() || text[at] != '[') {
    return Error::invalid("expected a JSON array at byte {}", at);
  }
  at = skip_space(text, at + 1);
  bool more = at < text.size() && text[at] != ']';
  while (more) {
    const std::size_t end = element_end(text, at);
    if (end == text.size()) {
      break;
    }
    if (text[end] == '}') {
      return Error::invalid("expected ',' or ']' at byte {}", end);
    }
    std::size_t stop = end;
    while (stop > at && is_space(text[stop - 1])) {
      --stop;
    }
    if (stop == at) {
      return Error::invalid("expected a value at byte {}", at);
    }
    if (elements.size() == max) {
      return Error::exhausted("more than {} elements in one message (max_elements)", max);
    }
    elements.push_back(text.substr(at, stop - at));
    more = text[end] == ',';
    at = more ? skip_space(text, end + 1) : end;
  }
  if (at == text.size() || more) {
    return Error::invalid("the array does not end");
  }
  if (const std::size_t behind = skip_space(text, at + 1); behind != text.size()) {
    return Error::invalid("bytes after the JSON array at byte {}", behind);
  }
  return {};
}

}  // namespace

bool is_json_array(std::string_view text) {
  const std::size_t at = skip_space(text, 0);
  return at < text.size() && text[at] == '[';
}

Status split_json_array(std::string_view text, std::size_t max,
                        std::vector<std::string_view>& elements) {
  elements.clear();
  Status done = split(text, max, elements);
  if (!done) {
    elements.clear();
  }
  return done;
}

Status split_json_document(std::string_view text, std::size_t max,
                           std::vector<std::string_view>& elements) {
  if (is_json_array(text)) {
    return split_json_array(text, max, elements);
  }
  elements.clear();
  const std::size_t begin = skip_space(text, 0);
  if (begin == text.size() || text[begin] != '{') {
    return Error::invalid("expected a JSON object or array at byte {}", begin);
  }
  std::size_t end = element_end(text, begin + 1);
  while (end < text.size() && text[end] == ',') {
    end = element_end(text, end + 1);
  }
  if (end == text.size()) {
    return Error::invalid("the object does not end");
  }
  if (text[end] == ']') {
    return Error::invalid("expected ',' or '}}' at byte {}", end);
  }
  if (const std::size_t behind = skip_space(text, end + 1); behind != text.size()) {
    return Error::invalid("bytes after the JSON object at byte {}", behind);
  }
  elements.push_back(text.substr(begin, end + 1 - begin));
  return {};
}

}  // namespace headwater
