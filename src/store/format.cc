#include "store/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/crc32c.h"
#include "store/row_facts.h"

namespace headwater::spool_format {
namespace {

constexpr std::string_view kSegmentMagic = "HWSPOOL1";
constexpr std::string_view kFrameMagic = "HWFR";
constexpr std::uint16_t kKnownFrameFlags = kFlagCompressed | kFlagCheckpoint;
constexpr std::size_t kPageCrcAt = kPageBytes - 4;
constexpr std::size_t kFrameCrcAt = kFrameHeaderBytes - 4;
constexpr std::size_t kNextAt = 96;
constexpr std::size_t kUptimeAt = 160;
constexpr std::size_t kSummaryAt = 168;
constexpr std::size_t kLaneSummariesAt = 176;
constexpr std::size_t kLaneSummaryBytes = 24;
constexpr std::size_t kDevicesAt = kLaneSummariesAt + 8 * kLaneSummaryBytes;
static_assert(kDevicesAt + DeviceFilter::kBytes <= kPageCrcAt);
constexpr std::string_view kSegmentSuffix = ".log";
constexpr std::string_view kSpareSuffix = ".spare";

void put_id(char* to, Id128 id) {
  headwater::store(to, id.high);
  headwater::store(to + 8, id.low);
}
Id128 get_id(const char* from) {
  return {load<std::uint64_t>(from), load<std::uint64_t>(from + 8)};
}

std::optional<std::uint64_t> parse_name(std::string_view name, std::string_view suffix) {
  if (name.size() != 16 + suffix.size() || name.substr(16) != suffix) {
    return std::nullopt;
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + 16, value, 16);
  if (error != std::errc{} || end != name.data() + 16) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::string encode(const SegmentHeader& header, std::string_view devices) {
  std::string page(kPageBytes, '\0');
  char* const at = page.data();
  std::memcpy(at, kSegmentMagic.data(), kSegmentMagic.size());
  headwater::store(at + 8, kVersion);
  put_id(at + 16, header.spool_id);
  headwater::store(at + 32, header.generation);
  headwater::store(at + 40, header.file_bytes);
  headwater::store(at + 48, header.first_frame);
  headwater::store(at + 56, header.epoch);
  put_id(at + 64, header.boot_id);
  headwater::store(at + 80, header.wall.ns);
  headwater::store(at + 88, header.mono.ns);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    headwater::store(at + kNextAt + 8 * lane, header.next[lane]);
  }
  headwater::store(at + kUptimeAt, header.uptime);
  if (header.before.generation != 0) {
    headwater::store(at + kSummaryAt, header.before.generation);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const LaneSummary& summary = header.before.lanes[lane];
      char* const to = at + kLaneSummariesAt + kLaneSummaryBytes * lane;
      headwater::store(to, summary.bytes);
      headwater::store(to + 8, summary.first.ns);
      headwater::store(to + 16, summary.last.ns);
    }
    std::memcpy(at + kDevicesAt, devices.data(),
                std::min<std::size_t>(devices.size(), DeviceFilter::kBytes));
  }
  headwater::store(at + kPageCrcAt, crc32c(std::string_view(at, kPageCrcAt)));
  return page;
}

std::string_view device_filter_of(std::string_view page) {
  return page.substr(kDevicesAt, DeviceFilter::kBytes);
}

Result<SegmentHeader> decode_segment_header(std::string_view page) {
  if (page.size() < kPageBytes || page.substr(0, kSegmentMagic.size()) != kSegmentMagic) {
    return Error::corrupt("no segment header");
  }
  const char* const at = page.data();
  if (load<std::uint32_t>(at + kPageCrcAt) != crc32c(page.substr(0, kPageCrcAt))) {
    return Error::corrupt("segment header: checksum mismatch");
  }
  if (const auto version = load<std::uint32_t>(at + 8); version != kVersion) {
    return Error::invalid("segment has format version {}; this program reads version {}", version,
                          kVersion);
  }
  if (const auto flags = load<std::uint32_t>(at + 12); flags != 0) {
    return Error::invalid("segment has flags {:#x} that this program does not know", flags);
  }
  SegmentHeader header;
  header.spool_id = get_id(at + 16);
  header.generation = load<std::uint64_t>(at + 32);
  header.file_bytes = load<std::uint64_t>(at + 40);
  header.first_frame = load<std::uint64_t>(at + 48);
  header.epoch = load<std::uint32_t>(at + 56);
  header.boot_id = get_id(at + 64);
  header.wall.ns = load<std::int64_t>(at + 80);
  header.mono.ns = load<std::int64_t>(at + 88);
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    header.next[lane] = load<std::uint64_t>(at + kNextAt + 8 * lane);
  }
  header.uptime = load<std::uint64_t>(at + kUptimeAt);
  header.before.generation = load<std::uint64_t>(at + kSummaryAt);
  for (std::size_t lane = 0; header.before.generation != 0 && lane < kLanes; ++lane) {
    const char* const from = at + kLaneSummariesAt + kLaneSummaryBytes * lane;
    header.before.lanes[lane] = {
        load<std::uint64_t>(from), {load<std::int64_t>(from + 8)}, {load<std::int64_t>(from + 16)}};
  }
  return header;
}

void encode(const FrameHeader& header, char* to) {
  std::memset(to, 0, kFrameHeaderBytes);
  std::memcpy(to, kFrameMagic.data(), kFrameMagic.size());
  headwater::store(to + 4, kFrameVersion);
  headwater::store(to + 6, header.flags);
  headwater::store(to + 8, header.body_bytes);
  headwater::store(to + 12, header.body_crc);
  headwater::store(to + 16, header.number);
  headwater::store(to + 24, header.committed);
  headwater::store(to + 32, header.tag);
  headwater::store(to + 36, header.epoch);
  headwater::store(to + 40, header.wall.ns);
  headwater::store(to + 48, header.mono.ns);
  headwater::store(to + 56, header.compressed() ? header.plain_bytes : header.body_bytes);
  headwater::store(to + kFrameCrcAt, crc32c(std::string_view(to, kFrameCrcAt)));
}

std::optional<FrameHeader> decode_frame_header(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes || bytes.substr(0, 4) != kFrameMagic) {
    return std::nullopt;
  }
  const char* const at = bytes.data();
  if (load<std::uint32_t>(at + kFrameCrcAt) != crc32c(bytes.substr(0, kFrameCrcAt))) {
    return std::nullopt;
  }
  FrameHeader header;
  header.flags = load<std::uint16_t>(at + 6);
  header.body_bytes = load<std::uint32_t>(at + 8);
  header.body_crc = load<std::uint32_t>(at + 12);
  header.number = load<std::uint64_t>(at + 16);
  header.committed = load<std::uint64_t>(at + 24);
  header.tag = load<std::uint32_t>(at + 32);
  header.epoch = load<std::uint32_t>(at + 36);
  header.wall.ns = load<std::int64_t>(at + 40);
  header.mono.ns = load<std::int64_t>(at + 48);
  header.plain_bytes = load<std::uint32_t>(at + 56);
  return header;
}

Status check_known(std::string_view header_bytes) {
  const char* const at = header_bytes.data();
  if (const auto version = load<std::uint8_t>(at + 4);
      version < kOldestFrameVersion || version > kFrameVersion) {
    return Error::invalid("frame {} has version {}; this program reads versions {} to {}",
                          load<std::uint64_t>(at + 16), version, kOldestFrameVersion,
                          kFrameVersion);
  }
  const auto flags = load<std::uint16_t>(at + 6);
  if ((flags & ~kKnownFrameFlags) != 0) {
    return Error::invalid("frame {} has flags {:#x}; this program does not know them",
                          load<std::uint64_t>(at + 16), flags);
  }
  return {};
}

std::uint32_t segment_tag(Id128 spool_id, std::uint64_t generation) {
  std::array<char, 24> bytes;
  put_id(bytes.data(), spool_id);
  headwater::store(bytes.data() + 16, generation);
  return static_cast<std::uint32_t>(hash64(std::string_view(bytes.data(), bytes.size())));
}

std::string segment_name(std::uint64_t generation) {
  return fmt::format("{:016x}{}", generation, kSegmentSuffix);
}
std::string spare_name(std::uint64_t number) {
  return fmt::format("{:016x}{}", number, kSpareSuffix);
}
std::optional<std::uint64_t> parse_segment_name(std::string_view name) {
  return parse_name(name, kSegmentSuffix);
}
std::optional<std::uint64_t> parse_spare_name(std::string_view name) {
  return parse_name(name, kSpareSuffix);
}

}  // namespace headwater::spool_format
