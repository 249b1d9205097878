// zstd of frame bodies, docs/formats/spool.md "Frame". Each object has one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace headwater {

// Compresses a body where that saves a tenth at least.
class BodyCompressor {
 public:
  BodyCompressor();
  ~BodyCompressor();

  // Makes room for bodies of so many bytes together; what it gave before is void.
  void begin(std::size_t bytes);
  // Nothing when the body is short or does not shrink enough; else valid until the next begin().
  std::optional<std::string_view> compress(std::string_view body);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
  std::string buffer_;
  std::size_t used_ = 0;
};

class BodyExpander {
 public:
  BodyExpander();
  ~BodyExpander();

  // Nothing unless `stored` holds exactly `plain_bytes`. Valid until the next call. The caller
  // bounds plain_bytes.
  std::optional<std::string_view> expand(std::string_view stored, std::size_t plain_bytes);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
  std::string buffer_;
};

}  // namespace headwater
