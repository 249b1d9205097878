#include "columnar/payload.h"

#include <openssl/evp.h>

#include <array>

#include "base/result.h"
#include "base/strings.h"

namespace headwater::batch_format {
namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string checksum_of(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  const int done =
      EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  HW_CHECK(done == 1, "SHA-256 of bytes in memory cannot fail");
  return "sha256:" + to_hex({reinterpret_cast<const char*>(digest.data()), size});
}

void append_base64(std::string& out, std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      group = group << 8U | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      out += i <= count ? kDigits[group >> (18 - 6 * i) & 63U] : '=';
    }
  }
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) {
    return std::nullopt;
  }
  std::string out;
  out.reserve(text.size() / 4 * 3);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    std::string_view group = text.substr(at, 4);
    const bool last = at + 4 == text.size();
    while (last && group.size() > 2 && group.back() == '=') {
      group.remove_suffix(1);
    }
    std::uint32_t bits = 0;
    for (const char c : group) {
      const std::size_t digit = kDigits.find(c);
      if (digit == std::string_view::npos) {
        return std::nullopt;
      }
      bits = bits << 6U | static_cast<std::uint32_t>(digit);
    }
    bits <<= 6 * (4 - group.size());
    const std::size_t count = group.size() - 1;
    if ((bits & ((1U << (24 - 8 * count)) - 1)) != 0) {
      return std::nullopt;  // bits behind the last byte
    }
    for (std::size_t i = 0; i < count; ++i) {
      out += static_cast<char>(bits >> (16 - 8 * i));
    }
  }
  return out;
}

}  // namespace headwater::batch_format
