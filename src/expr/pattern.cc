// The only place that sees RE2.
#include <re2/re2.h>

#include "expr/functions.h"

namespace headwater::expr {
namespace {

constexpr std::int64_t kMaxMemory = 1 << 20;  // of one compiled pattern

class Re2Pattern final : public Pattern {
 public:
  Re2Pattern(std::string_view pattern, const re2::RE2::Options& options)
      : re_(re2::StringPiece(pattern.data(), pattern.size()), options) {}
  const re2::RE2& re() const { return re_; }
  bool matches(std::string_view text) const override {
    return re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), re_);
  }

 private:
  re2::RE2 re_;
};

}  // namespace

Result<std::shared_ptr<const Pattern>> Pattern::compile(std::string_view pattern) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kMaxMemory);
  auto compiled = std::make_shared<Re2Pattern>(pattern, options);
  if (!compiled->re().ok()) {
    return Error::invalid("bad pattern '{}': {}", pattern.substr(0, 64), compiled->re().error());
  }
  return std::shared_ptr<const Pattern>(std::move(compiled));
}

}  // namespace headwater::expr
