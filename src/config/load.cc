#include "config/load.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "base/strings.h"
#include "config/small_file.h"
#include "config/source_line.h"
#include "config/substitute.h"

namespace headwater::config {
namespace {

// Ends the parse from inside yaml-cpp's callbacks; caught in load_text below.
struct Refused {
  Mark mark;
  std::string text;
};

Mark mark_of(const YAML::Mark& mark) {
  if (mark.is_null()) {
    return {};
  }
  return {static_cast<std::uint32_t>(mark.line + 1), static_cast<std::uint32_t>(mark.column + 1)};
}

bool is_text(std::string_view text) {
  return text.find('\0') == std::string_view::npos && is_utf8(text);
}

// As is_text(), and fit for a line of a file or a key.
bool is_printable(std::string_view text) {
  return is_text(text) && std::none_of(text.begin(), text.end(), [](char c) {
           return (static_cast<unsigned char>(c) < ' ' && c != '\t' && c != '\r') || c == 0x7f;
         });
}

class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(std::shared_ptr<Source> source, Diagnostics& diagnostics,
              const Environment& environment, const Limits& limits)
      : source_(std::move(source)),
        diagnostics_(diagnostics),
        environment_(environment),
        limits_(limits) {}

  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) {
      throw Refused{mark_of(mark), "a second document begins here; a config is one document"};
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (expects_key()) {
      throw Refused{mark_of(mark), "a key is missing here; write text such as name: value"};
    }
    add(Node(), mark_of(mark), anchor, 1, 0);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (expects_key()) {
      throw Refused{mark_of(mark), "an alias cannot be a key"};
    }
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Refused{mark_of(mark), "an alias stands inside its own anchor"};
    }
    const Anchored& anchored = found->second;
    check_depth(anchored.depth, mark_of(mark));
    Node copy = anchored.node;
    add(std::move(copy), anchored.node.mark(), YAML::NullAnchor, anchored.count, anchored.depth);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_tag(tag, mark);
    if (expects_key()) {
      take_key(mark_of(mark), value, tag == "!");
      return;
    }
    auto put = substitute(value, environment_, limits_.secret_file_bytes);
    if (put && !is_text(put->text)) {  // an escape such as \\0, or what a ${…} stands for
      put = Error::invalid("not UTF-8 text");
    }
    if (!put) {
      Node at = Node::scalar(value);
      at.set_place(source_, mark_of(mark), {});
      diagnostics_.error(at.place(), put.error().text());
      at.set_quoted(tag == "!");
      at.set_broken();
      add(std::move(at), mark_of(mark), anchor, 1, 0);
      return;
    }
    Node node = Node::scalar(std::move(put->text));
    if (put->changed) {
      node.set_written(value);
      for (std::string& secret : put->secrets) {
        source_->secrets.push_back(std::move(secret));
      }
    }
    node.set_quoted(tag == "!");
    add(std::move(node), mark_of(mark), anchor, 1, 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::kSequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::kMapping, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    Node::Kind kind = Node::Kind::kMapping;
    Mark mark;
    YAML::anchor_t anchor = YAML::NullAnchor;
    std::vector<Node> items;
    std::vector<Node::Entry> entries;
    std::unordered_map<std::string, Mark> seen;
    std::vector<Node> merges;
    std::string key;
    Mark key_mark;
    bool has_key = false;
    bool is_merge = false;
    std::size_t count = 1;  // nodes of this subtree
    std::size_t depth = 1;  // levels of this subtree
  };
  struct Anchored {
    Node node;
    std::size_t count = 0;
    std::size_t depth = 0;
  };

  bool expects_key() const {
    return !frames_.empty() && frames_.back().kind == Node::Kind::kMapping &&
           !frames_.back().has_key;
  }

  static void refuse_tag(const std::string& tag, const YAML::Mark& mark) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refused{mark_of(mark), fmt::format("tags such as {} are not supported", tag)};
    }
  }

  void check_depth(std::size_t more, Mark mark) const {
    if (frames_.size() + more > limits_.depth) {
      throw Refused{mark, fmt::format("nested more than {} levels deep", limits_.depth)};
    }
  }

  void count_nodes(std::size_t more, Mark mark) {
    nodes_ += more;
    if (nodes_ > limits_.nodes) {
      throw Refused{mark, fmt::format("more than {} values (aliases count as what they stand for)",
                                      limits_.nodes)};
    }
  }

  void take_key(Mark mark, const std::string& key, bool quoted) {
    Frame& frame = frames_.back();
    if (!is_printable(key)) {
      throw Refused{mark, "a key is UTF-8 text without control characters"};
    }
    if (key.size() > limits_.key_bytes) {
      throw Refused{mark, fmt::format("a key longer than {} bytes", limits_.key_bytes)};
    }
    frame.key = key;
    frame.key_mark = mark;
    frame.has_key = true;
    frame.is_merge = key == "<<" && !quoted;
    if (frame.is_merge) {
      return;
    }
    const auto [first, fresh] = frame.seen.emplace(key, mark);
    if (!fresh) {
      diagnostics_.error(Place{source_, mark, key.size(), ""},
                         fmt::format("'{}' is given twice", key),
                         fmt::format("first at line {}", first->second.line));
    }
  }

  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    refuse_tag(tag, mark);
    if (expects_key()) {
      throw Refused{mark_of(mark), "a key is plain text, not a list or mapping"};
    }
    check_depth(1, mark_of(mark));
    count_nodes(1, mark_of(mark));
    Frame frame;
    frame.kind = kind;
    frame.mark = mark_of(mark);
    frame.anchor = anchor;
    frames_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    for (Node& merge : frame.merges) {
      for (const Node::Entry& entry : merge.entries()) {
        if (frame.seen.emplace(entry.name, entry.value.key_mark()).second) {
          frame.entries.push_back(entry);
        }
      }
    }
    const bool mapping = frame.kind == Node::Kind::kMapping;
    Node node =
        mapping ? Node::mapping(std::move(frame.entries)) : Node::sequence(std::move(frame.items));
    nodes_ -= frame.count;  // add() counts the whole subtree again
    add(std::move(node), frame.mark, frame.anchor, frame.count, frame.depth);
  }

  // Puts a finished value where it belongs. `count` and `depth` describe its subtree.
  void add(Node node, Mark mark, YAML::anchor_t anchor, std::size_t count, std::size_t depth) {
    count_nodes(count, mark);
    if (frames_.empty()) {
      node.set_place(source_, mark, {});
      root_ = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    frame.count += count;
    frame.depth = std::max(frame.depth, depth + 1);
    node.set_place(source_, mark, frame.has_key ? frame.key_mark : Mark{});
    if (anchor != YAML::NullAnchor) {
      count_nodes(count, mark);  // the copy kept for the aliases
      frame.count += count;
      anchors_[anchor] = Anchored{node, count, depth};
    }
    if (frame.kind == Node::Kind::kSequence) {
      frame.items.push_back(std::move(node));
      return;
    }
    frame.has_key = false;
    if (frame.is_merge) {
      take_merge(frame, std::move(node));
      return;
    }
    frame.entries.push_back({std::move(frame.key), std::move(node)});
  }

  static void take_merge(Frame& frame, Node node) {
    if (node.is_mapping()) {
      frame.merges.push_back(std::move(node));
      return;
    }
    bool good = node.is_sequence();
    for (const Node& item : node.items()) {
      good = good && item.is_mapping();
      frame.merges.push_back(item);
    }
    if (!good) {
      throw Refused{frame.key_mark, "<< takes a mapping or a list of mappings"};
    }
  }

  std::shared_ptr<Source> source_;
  Diagnostics& diagnostics_;
  const Environment& environment_;
  Limits limits_;
  std::vector<Frame> frames_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  Node root_;
  std::size_t nodes_ = 0;
  int documents_ = 0;
};

// Gives every node its way from the root; depth is bounded by the builder.
Node with_trail(const Node& node, const std::shared_ptr<const Node::Trail>& trail) {
  Node out;
  const auto step = [&](std::string name) {
    return std::make_shared<const Node::Trail>(Node::Trail{trail, std::move(name)});
  };
  if (node.is_sequence()) {
    std::vector<Node> items;
    items.reserve(node.items().size());
    for (const Node& item : node.items()) {
      items.push_back(with_trail(item, step(fmt::format("[{}]", items.size()))));
    }
    out = Node::sequence(std::move(items));
  } else if (node.is_mapping()) {
    std::vector<Node::Entry> entries;
    entries.reserve(node.entries().size());
    for (const Node::Entry& entry : node.entries()) {
      entries.push_back({entry.name, with_trail(entry.value, step(entry.name))});
    }
    out = Node::mapping(std::move(entries));
  } else {
    out = node;
  }
  out.set_place(node.source(), node.mark(), node.key_mark());
  out.set_trail(trail);
  return out;
}

// Bytes of the UTF-8 character at the front of `text`; 0 when there is none.
std::size_t character_bytes(std::string_view text) {
  for (std::size_t size = 1; size <= std::min<std::size_t>(text.size(), 4); ++size) {
    if (is_utf8(text.substr(0, size))) {
      return size;
    }
  }
  return 0;
}

// The first byte that is not text, and what it is; nothing when all is.
std::optional<Refused> first_bad_byte(std::string_view text) {
  Mark mark{1, 1};
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (!is_printable(line)) {
      while (true) {
        const std::size_t size = character_bytes(line);
        if (size == 0) {
          return Refused{mark, "not UTF-8 text; save the file as UTF-8"};
        }
        if (!is_printable(line.substr(0, size))) {
          return Refused{
              mark, line[0] == '\0'
                        ? std::string("a NUL byte; save the file as UTF-8 text")
                        : fmt::format("a control character; in quotes write \\x{:02x}", line[0])};
        }
        mark.column += static_cast<std::uint32_t>(size);
        line.remove_prefix(size);
      }
    }
    begin = end + 1;
    ++mark.line;
  }
  return std::nullopt;
}

// What a user can do about yaml-cpp's words; empty when they say it.
std::string yaml_remedy(const Source& source, Mark mark, const std::string& message) {
  for (std::uint32_t line = mark.line; line > 0 && line + 1 >= mark.line; --line) {
    const std::string_view text = source_line(source, line);
    const std::size_t indent = std::min(text.find_first_not_of(" \t"), text.size());
    if (text.substr(0, indent).find('\t') != std::string_view::npos) {
      return fmt::format("line {} begins with a tab; indent with spaces", line);
    }
  }
  if (source_line(source, mark.line).find("${") != std::string_view::npos) {
    return "inside { } and [ ] a ${…} stands in quotes";
  }
  if (message == YAML::ErrorMsg::END_OF_MAP_FLOW) {
    return "a { before this place has no }, or a quote in it has no end";
  }
  if (message == YAML::ErrorMsg::END_OF_SEQ_FLOW) {
    return "a [ before this place has no ], or a quote in it has no end";
  }
  return "";
}

}  // namespace

std::optional<Node> load_text(std::string text, std::string name, Diagnostics& diagnostics,
                              const Environment& environment, const Limits& limits) {
  auto source = std::make_shared<Source>();
  source->name = std::move(name);
  if (text.size() > limits.bytes) {
    diagnostics.error(Place{source, {}, 1, ""},
                      fmt::format("larger than {}", format_size(limits.bytes)));
    return std::nullopt;
  }
  if (text.starts_with("\xef\xbb\xbf")) {
    text.erase(0, 3);
  }
  source->text = std::move(text);
  if (const auto bad = first_bad_byte(source->text)) {
    diagnostics.error(Place{source, bad->mark, 1, ""}, bad->text);
    return std::nullopt;
  }
  bool read = false;
  TreeBuilder builder(source, diagnostics, environment, limits);
  try {
    std::istringstream stream(source->text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
    read = true;
  } catch (const Refused& refused) {
    diagnostics.error(Place{source, refused.mark, 1, ""}, refused.text);
  } catch (const YAML::Exception& exception) {
    const Mark mark = mark_of(exception.mark);
    diagnostics.error(Place{source, mark, 1, ""}, fmt::format("YAML: {}", exception.msg),
                      yaml_remedy(*source, mark, exception.msg));
  } catch (const std::exception& exception) {
    diagnostics.error(Place{source, {}, 1, ""}, fmt::format("YAML: {}", exception.what()));
  }
  if (!read) {
    return std::nullopt;
  }
  Node root = builder.take();
  if (!root.source()) {
    root.set_place(source, {1, 1}, {});
  }
  return with_trail(root, nullptr);
}

std::optional<Node> load_file(const std::string& path, Diagnostics& diagnostics,
                              const Environment& environment, const Limits& limits) {
  auto text = read_small_file(path, limits.bytes);
  if (!text) {
    diagnostics.error(Place{}, text.error().text());
    return std::nullopt;
  }
  return load_text(*std::move(text), path, diagnostics, environment, limits);
}

}  // namespace headwater::config
