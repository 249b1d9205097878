#include "protocol/http/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <string>
#include <utility>

#include "protocol/http/server.h"

namespace headwater::http {
namespace {

using Digest = std::array<unsigned char, 32>;

bool hash(std::string_view text, Digest& out) {
  unsigned int size = 0;
  return EVP_Digest(text.data(), text.size(), out.data(), &size, EVP_sha256(), nullptr) == 1 &&
         size == out.size();
}

}  // namespace

bool equal_secret(std::string_view a, std::string_view b) {
  Digest left{};
  Digest right{};
  return hash(a, left) && hash(b, right) &&
         CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

bool has_bearer(const Request& request, std::string_view token) {
  const auto header = request.header("Authorization");
  constexpr std::string_view kScheme = "bearer ";
  if (token.empty() || !header || header->size() <= kScheme.size()) {
    return false;
  }
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    const char c = (*header)[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != kScheme[i]) {
      return false;
    }
  }
  return equal_secret(header->substr(kScheme.size()), token);
}

Handler require_bearer(std::string token, Handler inner) {
  if (token.empty()) {
    return inner;
  }
  return
      [token = std::move(token), inner = std::move(inner)](Request&& request, Responder responder) {
        if (has_bearer(request, token)) {
          inner(std::move(request), std::move(responder));
          return;
        }
        auto response = Response::error(401, "unauthorized", "a valid bearer token is required");
        response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"headwater\"");
        responder.send(std::move(response));
      };
}

}  // namespace headwater::http
