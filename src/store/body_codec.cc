#include "store/body_codec.h"

#include <zstd.h>

#include "base/result.h"

namespace headwater {
namespace {

// Below this the frame's header is what costs.
constexpr std::size_t kLeastBody = 512;
constexpr int kLevel = 1;

}  // namespace

struct BodyCompressor::Context {
  std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> zstd{ZSTD_createCCtx(), ZSTD_freeCCtx};
};
struct BodyExpander::Context {
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> zstd{ZSTD_createDCtx(), ZSTD_freeDCtx};
};

BodyCompressor::BodyCompressor() = default;
BodyCompressor::~BodyCompressor() = default;

void BodyCompressor::begin(std::size_t bytes) {
  used_ = 0;
  if (buffer_.size() < bytes) {
    buffer_.resize(bytes);
  }
}

std::optional<std::string_view> BodyCompressor::compress(std::string_view body) {
  const std::size_t most = body.size() - body.size() / 10;
  if (body.size() < kLeastBody || used_ + most > buffer_.size()) {
    return std::nullopt;
  }
  if (context_ == nullptr) {
    context_ = std::make_unique<Context>();
    HW_CHECK(context_->zstd != nullptr, "memory for a zstd context");
  }
  // An error is a body that does not fit into nine tenths of itself.
  const std::size_t bytes = ZSTD_compressCCtx(context_->zstd.get(), buffer_.data() + used_, most,
                                              body.data(), body.size(), kLevel);
  if (ZSTD_isError(bytes) != 0U) {
    return std::nullopt;
  }
  const std::string_view stored(buffer_.data() + used_, bytes);
  used_ += bytes;
  return stored;
}

BodyExpander::BodyExpander() = default;
BodyExpander::~BodyExpander() = default;

std::optional<std::string_view> BodyExpander::expand(std::string_view stored,
                                                     std::size_t plain_bytes) {
  if (context_ == nullptr) {
    context_ = std::make_unique<Context>();
    HW_CHECK(context_->zstd != nullptr, "memory for a zstd context");
  }
  if (buffer_.size() < plain_bytes) {
    buffer_.resize(plain_bytes);
  }
  const std::size_t bytes = ZSTD_decompressDCtx(context_->zstd.get(), buffer_.data(), plain_bytes,
                                                stored.data(), stored.size());
  if (ZSTD_isError(bytes) != 0U || bytes != plain_bytes) {
    return std::nullopt;
  }
  return std::string_view(buffer_.data(), plain_bytes);
}

}  // namespace headwater
