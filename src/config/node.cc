#include "config/node.h"

#include <algorithm>

#include "config/source_line.h"

namespace headwater::config {
namespace {

// Bytes from `begin` to the end of the quoted scalar there, quotes included; 0 when it ends on
// another line.
std::size_t quoted_length(std::string_view line, std::size_t begin) {
  const char quote = line[begin];
  for (std::size_t at = begin + 1; at < line.size(); ++at) {
    if (quote == '"' && line[at] == '\\') {
      ++at;
    } else if (line[at] == quote) {
      if (quote == '\'' && at + 1 < line.size() && line[at + 1] == '\'') {
        ++at;
      } else {
        return at + 1 - begin;
      }
    }
  }
  return 0;
}

// How much of the line at `mark` the word `text` covers: 1 when it is not there as it is.
std::size_t length_at(const Source* source, Mark mark, std::string_view text) {
  const std::string_view line = source == nullptr ? "" : source_line(*source, mark.line);
  if (mark.column == 0 || mark.column > line.size()) {
    return 1;
  }
  const std::size_t begin = mark.column - 1;
  if (line[begin] == '"' || line[begin] == '\'') {
    return std::max<std::size_t>(1, quoted_length(line, begin));
  }
  return line.substr(begin).starts_with(text) ? std::max<std::size_t>(1, text.size()) : 1;
}

}  // namespace

Node::Node() = default;
Node::Node(const Node&) = default;
Node::Node(Node&&) noexcept = default;
Node& Node::operator=(const Node&) = default;
Node& Node::operator=(Node&&) noexcept = default;
Node::~Node() = default;

Node Node::scalar(std::string text) {
  Node node;
  node.kind_ = Kind::kScalar;
  node.text_ = std::move(text);
  return node;
}

Node Node::sequence(std::vector<Node> items) {
  Node node;
  node.kind_ = Kind::kSequence;
  node.items_ = std::move(items);
  return node;
}

Node Node::mapping(std::vector<Entry> entries) {
  Node node;
  node.kind_ = Kind::kMapping;
  node.entries_ = std::move(entries);
  return node;
}

std::string_view Node::kind_name() const {
  switch (kind_) {
    case Kind::kNull:
      return "nothing";
    case Kind::kScalar:
      return "text";
    case Kind::kSequence:
      return "a list";
    case Kind::kMapping:
      break;
  }
  return "a mapping";
}

const Node* Node::find(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name) {
      return &entry.value;
    }
  }
  return nullptr;
}

const Node::Entry* Node::only_entry() const {
  return entries_.size() == 1 ? entries_.data() : nullptr;
}

Node Node::without(std::string_view name) const {
  Node copy = *this;
  std::erase_if(copy.entries_, [&](const Entry& entry) { return entry.name == name; });
  return copy;
}

std::string Node::path() const {
  std::vector<const std::string*> steps;
  for (const Trail* at = trail_.get(); at != nullptr; at = at->parent.get()) {
    steps.push_back(&at->step);
  }
  std::string out;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if (!out.empty() && !(*step)->starts_with('[')) {
      out += '.';
    }
    out += **step;
  }
  return out;
}

Place Node::place() const {
  return {source_, mark_, is_scalar() ? length_at(source_.get(), mark_, shown()) : 1, path()};
}

Place Node::key_place() const {
  if (key_mark_.line == 0) {
    return place();
  }
  const std::string_view step = trail_ ? std::string_view(trail_->step) : std::string_view();
  return {source_, key_mark_, length_at(source_.get(), key_mark_, step), path()};
}

Place Node::place_inside(std::size_t offset, std::size_t length) const {
  Place whole = place();
  const std::string_view line = source_ ? source_line(*source_, mark_.line) : "";
  if (is_substituted() || mark_.column == 0 || mark_.column > line.size()) {
    return whole;
  }
  std::size_t begin = mark_.column - 1;
  if (quoted_) {
    ++begin;
  }
  if (begin > line.size() || !line.substr(begin).starts_with(text_) || offset > text_.size()) {
    return whole;
  }
  whole.mark.column = static_cast<std::uint32_t>(begin + offset + 1);
  whole.length = std::max<std::size_t>(1, std::min(length, text_.size() - offset));
  return whole;
}

void Node::set_place(std::shared_ptr<const Source> source, Mark mark, Mark key_mark) {
  source_ = std::move(source);
  mark_ = mark;
  key_mark_ = key_mark;
}

bool operator==(const Node& a, const Node& b) {
  const auto same = [](const Node::Entry& x, const Node::Entry& y) {
    return x.name == y.name && x.value == y.value;
  };
  return a.kind() == b.kind() && a.text() == b.text() && a.items() == b.items() &&
         std::equal(a.entries().begin(), a.entries().end(), b.entries().begin(), b.entries().end(),
                    same);
}

}  // namespace headwater::config
