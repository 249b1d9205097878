#include "compute/json_walk.h"

#include <simdjson.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/strings.h"

namespace headwater {
namespace {

constexpr std::size_t kInitialCapacity = 4096;
constexpr std::size_t kKeepLeaves = 16 * 1024;  // room that a giant message leaves behind

// What may follow a scalar: white space and the punctuation of JSON.
bool ends_scalar(char c) {
  switch (c) {
    case ',':
    case ']':
    case '}':
    case ' ':
    case '\t':
    case '\r':
    case '\n':
      return true;
    default:
      return false;
  }
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The four hex digits at `at`, or -1.
int hex4(std::string_view text, std::size_t at) {
  if (at + 4 > text.size()) {
    return -1;
  }
  int value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    const int digit = hex_digit(text[i]);
    if (digit < 0) {
      return -1;
    }
    value = value * 16 + digit;
  }
  return value;
}

std::size_t put_utf8(std::uint32_t code, char* out) {
  const auto byte = [](std::uint32_t value) { return static_cast<char>(value); };
  if (code < 0x80) {
    out[0] = byte(code);
    return 1;
  }
  if (code < 0x800) {
    out[0] = byte(0xC0 | (code >> 6));
    out[1] = byte(0x80 | (code & 0x3F));
    return 2;
  }
  if (code < 0x10000) {
    out[0] = byte(0xE0 | (code >> 12));
    out[1] = byte(0x80 | ((code >> 6) & 0x3F));
    out[2] = byte(0x80 | (code & 0x3F));
    return 3;
  }
  out[0] = byte(0xF0 | (code >> 18));
  out[1] = byte(0x80 | ((code >> 12) & 0x3F));
  out[2] = byte(0x80 | ((code >> 6) & 0x3F));
  out[3] = byte(0x80 | (code & 0x3F));
  return 4;
}

// Offset of the first byte that begins no UTF-8 character. Cold: only called on refused documents.
std::size_t first_bad_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t size = 1;
    while (size <= 4 && at + size <= text.size() && !is_utf8(text.substr(at, size))) {
      ++size;
    }
    if (size > 4 || at + size > text.size()) {
      return at;
    }
    at += size;
  }
  return at;
}

}  // namespace

Unescaped unescape_json(std::string_view raw, char* out) {
  std::size_t size = 0;
  std::size_t at = 0;
  while (at < raw.size()) {
    if (raw[at] != '\\') {
      out[size++] = raw[at++];
      continue;
    }
    if (at + 1 >= raw.size()) {
      return {false, at};
    }
    const std::size_t escape = at;
    const char kind = raw[at + 1];
    at += 2;
    switch (kind) {
      case '"':
      case '\\':
      case '/':
        out[size++] = kind;
        continue;
      case 'b':
        out[size++] = '\b';
        continue;
      case 'f':
        out[size++] = '\f';
        continue;
      case 'n':
        out[size++] = '\n';
        continue;
      case 'r':
        out[size++] = '\r';
        continue;
      case 't':
        out[size++] = '\t';
        continue;
      case 'u':
        break;
      default:
        return {false, escape};
    }
    const int unit = hex4(raw, at);
    if (unit < 0 || (unit >= 0xDC00 && unit < 0xE000)) {
      return {false, escape};
    }
    at += 4;
    auto code = static_cast<std::uint32_t>(unit);
    if (code >= 0xD800 && code < 0xDC00) {
      const int low = raw.substr(at, 2) == "\\u" ? hex4(raw, at + 2) : -1;
      if (low < 0xDC00 || low >= 0xE000) {
        return {false, escape};
      }
      at += 6;
      code = 0x10000 + ((code - 0xD800) << 10) + (static_cast<std::uint32_t>(low) - 0xDC00);
    }
    size += put_utf8(code, out + size);
  }
  return {true, size};
}

// simdjson's stage 1 gives the offsets of {}[]:, and of the first bytes of strings and other
// scalars. Its implementation class is the same in all of simdjson 1 to 3.
class JsonWalker::Tokens {
 public:
  simdjson::error_code index(std::string_view document) {
    if (implementation_ == nullptr || document.size() > implementation_->capacity()) {
      const std::size_t capacity = std::max(kInitialCapacity, document.size() * 2);
      const auto made = simdjson::get_active_implementation()->create_dom_parser_implementation(
          std::min<std::size_t>(capacity, simdjson::SIMDJSON_MAXSIZE_BYTES), 1, implementation_);
      if (made != simdjson::SUCCESS) {
        implementation_.reset();
        return made;
      }
    }
    next_ = 0;
    const auto status =
        implementation_->stage1(reinterpret_cast<const std::uint8_t*>(document.data()),
                                document.size(), simdjson::stage1_mode::regular);
    count_ = status == simdjson::SUCCESS ? implementation_->n_structural_indexes : 0;
    size_ = static_cast<std::uint32_t>(document.size());
    return status;
  }

  bool at_end() const { return next_ >= count_; }
  // Offset of the token, or the document's size at its end.
  std::uint32_t peek() const {
    return at_end() ? size_ : implementation_->structural_indexes[next_];
  }
  std::uint32_t take() {
    const std::uint32_t offset = peek();
    ++next_;
    return offset;
  }

 private:
  std::unique_ptr<simdjson::internal::dom_parser_implementation> implementation_;
  std::uint32_t next_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t size_ = 0;
};

JsonWalker::JsonWalker(std::size_t max_depth)
    : max_depth_(max_depth), tokens_(std::make_unique<Tokens>()) {}
JsonWalker::~JsonWalker() = default;
JsonWalker::JsonWalker(JsonWalker&&) noexcept = default;
JsonWalker& JsonWalker::operator=(JsonWalker&&) noexcept = default;

bool JsonWalker::refuse(std::size_t offset, std::string_view what) {
  refusal_ = fmt::format("{} at byte {}", what, offset);
  return false;
}

bool JsonWalker::refuse_stage1(int code) {
  switch (code) {
    case simdjson::EMPTY:
      return refuse(0, "expected a JSON object, got nothing");
    case simdjson::UTF8_ERROR:
      return refuse(first_bad_utf8(document_), "invalid UTF-8");
    case simdjson::UNCLOSED_STRING:
    case simdjson::UNESCAPED_CHARS:
      break;
    default:
      refusal_ = simdjson::error_message(static_cast<simdjson::error_code>(code));
      return false;
  }
  std::size_t opened = std::string_view::npos;
  for (std::size_t at = 0; at < document_.size(); ++at) {
    const char c = document_[at];
    if (opened == std::string_view::npos) {
      opened = c == '"' ? at : opened;
    } else if (c == '\\') {
      ++at;
    } else if (c == '"') {
      opened = std::string_view::npos;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      return refuse(at, "control character in a string");
    }
  }
  return refuse(opened == std::string_view::npos ? document_.size() : opened, "string without end");
}

Result<bool> JsonWalker::walk(std::string_view document, JsonFields& fields) {
  document_ = document;
  fields_ = &fields;
  if (leaves_.capacity() > kKeepLeaves) {
    leaves_ = {};
  }
  leaves_.clear();
  skipped_ = 0;
  path_.clear();
  refusal_.clear();
  arrays_ = 0;
  array_ = JsonLeaf::kNoArray;
  const simdjson::error_code status = tokens_->index(document);
  if (status == simdjson::MEMALLOC || status == simdjson::CAPACITY) {
    return Error::exhausted("index a JSON message of {} bytes: {}", document.size(),
                            simdjson::error_message(status));
  }
  if (status != simdjson::SUCCESS) {
    return refuse_stage1(status);
  }
  const std::uint32_t begin = tokens_->take();
  if (begin >= document.size() || document[begin] != '{') {
    return refuse(begin, "expected a JSON object");
  }
  if (!object(1)) {
    return false;
  }
  if (!tokens_->at_end()) {
    return refuse(tokens_->peek(), "bytes after the JSON object");
  }
  return true;
}

// Finds the closing quote of the string that opens at `offset`. Stage 1 has seen that there is one.
bool JsonWalker::string_end(std::uint32_t offset, std::uint32_t& end, bool& escaped) {
  escaped = false;
  for (std::size_t at = offset + 1; at < document_.size(); ++at) {
    if (document_[at] == '"') {
      end = static_cast<std::uint32_t>(at) + 1;
      return true;
    }
    if (document_[at] == '\\') {
      escaped = true;
      ++at;
    }
  }
  return refuse(offset, "string without end");
}

bool JsonWalker::object(std::size_t depth) {
  if (depth > max_depth_) {
    return refuse(tokens_->peek() - 1, fmt::format("nested deeper than {}", max_depth_));
  }
  const auto at = [&](std::uint32_t offset) {
    return offset < document_.size() ? document_[offset] : '\0';
  };
  if (at(tokens_->peek()) == '}') {
    tokens_->take();
    return true;
  }
  const std::size_t outer = path_.size();
  for (;;) {
    const std::uint32_t key = tokens_->take();
    if (at(key) != '"') {
      return refuse(key, "expected a key in quotes");
    }
    std::uint32_t key_end = 0;
    bool escaped = false;
    if (!string_end(key, key_end, escaped)) {
      return false;
    }
    const std::string_view raw = document_.substr(key + 1, key_end - key - 2);
    if (depth > 1) {
      path_.push_back('.');
    }
    if (escaped) {
      const std::size_t before = path_.size();
      path_.resize(before + raw.size());
      const Unescaped done = unescape_json(raw, path_.data() + before);
      if (!done.ok) {
        return refuse(key + 1 + done.size, "invalid escape");
      }
      path_.resize(before + done.size);
    } else {
      path_.append(raw);
    }
    if (path_.size() > kMaxNameBytes) {
      return refuse(key, fmt::format("name longer than {} bytes", kMaxNameBytes));
    }
    const std::uint32_t colon = tokens_->take();
    if (at(colon) != ':') {
      return refuse(colon, "expected ':' after a key");
    }
    if (!value(depth)) {
      return false;
    }
    path_.resize(outer);
    const std::uint32_t next = tokens_->take();
    if (at(next) == '}') {
      return true;
    }
    if (at(next) != ',') {
      return refuse(next, "expected ',' or '}'");
    }
  }
}

bool JsonWalker::array(std::size_t depth) {
  if (depth > max_depth_) {
    return refuse(tokens_->peek() - 1, fmt::format("nested deeper than {}", max_depth_));
  }
  const auto at = [&](std::uint32_t offset) {
    return offset < document_.size() ? document_[offset] : '\0';
  };
  const bool outermost = array_ == JsonLeaf::kNoArray;
  if (outermost) {
    array_ = arrays_++;
  }
  const std::size_t outer = path_.size();
  if (at(tokens_->peek()) == ']') {
    tokens_->take();
  } else {
    for (std::size_t element = 0;; ++element) {
      path_.push_back('.');
      fmt::format_to(std::back_inserter(path_), "{}", element);
      if (!value(depth)) {
        return false;
      }
      path_.resize(outer);
      const std::uint32_t next = tokens_->take();
      if (at(next) == ']') {
        break;
      }
      if (at(next) != ',') {
        return refuse(next, "expected ',' or ']'");
      }
    }
  }
  if (outermost) {
    array_ = JsonLeaf::kNoArray;
  }
  return true;
}

bool JsonWalker::value(std::size_t depth) {
  const std::uint32_t offset = tokens_->take();
  if (offset >= document_.size()) {
    return refuse(offset, "expected a value");
  }
  switch (document_[offset]) {
    case '{':
      return object(depth + 1);
    case '[':
      return array(depth + 1);
    default:
      return scalar(offset);
  }
}

bool JsonWalker::scalar(std::uint32_t offset) {
  JsonLeaf leaf;
  leaf.begin = offset;
  leaf.array = array_;
  const std::string_view rest = document_.substr(offset);
  const char first = rest[0];
  const auto literal = [&](std::string_view word, JsonLeaf::Kind kind) {
    leaf.kind = kind;
    leaf.end = offset + static_cast<std::uint32_t>(word.size());
    return rest.substr(0, word.size()) == word;
  };
  bool good = false;
  if (first == '"') {
    leaf.kind = JsonLeaf::Kind::kString;
    if (!string_end(offset, leaf.end, leaf.escaped)) {
      return false;
    }
    if (leaf.escaped) {
      unescaped_.resize(leaf.end - offset);
      const Unescaped done =
          unescape_json(document_.substr(offset + 1, leaf.end - offset - 2), unescaped_.data());
      if (!done.ok) {
        return refuse(offset + 1 + done.size, "invalid escape");
      }
    }
    good = true;
  } else if (first == '-' || (first >= '0' && first <= '9')) {
    leaf.kind = JsonLeaf::Kind::kNumber;
    // The byte that ends the number: scan_number() must not run on into whatever lies behind.
    std::size_t length = 1;
    while (length < rest.size() && !ends_scalar(rest[length])) {
      ++length;
    }
    if (length < rest.size()) {
      const char* const end = scan_number(rest.data(), leaf.number);
      leaf.end = offset + static_cast<std::uint32_t>(length);
      good = end == rest.data() + length;
    }
    if (!good) {
      return refuse(offset, "invalid number");
    }
  } else if (first == 't') {
    good = literal("true", JsonLeaf::Kind::kTrue);
  } else if (first == 'f') {
    good = literal("false", JsonLeaf::Kind::kFalse);
  } else if (first == 'n') {
    good = literal("null", JsonLeaf::Kind::kNull);
  }
  if (good && leaf.end < document_.size()) {
    // The next token must be what comes next: "truex" and "1x" are one token to stage 1.
    good = ends_scalar(document_[leaf.end]) || tokens_->peek() == leaf.end;
  }
  if (!good) {
    return refuse(offset, "expected a value");
  }
  leaf.field = fields_->resolve(path_, array_ != JsonLeaf::kNoArray);
  if (leaf.field == JsonFields::kSkip && ++skipped_ > kMaxSkipped) {
    return true;
  }
  leaves_.push_back(leaf);
  return true;
}

}  // namespace headwater
