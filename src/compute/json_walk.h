// JsonWalker: the general way to read one JSON object: simdjson finds the structure (its stage 1
// validates UTF-8, strings and control characters), a strict walk over it checks the grammar and
// lists the scalar values with the fields they belong to. Internal to compute.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "compute/json_number.h"

namespace headwater {

// Gives a dotted name its field. The walk asks once for each value, also in documents that it
// refuses later; `in_array`: the name has element positions in it ("samples.0").
class JsonFields {
 public:
  static constexpr std::int32_t kSkip = -1;     // not wanted
  static constexpr std::int32_t kIgnored = -2;  // not wanted; counted unless null

  virtual ~JsonFields() = default;
  virtual std::int32_t resolve(std::string_view name, bool in_array) = 0;
};

struct JsonLeaf {
  enum class Kind : std::uint8_t { kNull, kFalse, kTrue, kNumber, kString };
  static constexpr std::uint32_t kNoArray = 0xFFFFFFFF;

  Kind kind = Kind::kNull;
  bool escaped = false;            // string with escapes, all valid: unescape_json() it
  std::int32_t field = 0;          // what resolve() said
  std::uint32_t array = kNoArray;  // the outermost array it is in, counted from 0
  std::uint32_t begin = 0;         // of the value in the document, strings with their quotes
  std::uint32_t end = 0;
  JsonNumber number;
};

class JsonWalker {
 public:
  static constexpr std::size_t kMaxNameBytes = 512;  // of a dotted name; longer is refused
  // Skipped array elements beyond these are checked but not listed.
  static constexpr std::size_t kMaxSkipped = 256;

  explicit JsonWalker(std::size_t max_depth);
  ~JsonWalker();
  JsonWalker(JsonWalker&&) noexcept;
  JsonWalker& operator=(JsonWalker&&) noexcept;

  // Reads `document`, which has 64 readable bytes behind it. False: it is refused, see refusal().
  // Fails (exhausted) when there is no memory or the document has more than 4 GiB.
  Result<bool> walk(std::string_view document, JsonFields& fields);

  // Of the last walk; valid until the next.
  const std::vector<JsonLeaf>& leaves() const { return leaves_; }
  bool complete() const { return skipped_ <= kMaxSkipped; }  // leaves() has all
  std::uint32_t arrays() const { return arrays_; }           // outermost ones
  const std::string& refusal() const { return refusal_; }    // "expected a value at byte 17"

 private:
  class Tokens;
  bool refuse(std::size_t offset, std::string_view what);
  bool refuse_stage1(int code);
  bool object(std::size_t depth);
  bool array(std::size_t depth);
  bool value(std::size_t depth);
  bool scalar(std::uint32_t offset);
  bool string_end(std::uint32_t offset, std::uint32_t& end, bool& escaped);

  std::size_t max_depth_;
  std::unique_ptr<Tokens> tokens_;
  std::string_view document_;
  std::vector<JsonLeaf> leaves_;
  JsonFields* fields_ = nullptr;
  std::string path_;  // dotted name of where the walk is
  std::size_t skipped_ = 0;
  std::string unescaped_;  // room to check escapes in
  std::uint32_t arrays_ = 0;
  std::uint32_t array_ = JsonLeaf::kNoArray;  // the outermost array the walk is in
  std::string refusal_;
};

// Unescapes the inside of a JSON string (RFC 8259 section 7) into `out`, which has room for
// raw.size() bytes. Returns the size, or nothing and the offset of the bad escape in `raw`: an
// unknown escape or a lone surrogate. `raw` must not end within an escape.
struct Unescaped {
  bool ok = false;
  std::size_t size = 0;  // or where it is wrong
};
Unescaped unescape_json(std::string_view raw, char* out);

}  // namespace headwater
