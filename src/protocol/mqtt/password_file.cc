#include "protocol/mqtt/password_file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/strings.h"

namespace headwater::mqtt {
namespace {

constexpr std::size_t kHashBytes = 64;
constexpr std::size_t kSaltBytes = 12;
constexpr int kMaxIterations = 10'000'000;  // ten seconds of one core: more is a mistake

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Result<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 1024) {
    return Error::invalid("not base64");
  }
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(text),
                                   static_cast<int>(text.size()));
  if (size < 0) {
    return Error::invalid("not base64");
  }
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  out.resize(static_cast<std::size_t>(size) - padding);
  return out;
}

std::string to_base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(bytes),
                                   static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

// "" when OpenSSL fails, which matches no stored hash.
std::string hash_of(std::string_view password, std::string_view salt, int iterations) {
  std::string out(kHashBytes, '\0');
  auto* const to = reinterpret_cast<unsigned char*>(out.data());
  if (iterations > 0) {
    const int ok = PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                                     bytes_of(salt), static_cast<int>(salt.size()), iterations,
                                     EVP_sha512(), static_cast<int>(kHashBytes), to);
    return ok == 1 ? out : "";
  }
  std::string both(password);
  both.append(salt);
  unsigned size = 0;
  const int ok = EVP_Digest(both.data(), both.size(), to, &size, EVP_sha512(), nullptr);
  return ok == 1 ? out : "";
}

}  // namespace

Result<PasswordFile> PasswordFile::parse(std::string_view text) {
  PasswordFile file;
  std::size_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    line = trim(line);
    if (line.empty() || line.front() == '#') {
      continue;
    }
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) {
      return Error::invalid("line {}: expected USER:HASH", number);
    }
    const std::vector<std::string_view> parts = split(line.substr(colon + 1), '$');
    Entry entry;
    std::size_t at = 2;
    if (parts.size() == 5 && parts[0].empty() && parts[1] == "7") {
      const std::string_view digits = parts[2];
      const auto [end, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), entry.iterations);
      if (error != std::errc{} || end != digits.data() + digits.size() || entry.iterations < 1 ||
          entry.iterations > kMaxIterations) {
        return Error::invalid("line {}: '{}' is no iteration count", number, digits);
      }
      at = 3;
    } else if (parts.size() != 4 || !parts[0].empty() || parts[1] != "6") {
      return Error::invalid(
          "line {}: the password of '{}' is not hashed; run mosquitto_passwd -U on the file",
          number, line.substr(0, colon));
    }
    auto salt = from_base64(parts[at]);
    auto hash = from_base64(parts[at + 1]);
    if (!salt || !hash || hash->size() != kHashBytes) {
      return Error::invalid("line {}: the hash of '{}' is damaged", number, line.substr(0, colon));
    }
    entry.salt = *std::move(salt);
    entry.hash = *std::move(hash);
    file.entries_.insert_or_assign(std::string(line.substr(0, colon)), std::move(entry));
  }
  return file;
}

Result<PasswordFile> PasswordFile::read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return Error::from_errno(errno, fmt::format("read password file '{}'", path));
  }
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return parse(text).with("password file '{}'", path);
}

bool PasswordFile::matches(std::string_view user, std::string_view password) const {
  const auto found = entries_.find(user);
  if (entries_.empty() || password.size() > 65'535) {
    return false;
  }
  const Entry& entry = found != entries_.end() ? found->second : entries_.begin()->second;
  const std::string hash = hash_of(password, entry.salt, entry.iterations);
  return hash.size() == entry.hash.size() &&
         CRYPTO_memcmp(hash.data(), entry.hash.data(), hash.size()) == 0 && found != entries_.end();
}

Result<std::string> PasswordFile::make_line(std::string_view user, std::string_view password,
                                            int iterations) {
  if (user.empty() || user.find_first_of(":\n\r") != std::string_view::npos) {
    return Error::invalid("'{}' cannot be a user name: it is empty or has ':' or a line end", user);
  }
  if (iterations < 1 || iterations > kMaxIterations) {
    return Error::invalid("{} iterations are outside 1 to {}", iterations, kMaxIterations);
  }
  std::string salt(kSaltBytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(salt.data()), static_cast<int>(salt.size())) !=
      1) {
    return Error::unavailable("no random bytes from OpenSSL");
  }
  return fmt::format("{}:$7${}${}${}", user, iterations, to_base64(salt),
                     to_base64(hash_of(password, salt, iterations)));
}

}  // namespace headwater::mqtt
