// The two frames of a batch, their checksum, and base64. docs/formats/batch.md, "The bytes".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace headwater::batch_format {

inline constexpr std::uint32_t kHeaderMagic = 0x184D2A58;  // RFC 8878 section 3.1.2
inline constexpr std::size_t kHeaderStart = 8;             // magic and size
inline constexpr std::size_t kMaxHeader = 64 * 1024;

// "sha256:" and 64 hex digits.
std::string checksum_of(std::string_view bytes);

// RFC 4648 section 4, with padding. Decoding takes nothing but the one canonical form.
void append_base64(std::string& out, std::string_view bytes);
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace headwater::batch_format
