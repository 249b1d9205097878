// The head of a response as it goes on the wire.
#pragma once

#include <cstdint>
#include <string>

#include "protocol/http/message.h"

namespace headwater::http {

// How the client finds the body's end.
enum class Framing : std::uint8_t { kLength, kUntilClose };

// Status line and headers, with Date, Cache-Control (no-store unless the response says otherwise)
// and nosniff. Headers of the response that hold CR, LF or NUL are left out.
void append_head(std::string& out, const Response& response, Framing framing, bool close);

}  // namespace headwater::http
