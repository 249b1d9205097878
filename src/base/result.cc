#include "base/result.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace headwater {
namespace {

struct CodeRow {
  std::string_view name;
  int exit_status;
  int http_status;
};

// Indexed by Code. Exit statuses follow sysexits.h: EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL,
// EX_CANTCREAT, EX_SOFTWARE.
constexpr std::array<CodeRow, 7> kCodes = {{
    {"invalid", 65, 400},
    {"not_found", 66, 404},
    {"unavailable", 75, 503},
    {"corrupt", 74, 500},
    {"exhausted", 73, 507},
    {"cancelled", 130, 499},
    {"internal", 70, 500},
}};

const CodeRow& row(Code code) {
  return kCodes[static_cast<std::size_t>(code)];
}

Code code_of_errno(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return Code::kNotFound;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return Code::kExhausted;
    case EIO:
      return Code::kCorrupt;
    case EACCES:
    case EPERM:
    case EINVAL:
    case EISDIR:
    case ENAMETOOLONG:
    case EADDRNOTAVAIL:
      return Code::kInvalid;
    default:
      return Code::kUnavailable;
  }
}

}  // namespace

std::string_view code_name(Code code) {
  return row(code).name;
}
int exit_status(Code code) {
  return row(code).exit_status;
}
int http_status(Code code) {
  return row(code).http_status;
}

Error::Error(Code code, std::string text, const char* file, int line)
    : body_(new Body{code, line, file, std::move(text)}) {}

Error::Error(const Error& other) : body_(new Body(*other.body_)) {}

Error& Error::operator=(const Error& other) {
  if (this != &other) {
    body_.reset(new Body(*other.body_));
  }
  return *this;
}

Error Error::from_errno(int error_number, std::string_view what) {
  return Error(code_of_errno(error_number),
               fmt::format("{}: {}", what, std::strerror(error_number)));
}

void Error::prepend(std::string context) {
  context += ": ";
  body_->text.insert(0, context);
}

void check_failed(const char* condition, std::string_view why, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %.*s\n", file, line, condition,
               static_cast<int>(why.size()), why.data());
  std::abort();
}

}  // namespace headwater
