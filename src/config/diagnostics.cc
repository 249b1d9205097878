#include "config/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/strings.h"
#include "config/source_line.h"

namespace headwater::config {
namespace {

constexpr std::size_t kWidth = 110;       // bytes of a caret line that are shown
constexpr std::size_t kShortestMask = 4;  // shorter values would mask ordinary words
constexpr std::size_t kMostKept = 1'000;  // a broken file must not fill the memory

constexpr std::string_view kRed = "\x1b[1;31m";
constexpr std::string_view kYellow = "\x1b[1;33m";
constexpr std::string_view kBlue = "\x1b[1;34m";
constexpr std::string_view kOff = "\x1b[0m";

bool begins_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_character));
}

// Column in characters from 1; 0 without a place.
std::size_t shown_column(const Place& place) {
  if (!place.source || place.mark.column == 0) {
    return place.mark.column;
  }
  const std::string_view line = source_line(*place.source, place.mark.line);
  return characters(line.substr(0, place.mark.column - 1)) + 1;
}

std::string masked(std::string text, const Source* source) {
  if (source != nullptr) {
    for (const std::string& secret : source->secrets) {
      if (secret.size() < kShortestMask) {
        continue;
      }
      for (std::size_t at = text.find(secret); at != std::string::npos;
           at = text.find(secret, at + 3)) {
        text.replace(at, secret.size(), "***");
      }
    }
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) {
      c = ' ';
    }
  }
  return text;
}

std::string location(const Place& place) {
  if (!place.source) {
    return {};
  }
  if (place.mark.line == 0) {
    return place.source->name;
  }
  return fmt::format("{}:{}:{}", place.source->name, place.mark.line, shown_column(place));
}

std::string_view severity_name(Severity severity) {
  return severity == Severity::kError ? "error" : "warning";
}

void append_caret_lines(std::string& out, const Diagnostic& diagnostic, bool coloured) {
  const Place& place = diagnostic.place;
  if (!place.source || place.mark.line == 0 || place.mark.column == 0) {
    return;
  }
  const std::string line = printable_line(*place.source, place.mark.line);
  if (place.mark.column > line.size() + 1) {
    return;
  }
  // A window of the line around the caret, cut at characters.
  std::size_t caret = place.mark.column - 1;
  std::size_t begin = 0;
  if (line.size() > kWidth && caret > kWidth / 2) {
    begin = std::min(caret - kWidth / 2, line.size() - kWidth);
    while (begin > 0 && !begins_character(line[begin])) {
      --begin;
    }
  }
  std::size_t end = std::min(line.size(), begin + kWidth);
  while (end < line.size() && !begins_character(line[end])) {
    ++end;
  }
  const std::string_view lead = begin > 0 ? "…" : "";
  const std::string_view trail = end < line.size() ? "…" : "";
  const std::string_view window = std::string_view(line).substr(begin, end - begin);
  caret -= begin;
  const std::size_t length = std::min(place.length, std::max(window.size(), caret + 1) - caret);
  const std::size_t indent = characters(window.substr(0, caret)) + characters(lead);
  const std::size_t width = caret < window.size()
                                ? std::max<std::size_t>(1, characters(window.substr(caret, length)))
                                : 1;
  const std::string number = fmt::format("{:>5}", place.mark.line);
  const std::string_view blue = coloured ? kBlue : "";
  const std::string_view mark = !coloured                                 ? ""
                                : diagnostic.severity == Severity::kError ? kRed
                                                                          : kYellow;
  const std::string_view off = coloured ? kOff : "";
  out += fmt::format("{}{} |{} {}{}{}\n", blue, number, off, lead, window, trail);
  out += fmt::format("{}{:>5} |{} {:{}}{}{:^>{}}{}\n", blue, "", off, "", indent, mark, "", width,
                     off);
}

}  // namespace

void Diagnostics::error(Place at, std::string text, std::string note) {
  ++errors_;
  if (all_.size() < kMostKept) {
    all_.push_back(
        {Severity::kError, std::move(at), std::move(text), std::move(note), Code::kInvalid});
  }
}

void Diagnostics::error(const Node& at, const Error& cause) {
  const std::size_t kept = all_.size();
  error(at.place(), cause.text());
  if (all_.size() > kept) {
    all_.back().code = cause.code();
  }
}

void Diagnostics::warning(Place at, std::string text, std::string note) {
  if (all_.size() < kMostKept) {
    ++warnings_;
    all_.push_back(
        {Severity::kWarning, std::move(at), std::move(text), std::move(note), Code::kInvalid});
  }
}

std::vector<Diagnostic> Diagnostics::sorted() const {
  std::vector<Diagnostic> out = all_;
  for (Diagnostic& diagnostic : out) {
    diagnostic.text = masked(std::move(diagnostic.text), diagnostic.place.source.get());
    diagnostic.note = masked(std::move(diagnostic.note), diagnostic.place.source.get());
  }
  const auto key = [](const Diagnostic& diagnostic) {
    const Place& place = diagnostic.place;
    return std::make_tuple(place.source ? std::string_view(place.source->name) : "",
                           place.mark.line, place.mark.column);
  };
  std::stable_sort(out.begin(), out.end(),
                   [&](const Diagnostic& a, const Diagnostic& b) { return key(a) < key(b); });
  return out;
}

std::string Diagnostics::text(bool coloured) const {
  std::string out;
  for (const Diagnostic& diagnostic : sorted()) {
    const std::string where = location(diagnostic.place);
    if (!where.empty()) {
      out += where;
      out += ": ";
    }
    const bool error = diagnostic.severity == Severity::kError;
    out += !coloured ? "" : error ? kRed : kYellow;
    out += severity_name(diagnostic.severity);
    out += ':';
    out += coloured ? kOff : "";
    out += ' ';
    out += diagnostic.text;
    out += '\n';
    append_caret_lines(out, diagnostic, coloured);
    if (!diagnostic.note.empty()) {
      out += fmt::format("{}      ={} {}\n", coloured ? kBlue : "", coloured ? kOff : "",
                         diagnostic.note);
    }
  }
  return out;
}

std::string Diagnostics::json() const {
  std::string out =
      fmt::format("{{\"errors\":{},\"warnings\":{},\"diagnostics\":[", errors_, warnings_);
  bool first = true;
  for (const Diagnostic& diagnostic : sorted()) {
    const Place& place = diagnostic.place;
    out += first ? "" : ",";
    first = false;
    out += fmt::format("{{\"severity\":\"{}\",\"file\":", severity_name(diagnostic.severity));
    append_json_string(out, place.source ? std::string_view(place.source->name) : "");
    out += fmt::format(",\"line\":{},\"column\":{},\"length\":{},\"path\":", place.mark.line,
                       shown_column(place), place.length);
    append_json_string(out, place.path);
    out += ",\"text\":";
    append_json_string(out, diagnostic.text);
    if (!diagnostic.note.empty()) {
      out += ",\"note\":";
      append_json_string(out, diagnostic.note);
    }
    out += '}';
  }
  out += "]}";
  return out;
}

Status Diagnostics::status() const {
  if (ok()) {
    return {};
  }
  for (const Diagnostic& diagnostic : sorted()) {
    if (diagnostic.severity == Severity::kError) {
      const std::string where = location(diagnostic.place);
      return Error(diagnostic.code,
                   fmt::format("{}{}{}{}", where, where.empty() ? "" : ": ", diagnostic.text,
                               errors_ == 1 ? "" : fmt::format(" (and {} more)", errors_ - 1)));
    }
  }
  return Error::invalid("{} errors", errors_);
}

}  // namespace headwater::config
