#include "config/source_line.h"

#include <algorithm>
#include <array>

namespace headwater::config {
namespace {

constexpr std::array<std::string_view, 8> kSecretWords = {
    "password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "access_key"};

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

void cover(std::string& line, std::size_t begin, std::size_t end) {
  for (std::size_t at = begin; at < std::min(end, line.size()); ++at) {
    line[at] = '*';
  }
}

// The end of the value that begins at `begin`: the closing quote, or `,` `}` in flow style.
std::size_t value_end(std::string_view line, std::size_t begin) {
  if (begin < line.size() && (line[begin] == '"' || line[begin] == '\'')) {
    const std::size_t close = line.find(line[begin], begin + 1);
    return close == std::string_view::npos ? line.size() : close + 1;
  }
  const std::size_t end = line.find_first_of(",}", begin);
  return end == std::string_view::npos ? line.size() : end;
}

// Values after keys that sound like secrets, for texts that were never parsed with a schema.
// References (${…}, file names of secrets under other words) stay readable.
void cover_by_key(std::string& line) {
  std::string folded(line);
  std::transform(folded.begin(), folded.end(), folded.begin(), lower);
  for (const std::string_view word : kSecretWords) {
    for (std::size_t at = folded.find(word); at != std::string::npos;
         at = folded.find(word, at + 1)) {
      std::size_t begin = at + word.size();
      if (begin < line.size() && (line[begin] == '"' || line[begin] == '\'')) {
        ++begin;
      }
      if (begin >= line.size() || line[begin] != ':') {
        continue;
      }
      begin = line.find_first_not_of(' ', begin + 1);
      if (begin == std::string::npos) {
        continue;
      }
      const std::size_t text = line[begin] == '"' || line[begin] == '\'' ? begin + 1 : begin;
      if (std::string_view(line).substr(text).starts_with("${")) {
        continue;
      }
      if (line[begin] != '{' && line[begin] != '[') {
        cover(line, begin, value_end(line, begin));
      }
    }
  }
}

}  // namespace

std::string_view source_line(const Source& source, std::uint32_t number) {
  std::string_view rest = source.text;
  for (std::uint32_t line = 1; line < number; ++line) {
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) {
      return {};
    }
    rest.remove_prefix(end + 1);
  }
  rest = rest.substr(0, rest.find('\n'));
  if (!rest.empty() && rest.back() == '\r') {
    rest.remove_suffix(1);
  }
  return number == 0 ? std::string_view{} : rest;
}

std::string printable_line(const Source& source, std::uint32_t number) {
  std::string line(source_line(source, number));
  for (const Source::Hidden& hidden : source.hidden) {
    if (hidden.mark.line == number && hidden.mark.column != 0) {
      const std::size_t begin = hidden.mark.column - 1;
      cover(line, begin, begin + std::min(hidden.length, line.size()));
    }
  }
  cover_by_key(line);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) {
      c = ' ';
    }
  }
  return line;
}

}  // namespace headwater::config
