// The config file as a light tree that remembers where every value stands.
//
//   Diagnostics diagnostics;
//   std::optional<Node> root = load_file("edge.yaml", diagnostics);   // config/load.h
//   const Node* sources = root->find("sources");
//   for (const Node::Entry& entry : sources->entries()) { entry.name; entry.value.find("type"); }
//
// A node is immutable once loaded and cheap to copy in the sense of options (a deep copy of its
// subtree). Copies share the text they came from, so errors about a subtree that is parsed later
// still show the line. Safe to read from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace headwater::config {

// Line and column from 1; 0 is "no place" (a value that came from a flag or a default).
// A column counts bytes; diagnostics turn it into characters.
struct Mark {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

// One loaded text: its name, the text for the caret lines, and what must not be shown of it.
struct Source {
  std::string name;  // "edge.yaml", "environment variable BATCH_SIZE"
  std::string text;

  // Values that came from ${NAME} or ${file:…}: masked wherever a message repeats them.
  std::vector<std::string> secrets;
  // Secrets written in the text itself: masked in the caret lines.
  struct Hidden {
    Mark mark;
    std::size_t length = 0;
  };
  mutable std::vector<Hidden> hidden;
};

// Where an error points.
struct Place {
  std::shared_ptr<const Source> source;  // may be null
  Mark mark;
  std::size_t length = 1;  // bytes under the caret
  std::string path;        // "pipelines.main.steps[0].detect"
};

class Node {
 public:
  enum class Kind : std::uint8_t { kNull, kScalar, kSequence, kMapping };
  struct Entry;
  struct Trail;  // the way from the root, shared between siblings

  // A null without a place.
  Node();
  Node(const Node&);
  Node(Node&&) noexcept;
  Node& operator=(const Node&);
  Node& operator=(Node&&) noexcept;
  ~Node();

  static Node scalar(std::string text);
  static Node sequence(std::vector<Node> items);
  static Node mapping(std::vector<Entry> entries);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_scalar() const { return kind_ == Kind::kScalar; }
  bool is_sequence() const { return kind_ == Kind::kSequence; }
  bool is_mapping() const { return kind_ == Kind::kMapping; }
  // "nothing", "text", "a list", "a mapping": for messages.
  std::string_view kind_name() const;

  // Scalar: the value after ${…}; else "".
  const std::string& text() const { return text_; }
  // What errors may show of it: as written in the file, so `${PASSWORD}` and not its value.
  const std::string& shown() const { return written_.empty() ? text_ : written_; }
  // Whether ${NAME} or ${file:…} gave a part of it. Such a value is never shown.
  bool is_substituted() const { return !written_.empty(); }
  bool is_quoted() const { return quoted_; }
  // Its ${…} could not be replaced; the loader has reported it, and parse() says no more.
  bool is_broken() const { return broken_; }

  // Items of a sequence, entries of a mapping; empty for the other kinds.
  const std::vector<Node>& items() const { return items_; }
  const std::vector<Entry>& entries() const { return entries_; }
  // Null when this is no mapping or has no such key.
  const Node* find(std::string_view name) const;
  // The one entry of a mapping of one entry (`- filter: {…}`); else null.
  const Entry* only_entry() const;
  // A copy without that key.
  Node without(std::string_view name) const;

  // "pipelines.main.steps[0].detect"; "" at the root.
  std::string path() const;
  Mark mark() const { return mark_; }
  Mark key_mark() const { return key_mark_; }
  Place place() const;
  // Its key; the value itself where it has none (items, the root).
  Place key_place() const;
  // A part of a scalar's text, for errors inside expressions: `offset` and `length` in bytes of
  // text(). Falls back to place() where text and file differ (escapes, ${…}, block scalars).
  Place place_inside(std::size_t offset, std::size_t length) const;
  const std::shared_ptr<const Source>& source() const { return source_; }

  // For the loader and for nodes made by code (overrides).
  void set_place(std::shared_ptr<const Source> source, Mark mark, Mark key_mark);
  void set_trail(std::shared_ptr<const Trail> trail) { trail_ = std::move(trail); }
  void set_written(std::string written) { written_ = std::move(written); }
  void set_quoted(bool quoted) { quoted_ = quoted; }
  void set_broken() { broken_ = true; }
  const std::shared_ptr<const Trail>& trail() const { return trail_; }

 private:
  std::string text_;
  std::string written_;  // empty when equal to text_
  std::vector<Node> items_;
  std::vector<Entry> entries_;
  std::shared_ptr<const Source> source_;
  std::shared_ptr<const Trail> trail_;
  Mark mark_;
  Mark key_mark_;
  Kind kind_ = Kind::kNull;
  bool quoted_ = false;
  bool broken_ = false;
};

struct Node::Entry {
  std::string name;
  Node value;
};

struct Node::Trail {
  std::shared_ptr<const Trail> parent;
  std::string step;  // "detect" or "[0]"
};

// Nodes are equal when they mean the same: kind, text, items, entries in order.
bool operator==(const Node& a, const Node& b);

}  // namespace headwater::config
