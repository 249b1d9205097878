#include "protocol/mqtt/session.h"

#include <algorithm>
#include <vector>

#include "base/bytes.h"

namespace headwater::mqtt {
namespace {

constexpr std::uint8_t kBlobVersion = 1;
constexpr std::uint8_t kWithSubscriptions = 2;

}  // namespace

std::string encode_session(const Session& session) {
  std::string blob;
  ByteWriter writer(blob);
  const bool subscribed = session.mailbox != nullptr && !session.mailbox->filters.empty();
  writer.put(subscribed ? kWithSubscriptions : kBlobVersion);
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
  if (subscribed) {
    writer.put_varint(session.mailbox->filters.size());
    for (const Mailbox::Filter& filter : session.mailbox->filters) {
      writer.put_string(filter.text);
      writer.put(filter.qos);
    }
  }
  return blob;
}

Status decode_session(std::string_view blob, Session* out) {
  ByteReader reader(blob);
  const auto version = reader.get<std::uint8_t>();
  if (version != kBlobVersion && version != kWithSubscriptions) {
    return Error::corrupt("a session of unknown version");
  }
  const std::uint64_t expiry = reader.get_varint();
  const bool verified = reader.get<std::uint8_t>() == 1;
  const std::string_view username = reader.get_string();
  const std::uint64_t count = reader.get_varint();
  const auto damaged = [&] {
    return Error::corrupt("a session of {} bytes is damaged", blob.size());
  };
  if (!reader.ok() || expiry > 0xFFFFFFFF || count > 0xFFFF ||
      (version == kBlobVersion && reader.left() != count * sizeof(std::uint16_t))) {
    return damaged();
  }
  out->expiry = static_cast<std::uint32_t>(expiry);
  out->verified = verified;
  out->username = username;
  out->received.clear();
  for (std::uint64_t i = 0; i < count; ++i) {
    out->received.emplace(reader.get<std::uint16_t>(), 0);
  }
  out->mailbox.reset();
  if (version == kWithSubscriptions) {
    out->mailbox = std::make_unique<Mailbox>();
    const std::uint64_t filters = reader.get_varint();
    for (std::uint64_t i = 0; i < filters && reader.ok(); ++i) {
      Mailbox::Filter& filter = out->mailbox->filters.emplace_back();
      filter.text = reader.get_string();
      filter.qos = reader.get<std::uint8_t>();
    }
    if (!reader.ok() || reader.left() != 0) {
      return damaged();
    }
  }
  return {};
}

}  // namespace headwater::mqtt
