#include "store/row_codec.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"

namespace headwater {
namespace {

enum Bits : unsigned {
  kSameTopic = 1U << 0,
  kSameDevice = 1U << 1,
  kSameSender = 1U << 2,
  kSamePartition = 1U << 3,
  kHasIdentity = 1U << 4,
  kNextPosition = 1U << 5,
  kHasFlags = 1U << 6,
  kDeviceInTopic = 1U << 7,
};

// In the stored flags only: a note follows the payload. RowFlags stay below it.
constexpr std::uint32_t kHasNote = 1U << 31;
// Likewise: the identity is the one before plus 1. A flag of rows that is never stored (replayed).
constexpr std::uint32_t kNextIdentity = 1U << 4;
constexpr std::size_t kMaxVarint = 10;
constexpr std::uint64_t kSenderIsDevice = 1;
// Bits, five numbers, an identity, and seven lengths or offsets; texts come on top.
constexpr std::size_t kMaxFixed = 1 + 5 * kMaxVarint + 16 + 7 * kMaxVarint;

char* put_varint(char* at, std::uint64_t value) {
  while (value >= 0x80) {
    *at++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *at++ = static_cast<char>(value);
  return at;
}

char* put_signed(char* at, std::int64_t value) {
  return put_varint(
      at, (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
}

char* put_text(char* at, std::string_view text) {
  if (!text.empty()) {  // an empty view may be null
    std::memcpy(at, text.data(), text.size());
  }
  return at + text.size();
}

// Differences wrap around, so that any two times have one.
std::int64_t minus(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}
std::int64_t plus(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

// Where `part` lies in `whole`, if its bytes are those of a view into it or equal some of it.
std::size_t find_in(std::string_view whole, std::string_view part) {
  if (part.size() < 2) {
    return std::string_view::npos;
  }
  if (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size()) {
    return static_cast<std::size_t>(part.data() - whole.data());
  }
  return whole.find(part);
}

bool follows(Id128 identity, Id128 before) {
  return identity.high == before.high && identity.low == before.low + 1 && identity.low != 0;
}

}  // namespace

void RowEncoder::grow(std::size_t need) {
  buffer_.resize(std::max(need, buffer_.size() * 2));
}

void RowEncoder::clear() {
  used_ = 0;
  count_ = 0;
  topic_ = {};
  device_ = {};
  sender_ = {};
  time_ = 0;
  received_ = 0;
  position_ = 0;
  identity_ = {};
  partition_ = 0;
}

void RowEncoder::append(const StoredRow& row) {
  const std::size_t most = kMaxFixed + row.topic.size() + row.device.size() + row.sender.size() +
                           row.payload.size() + row.note.size();
  if (buffer_.size() - used_ < most) {
    grow(used_ + most);
  }
  char* const base = buffer_.data();
  const auto was = [&](Place place) { return std::string_view(base + place.offset, place.size); };
  const auto here = [&](const char* at) { return static_cast<std::size_t>(at - base); };

  char* at = base + used_;
  char* const bits_at = at++;
  unsigned bits = 0;
  at = put_signed(at, minus(row.time.ns, time_));
  const std::int64_t lag = minus(row.received.ns, row.time.ns);
  at = put_signed(at, minus(lag, minus(received_, time_)));
  time_ = row.time.ns;
  received_ = row.received.ns;
  const bool next_identity = follows(row.identity, identity_);
  identity_ = row.identity;
  const std::uint32_t flags = (row.flags & ~kNextIdentity) | (row.note.empty() ? 0 : kHasNote) |
                              (next_identity ? kNextIdentity : 0);
  if (flags != 0) {
    bits |= kHasFlags;
    at = put_varint(at, flags);
  }
  if (row.partition == partition_) {
    bits |= kSamePartition;
  } else {
    at = put_varint(at, row.partition);
    partition_ = row.partition;
  }
  if (row.position == position_ + 1) {
    bits |= kNextPosition;
  } else {
    at = put_signed(
        at, minus(static_cast<std::int64_t>(row.position), static_cast<std::int64_t>(position_)));
  }
  position_ = row.position;
  if (row.identity != Id128{} && !next_identity) {
    bits |= kHasIdentity;
    headwater::store(at, row.identity.high);
    headwater::store(at + 8, row.identity.low);
    at += 16;
  }
  if (row.topic == was(topic_)) {
    bits |= kSameTopic;
  } else {
    at = put_varint(at, row.topic.size());
    topic_ = {here(at), row.topic.size()};
    at = put_text(at, row.topic);
  }
  if (row.device == was(device_)) {
    bits |= kSameDevice;
  } else if (const std::size_t offset = find_in(row.topic, row.device);
             offset != std::string_view::npos) {
    bits |= kDeviceInTopic;
    at = put_varint(at, offset);
    at = put_varint(at, row.device.size());
    device_ = {topic_.offset + offset, row.device.size()};
  } else {
    at = put_varint(at, row.device.size());
    device_ = {here(at), row.device.size()};
    at = put_text(at, row.device);
  }
  if (row.sender == was(sender_)) {
    bits |= kSameSender;
  } else if (row.sender == row.device) {
    at = put_varint(at, kSenderIsDevice);
    sender_ = device_;
  } else {
    at = put_varint(at, std::uint64_t{row.sender.size()} << 1);
    sender_ = {here(at), row.sender.size()};
    at = put_text(at, row.sender);
  }
  at = put_varint(at, row.payload.size());
  at = put_text(at, row.payload);
  if (!row.note.empty()) {
    at = put_varint(at, row.note.size());
    at = put_text(at, row.note);
  }
  *bits_at = static_cast<char>(bits);
  used_ = here(at);
  ++count_;
}

bool RowDecoder::next(StoredRow* row) {
  if (rest_.empty() || !ok_) {
    return false;
  }
  ByteReader in(rest_);
  const auto bits = static_cast<unsigned>(in.get<std::uint8_t>());
  StoredRow got = last_;
  got.time.ns = plus(last_.time.ns, in.get_signed());
  const std::int64_t lag = plus(minus(last_.received.ns, last_.time.ns), in.get_signed());
  got.received.ns = plus(got.time.ns, lag);
  got.flags = (bits & kHasFlags) != 0 ? static_cast<std::uint32_t>(in.get_varint()) : 0;
  if ((bits & kSamePartition) == 0) {
    got.partition = static_cast<std::uint32_t>(in.get_varint());
  }
  if ((bits & kNextPosition) != 0) {
    got.position = last_.position + 1;
  } else {
    got.position = static_cast<std::uint64_t>(
        plus(static_cast<std::int64_t>(last_.position), in.get_signed()));
  }
  if ((got.flags & kNextIdentity) != 0) {
    got.flags &= ~kNextIdentity;
    ++got.identity.low;
  } else {
    got.identity = {};
  }
  if ((bits & kHasIdentity) != 0) {
    got.identity.high = in.get<std::uint64_t>();
    got.identity.low = in.get<std::uint64_t>();
  }
  if ((bits & kSameTopic) == 0) {
    got.topic = in.get_string();
  }
  if ((bits & kSameDevice) == 0) {
    if ((bits & kDeviceInTopic) != 0) {
      const std::uint64_t offset = in.get_varint();
      const std::uint64_t size = in.get_varint();
      if (offset > got.topic.size() || size > got.topic.size() - offset) {
        ok_ = false;
        return false;
      }
      got.device = got.topic.substr(offset, size);
    } else {
      got.device = in.get_string();
    }
  }
  if ((bits & kSameSender) == 0) {
    const std::uint64_t code = in.get_varint();
    if (code == kSenderIsDevice) {
      got.sender = got.device;
    } else if ((code & 1U) == 0) {
      got.sender = in.get_bytes(code >> 1);
    } else {
      ok_ = false;
      return false;
    }
  }
  got.payload = in.get_string();
  got.note = {};
  if ((got.flags & kHasNote) != 0) {
    got.flags &= ~kHasNote;
    got.note = in.get_string();
  }
  if (!in.ok()) {
    ok_ = false;
    return false;
  }
  rest_ = in.rest();
  last_ = got;
  *row = got;
  return true;
}

}  // namespace headwater
