// Any bytes as a segment file, and as a frame's body: recovery, fsck and readers must neither crash
// nor read past the end nor go on for ever.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/crc32c.h"
#include "io/fault_files.h"
#include "store/format.h"
#include "store/fsck.h"
#include "store/log_state.h"
#include "store/row_codec.h"
#include "store/spool.h"

namespace {

using namespace headwater;
namespace format = spool_format;

void read_everything(SpoolView& view) {
  for (const Lane lane : kAllLanes) {
    const auto reader = view.read(lane, 1, {.stream = std::nullopt, .decisions = true});
    while (true) {
      const auto item = reader->next();
      if (!item || *item == ReadItem::kEnd) {
        break;
      }
    }
  }
}

void walk_body(std::string_view body) {
  LogState state;
  state.apply(body, false, {});
  std::string checkpoint;
  state.put_checkpoint(checkpoint, {});
  format::EntryReader entries(body);
  format::Entry entry;
  while (entries.next(&entry)) {
    if (const auto rows = format::decode_rows(entry.content)) {
      RowDecoder decoder(rows->rows);
      StoredRow row;
      while (decoder.next(&row)) {
      }
    }
    format::DecodedDecisions decisions;
    format::decode_decisions(entry, &decisions);
  }
}

void as_segment(std::string bytes) {
  io::FaultFiles disk(1);
  disk.set_contents("s/0000000000000001.log", std::move(bytes));
  (void)fsck_spool(disk, "s");
  if (auto view = SpoolView::open(disk, "s")) {
    read_everything(**view);
  }
}

// With the checksums made right, the bytes reach what lies behind them.
void as_sealed_segment(std::string bytes) {
  if (bytes.size() < format::kPageBytes) {
    return;
  }
  store(bytes.data() + format::kPageBytes - 4,
        crc32c(std::string_view(bytes).substr(0, format::kPageBytes - 4)));
  const auto header = format::decode_segment_header(bytes);
  if (!header) {
    return;
  }
  for (std::size_t at = format::kPageBytes; at + format::kFrameHeaderBytes <= bytes.size();) {
    char* const frame = bytes.data() + at;
    const std::size_t room = bytes.size() - at - format::kFrameHeaderBytes;
    const std::size_t length = std::min<std::size_t>(load<std::uint32_t>(frame + 8), room);
    store(frame + 8, static_cast<std::uint32_t>(length));
    store(frame + 12, crc32c(std::string_view(frame + format::kFrameHeaderBytes, length)));
    store(frame + 32, format::segment_tag(header->spool_id, header->generation));
    store(frame + 60, crc32c(std::string_view(frame, 60)));
    at += format::padded(format::kFrameHeaderBytes + length);
  }
  as_segment(std::move(bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  if (size > std::size_t{1} << 18) {
    return 0;
  }
  as_segment(std::string(input));
  as_sealed_segment(std::string(input));
  walk_body(input);
  RowDecoder decoder(input);
  StoredRow row;
  while (decoder.next(&row)) {
  }
  return 0;
}
