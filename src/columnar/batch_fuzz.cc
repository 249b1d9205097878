// Bytes → batch: no crash, bounded memory; what is taken is written again and reads back equal.
// So that the checksum does not stop every mutation, the input is also taken as the lines of a
// payload.
#include <zstd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "columnar/batch_reader.h"
#include "columnar/batch_writer.h"
#include "columnar/payload.h"

namespace {

using namespace headwater;  // NOLINT: a fuzz entry point stands outside the namespace

constexpr BatchLimits kLimits{.header = 4096, .payload = 1U << 20, .line = 1U << 18};

void require(bool good) {
  if (!good) {
    std::abort();
  }
}

void read(std::string_view bytes) {
  BatchReader reader(kLimits);
  if (!reader.open(bytes)) {
    return;
  }
  const BatchHeader header = reader.header();
  BatchWriter writer;
  writer.begin(header);
  for (;;) {
    const auto item = reader.next();
    if (!item) {
      return;
    }
    if (*item == BatchItem::kEnd) {
      break;
    }
    require(*item == BatchItem::kRow ? writer.add(reader.row()).ok()
                                     : writer.add(reader.gap()).ok());
  }
  const auto again = writer.finish(header.last, header.created, 1);
  require(again.ok() && again->header.rows == header.rows && again->header.gaps == header.gaps);
  BatchReader second;
  require(second.open(again->bytes).ok());
  while (true) {
    const auto item = second.next();
    require(item.ok());
    if (*item == BatchItem::kEnd) {
      return;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(bytes), size);
  read(input);
  std::string payload(ZSTD_compressBound(size), '\0');
  payload.resize(ZSTD_compress(payload.data(), payload.size(), input.data(), input.size(), 1));
  std::size_t lines = 0;
  for (const char c : input) {
    lines += c == '\n' ? 1 : 0;
  }
  const std::string json =
      R"({"format":1,"edge":"e","spool":"0123456789abcdef0123456789abcdef","lane":"readings",)"
      R"("first":1,"last":)" +
      std::to_string(lines == 0 ? 1 : lines) + R"(,"rows":)" + std::to_string(lines) +
      R"(,"gaps":0,"schema":"rows/1","type":"application/x-ndjson",)"
      R"("created":"2026-01-01T00:00:00Z","bytes":)" +
      std::to_string(size) + R"(,"checksum":")" + batch_format::checksum_of(payload) + R"("})";
  std::string batch;
  ByteWriter out(batch);
  out.put(batch_format::kHeaderMagic);
  out.put(static_cast<std::uint32_t>(json.size()));
  read(batch + json + payload);
  return 0;
}
