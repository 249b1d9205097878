// Result<T> and Status: how every fallible call in Headwater answers.
//
//   Result<Segment> open_segment(Files& files, std::string_view path) {
//     auto file = HW_TRY(files.open(path));                 // leaves with the error, unchanged
//     if (file->size() < kHeaderBytes) {
//       return Error::corrupt("segment is {} bytes, shorter than its header", file->size());
//     }
//     ...
//   }
//   auto segment = open_segment(files, path);
//   if (!segment) return std::move(segment).error().with("open spool {}", dir);
//   // "open spool /data/spool: segment is 12 bytes, shorter than its header"
//
// A code names what the caller does next, not what went wrong (the text says that). Text is lower
// case, has no full stop, quotes the offending value and says what the user can do. No function of
// Headwater throws across a library border; a failed call leaves its output arguments unchanged.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace headwater {

enum class Code : std::uint8_t {
  kInvalid,      // the input is wrong: do not retry
  kNotFound,     // it does not exist
  kUnavailable,  // try again later, with backoff
  kCorrupt,      // stored bytes are damaged: quarantine
  kExhausted,    // a limit is reached: shed or block
  kCancelled,    // the caller asked to stop
  kInternal,     // a bug in Headwater
};

// "invalid", "not_found", …: metric label and JSON value.
std::string_view code_name(Code code);
// Exit status of the command line for an error of this code (sysexits where one fits).
int exit_status(Code code);
// HTTP status for an error of this code.
int http_status(Code code);

class [[nodiscard]] Error {
 public:
  Error(Code code, std::string text, const char* file = __builtin_FILE(),
        int line = __builtin_LINE());
  Error(const Error& other);
  Error(Error&&) noexcept = default;
  Error& operator=(const Error& other);
  Error& operator=(Error&&) noexcept = default;
  ~Error() = default;

  template <class... Args>
  static Error invalid(fmt::format_string<Args...> text, Args&&... args) {
    return Error(Code::kInvalid, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  static Error not_found(fmt::format_string<Args...> text, Args&&... args) {
    return Error(Code::kNotFound, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  static Error unavailable(fmt::format_string<Args...> text, Args&&... args) {
    return Error(Code::kUnavailable, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  static Error corrupt(fmt::format_string<Args...> text, Args&&... args) {
    return Error(Code::kCorrupt, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  static Error exhausted(fmt::format_string<Args...> text, Args&&... args) {
    return Error(Code::kExhausted, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  static Error cancelled(fmt::format_string<Args...> text, Args&&... args) {
    return Error(Code::kCancelled, fmt::format(text, std::forward<Args>(args)...));
  }
  template <class... Args>
  static Error internal(fmt::format_string<Args...> text, Args&&... args) {
    return Error(Code::kInternal, fmt::format(text, std::forward<Args>(args)...));
  }
  // The error of a failed system call: ENOENT is not_found, ENOSPC and EMFILE are exhausted, EIO is
  // corrupt, EACCES and EINVAL are invalid, all else is unavailable. The text is "WHAT: strerror".
  static Error from_errno(int error_number, std::string_view what);

  Code code() const { return body_->code; }
  const std::string& text() const { return body_->text; }
  // Where it was made; for logs at debug level only.
  const char* file() const { return body_->file; }
  int line() const { return body_->line; }

  // Puts context in front: "CONTEXT: text". Consumes this.
  template <class... Args>
  Error with(fmt::format_string<Args...> context, Args&&... args) && {
    prepend(fmt::format(context, std::forward<Args>(args)...));
    return std::move(*this);
  }

 private:
  struct Body {
    Code code;
    int line;
    const char* file;
    std::string text;
  };
  void prepend(std::string context);

  std::unique_ptr<Body>
      body_;  // one pointer, so that Result<T> stays small; never null but after a move
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : error_(std::move(error)) {}  // NOLINT
  template <class U>
  requires(std::is_convertible_v<U&&, T> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
           !std::is_same_v<std::remove_cvref_t<U>, Error> &&
           !std::is_same_v<std::remove_cvref_t<U>, T>) Result(U&& value)
      : value_(std::forward<U>(value)) {}  // NOLINT

  explicit operator bool() const { return value_.has_value(); }
  bool ok() const { return value_.has_value(); }

  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

  template <class... Args>
  Result with(fmt::format_string<Args...> context, Args&&... args) && {
    if (error_) {
      return std::move(*error_).with(context, std::forward<Args>(args)...);
    }
    return std::move(*this);
  }

 private:
  std::optional<T> value_;
  std::optional<Error> error_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit by design

  explicit operator bool() const { return !error_.has_value(); }
  bool ok() const { return !error_.has_value(); }
  void value() const {}

  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

  template <class... Args>
  Result with(fmt::format_string<Args...> context, Args&&... args) && {
    if (error_) {
      return std::move(*error_).with(context, std::forward<Args>(args)...);
    }
    return std::move(*this);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

// Ends the process after printing "FILE:LINE: CONDITION: why". For invariants whose breach would
// lose data or corrupt memory; never for input, disk or network.
[[noreturn]] void check_failed(const char* condition, std::string_view why, const char* file,
                               int line);

}  // namespace headwater

// Value of a Result, or return its error from the enclosing function.
#define HW_TRY(expression)                  \
  __extension__({                           \
    auto&& hw_result_ = (expression);       \
    if (!hw_result_) {                      \
      return std::move(hw_result_).error(); \
    }                                       \
    std::move(hw_result_).value();          \
  })

#define HW_CHECK(condition, why)                                      \
  do {                                                                \
    if (!(condition)) [[unlikely]] {                                  \
      ::headwater::check_failed(#condition, why, __FILE__, __LINE__); \
    }                                                                 \
  } while (false)

#ifdef NDEBUG
#define HW_DCHECK(condition, why) \
  do {                            \
  } while (false)
#else
#define HW_DCHECK(condition, why) HW_CHECK(condition, why)
#endif
