#include "columnar/batch_writer.h"

#include <simdjson.h>
#include <zstd.h>

#include <algorithm>

#include "base/strings.h"
#include "columnar/payload.h"

namespace headwater {
namespace {

// Deeper payloads go as base64: the line around them must stay within the depth that readers take.
constexpr std::size_t kMaxDepth = 512;

void append_text(std::string& out, std::string_view name, std::string_view value) {
  out += ",\"";
  out += name;
  out += "\":";
  append_json_string(out, value);
}

void append_time(std::string& out, std::string_view name, WallTime value) {
  out += ",\"";
  out += name;
  out += "\":\"";
  append_rfc3339(out, value);
  out += '"';
}

std::string header_json(const BatchHeader& header) {
  std::string out = fmt::format("{{\"format\":{}", kBatchFormat);
  append_text(out, "edge", header.edge);
  append_text(out, "spool", header.spool.hex());
  append_text(out, "lane", header.lane);
  out += fmt::format(",\"first\":{},\"last\":{},\"rows\":{},\"gaps\":{}", header.first, header.last,
                     header.rows, header.gaps);
  append_text(out, "schema", kBatchSchema);
  append_text(out, "type", kBatchPayloadType);
  append_time(out, "created", header.created);
  out += fmt::format(",\"bytes\":{}", header.bytes);
  append_text(out, "checksum", header.checksum);
  std::string_view before = ",\"clock\":[";
  for (const BatchClock& clock : header.clock) {
    out += fmt::format("{}{{\"sequence\":{}", before, clock.sequence);
    append_text(out, "boot", clock.boot.hex());
    out += fmt::format(",\"mono\":{}", clock.mono.ns);
    append_time(out, "before", clock.before);
    append_time(out, "after", clock.after);
    out += '}';
    before = ",";
  }
  out += header.clock.empty() ? "" : "]";
  return out + "}";
}

}  // namespace

struct BatchWriter::Codec {
  Codec() : zstd(ZSTD_createCCtx()) { HW_CHECK(zstd != nullptr, "out of memory ends the process"); }
  ~Codec() { ZSTD_freeCCtx(zstd); }
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  bool is_json_line(std::string_view payload) {
    if (trim(payload).size() != payload.size() || payload.empty() ||
        payload.find_first_of("\r\n") != std::string_view::npos) {
      return false;
    }
    if (payload.size() > json.capacity() &&
        json.allocate(std::max<std::size_t>(payload.size(), 4096), kMaxDepth) != 0) {
      return false;
    }
    simdjson::dom::element element;
    return json.parse(payload.data(), payload.size()).get(element) == simdjson::SUCCESS;
  }

  ZSTD_CCtx* zstd;
  simdjson::dom::parser json;
};

BatchWriter::BatchWriter() : codec_(std::make_unique<Codec>()) {}
BatchWriter::~BatchWriter() = default;

void BatchWriter::begin(const BatchHeader& header) {
  header_ = header;
  header_.rows = 0;
  header_.gaps = 0;
  next_ = header.first;
  lines_.clear();
}

Status BatchWriter::add(const BatchRow& row) {
  if (row.sequence != next_) {
    return Error::internal("a batch wants sequence {}, not {}", next_, row.sequence);
  }
  append_row(row);
  ++next_;
  ++header_.rows;
  return {};
}

void BatchWriter::append_row(const BatchRow& row) {
  std::string& out = lines_;
  out += fmt::format("{{\"seq\":{}", row.sequence);
  append_text(out, "device", row.device);
  append_time(out, "time", row.time);
  append_time(out, "received", row.received);
  append_text(out, "topic", row.topic);
  if (!row.sender.empty() && row.sender != row.device) {
    append_text(out, "sender", row.sender);
  }
  if (row.identity != Id128{}) {
    append_text(out, "id", row.identity.hex());
  }
  if (row.time_missing) {
    out += ",\"time_missing\":true";
  }
  if (row.late) {
    out += ",\"late\":true";
  }
  if (row.offline) {
    out += ",\"offline\":true";
  }
  if (!row.note.empty()) {
    append_text(out, "note", row.note);
  }
  if (row.decided) {
    append_text(out, "pipeline", row.pipeline);
    out += ",\"score\":";
    append_json_number(out, row.score);
    if (row.alerted) {
      out += ",\"alerted\":true";
    }
    if (!row.model.empty()) {
      append_text(out, "model", row.model);
    }
  }
  if (codec_->is_json_line(row.payload)) {
    out += ",\"payload\":";
    out += row.payload;
  } else {
    out += ",\"payload_base64\":\"";
    batch_format::append_base64(out, row.payload);
    out += '"';
  }
  out += "}\n";
}

Status BatchWriter::add(const BatchGap& gap) {
  if (gap.first != next_ || gap.last < gap.first) {
    return Error::internal("a batch wants sequence {}, not a gap {}-{}", next_, gap.first,
                           gap.last);
  }
  lines_ += fmt::format("{{\"gap\":{{\"first\":{},\"last\":{},\"rows\":{}", gap.first, gap.last,
                        gap.rows);
  append_text(lines_, "reason", gap.reason);
  append_time(lines_, "from", gap.from);
  append_time(lines_, "to", gap.to);
  lines_ += "}}\n";
  next_ = gap.last + 1;
  ++header_.gaps;
  return {};
}

Result<EncodedBatch> BatchWriter::finish(std::uint64_t last, WallTime created, int level) {
  if (next_ != last + 1 || last < header_.first) {
    return Error::internal("a batch of {}-{} ends at {}", header_.first, last, next_ - 1);
  }
  ZSTD_CCtx* const zstd = codec_->zstd;
  ZSTD_CCtx_reset(zstd, ZSTD_reset_session_and_parameters);
  ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
  std::string payload(ZSTD_compressBound(lines_.size()), '\0');
  const std::size_t size =
      ZSTD_compress2(zstd, payload.data(), payload.size(), lines_.data(), lines_.size());
  if (ZSTD_isError(size) != 0) {
    return Error::internal("zstd: {}", ZSTD_getErrorName(size));
  }
  payload.resize(size);
  EncodedBatch batch{header_, {}};
  std::erase_if(batch.header.clock, [&](const BatchClock& clock) {
    return clock.sequence < header_.first || clock.sequence > last;
  });
  batch.header.last = last;
  batch.header.created = created;
  batch.header.bytes = lines_.size();
  batch.header.checksum = batch_format::checksum_of(payload);
  const std::string json = header_json(batch.header);
  if (json.size() > batch_format::kMaxHeader) {
    return Error::invalid("the edge id is too long for a batch: {} bytes", header_.edge.size());
  }
  ByteWriter out(batch.bytes);
  batch.bytes.reserve(batch_format::kHeaderStart + json.size() + payload.size());
  out.put(batch_format::kHeaderMagic);
  out.put(static_cast<std::uint32_t>(json.size()));
  out.put_bytes(json);
  out.put_bytes(payload);
  return batch;
}

}  // namespace headwater
