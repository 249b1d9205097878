#include "protocol/mqtt/session.h"

#include <algorithm>
#include <vector>

#include "base/bytes.h"

namespace headwater::mqtt {
namespace {

constexpr std::uint8_t kBlobVersion = 1;

}  // namespace

std::string encode_session(const Session& session) {
  std::string blob;
  ByteWriter writer(blob);
  writer.put(kBlobVersion);
  writer.put_varint(session.expiry);
  writer.put(static_cast<std::uint8_t>(session.verified ? 1 : 0));
  writer.put_string(session.username);
  std::vector<std::uint16_t> ids;
  ids.reserve(session.received.size());
  for (const auto& [id, position] : session.received) {
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  writer.put_varint(ids.size());
  for (const std::uint16_t id : ids) {
    writer.put(id);
  }
  return blob;
}

Status decode_session(std::string_view blob, Session* out) {
  ByteReader reader(blob);
  if (reader.get<std::uint8_t>() != kBlobVersion) {
    return Error::corrupt("a session of unknown version");
  }
  const std::uint64_t expiry = reader.get_varint();
  const bool verified = reader.get<std::uint8_t>() == 1;
  const std::string_view username = reader.get_string();
  const std::uint64_t count = reader.get_varint();
  if (!reader.ok() || expiry > 0xFFFFFFFF || reader.left() != count * sizeof(std::uint16_t)) {
    return Error::corrupt("a session of {} bytes is damaged", blob.size());
  }
  out->expiry = static_cast<std::uint32_t>(expiry);
  out->verified = verified;
  out->username = username;
  out->received.clear();
  for (std::uint64_t i = 0; i < count; ++i) {
    out->received.emplace(reader.get<std::uint16_t>(), 0);
  }
  return {};
}

}  // namespace headwater::mqtt
