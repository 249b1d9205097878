// headwater store cat and export: rows with their decisions.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <deque>
#include <functional>
#include <memory>

#include "base/strings.h"
#include "base/time.h"
#include "cli/command.h"
#include "cli/store_dir.h"
#include "cli/store_view.h"
#include "data/batch.h"
#include "store/fsck.h"

namespace headwater {
namespace {

// A decision is a record behind its row; rows wait for it, at most so many.
constexpr std::size_t kMaxWaiting = 65'536;

struct ReadingRow {
  std::uint64_t sequence = 0;
  std::uint16_t stream = 0;
  WallTime time;
  WallTime received;
  std::uint32_t flags = 0;
  Id128 identity;
  std::string device;
  std::string topic;
  std::string sender;
  std::string payload;
  std::string note;
  bool decided = false;
  bool alerted = false;
  double score = std::nan("");
  std::string model_digest;
};

std::string to_json(const ReadingRow& row, Lane lane) {
  std::string out =
      fmt::format("{{\"lane\":\"{}\",\"sequence\":{},\"stream\":{},\"device_id\":", lane_name(lane),
                  row.sequence, row.stream);
  append_json_string(out, row.device);
  out +=
      fmt::format(",\"timestamp\":\"{}\",\"received\":\"{}\",\"topic\":", format_rfc3339(row.time),
                  format_rfc3339(row.received));
  append_json_string(out, row.topic);
  out += ",\"sender\":";
  append_json_string(out, row.sender);
  out += fmt::format(",\"identity\":\"{}\",\"time_missing\":{},\"late\":{}", row.identity.hex(),
                     (row.flags & kRowTimeMissing) != 0, (row.flags & kRowLate) != 0);
  if (lane == Lane::kReadings) {
    out += ",\"score\":";
    append_json_number(out, row.score);
    out += fmt::format(",\"decided\":{},\"alerted\":{},\"model_digest\":\"{}\"", row.decided,
                       row.alerted, row.model_digest);
  }
  if (!row.note.empty()) {
    out += ",\"note\":";
    append_json_string(out, row.note);
  }
  out += ",\"payload\":";
  append_json_string(out, row.payload);
  if (!is_utf8(row.payload)) {
    out += fmt::format(",\"payload_hex\":\"{}\"", to_hex(row.payload));
  }
  return out + "}";
}

struct RowFilter : ReadFilter {
  Lane lane = Lane::kReadings;

  bool takes(const StoredRow& row) const {
    return (device.empty() || row.device == device) && row.time >= from && row.time < to;
  }
};

Result<RowFilter> filter_of(const StoreFlags& flags) {
  RowFilter filter;
  const auto lane = parse_lane(flags.lane);
  if (!lane) {
    return Error::invalid(
        "no lane '{}'; lanes are alerts, readings, samples, dead_letter and debug", flags.lane);
  }
  filter.lane = *lane;
  filter.device = flags.device;
  if (!flags.from.empty()) {
    filter.from = HW_TRY(parse_rfc3339(flags.from).with("--from"));
  }
  if (!flags.to.empty()) {
    filter.to = HW_TRY(parse_rfc3339(flags.to).with("--to"));
  }
  return filter;
}

// Rows in the order of sequence, each once its decision is known or too many wait.
class RowWalk {
 public:
  // Pauses the filter while a row waits for its decision.
  RowWalk(RowFilter& filter, std::uint64_t limit, std::function<bool(const ReadingRow&)> use)
      : filter_(filter), left_(limit == 0 ? ~std::uint64_t{0} : limit), use_(std::move(use)) {}

  Status walk(SpoolReader& reader) {
    for (;;) {
      filter_.paused = !waiting_.empty();
      switch (HW_TRY(reader.next())) {
        case ReadItem::kEnd:
          return flush(0);
        case ReadItem::kRow:
          add(reader.row());
          HW_TRY(flush(filter_.lane == Lane::kReadings ? kMaxWaiting : 0));
          break;
        case ReadItem::kDecisions:
          decide(reader.decisions());
          HW_TRY(flush_decided());
          break;
        case ReadItem::kGap:
          break;
      }
      if (left_ == 0) {
        return {};
      }
    }
  }

 private:
  void add(const ReadRow& read) {
    const StoredRow& row = read.row;
    if (!filter_.takes(row)) {
      return;
    }
    waiting_.push_back({.sequence = read.sequence,
                        .stream = read.stream,
                        .time = row.time,
                        .received = row.received,
                        .flags = row.flags,
                        .identity = row.identity,
                        .device = std::string(row.device),
                        .topic = std::string(row.topic),
                        .sender = std::string(row.sender),
                        .payload = std::string(row.payload),
                        .note = std::string(row.note),
                        .model_digest = {}});
  }

  void decide(const Decisions& decisions) {
    for (ReadingRow& row : waiting_) {
      std::size_t index = 0;
      if (!decisions.sequences.empty()) {
        const auto found =
            std::lower_bound(decisions.sequences.begin(), decisions.sequences.end(), row.sequence);
        if (found == decisions.sequences.end() || *found != row.sequence) {
          continue;
        }
        index = static_cast<std::size_t>(found - decisions.sequences.begin());
      } else if (row.sequence < decisions.first ||
                 row.sequence >= decisions.first + decisions.count) {
        if (row.sequence > decisions.first) {
          break;
        }
        continue;
      } else {
        index = static_cast<std::size_t>(row.sequence - decisions.first);
      }
      row.decided = true;
      row.score = index < decisions.scores.size() ? decisions.scores[index] : std::nan("");
      row.alerted = index < decisions.alerted.size() && decisions.alerted[index] != 0;
      row.model_digest = decisions.model_digest;
    }
  }

  Status flush_decided() {
    while (!waiting_.empty() && waiting_.front().decided) {
      HW_TRY(use_front());
    }
    return {};
  }
  Status flush(std::size_t keep) {
    while (waiting_.size() > keep) {
      HW_TRY(use_front());
    }
    return {};
  }
  Status use_front() {
    if (left_ == 0) {
      waiting_.clear();
      return {};
    }
    --left_;
    if (!use_(waiting_.front())) {
      return Error::from_errno(errno, "write");
    }
    waiting_.pop_front();
    return {};
  }

  RowFilter& filter_;
  std::uint64_t left_;
  std::function<bool(const ReadingRow&)> use_;
  std::deque<ReadingRow> waiting_;
};

Status walk_rows(const StoreFlags& flags, const std::function<bool(const ReadingRow&, Lane)>& use) {
  RowFilter filter = HW_TRY(filter_of(flags));
  const std::unique_ptr<SpoolView> view =
      HW_TRY(SpoolView::open(io::real_files(), spool_dir(flags.dir)));
  const std::unique_ptr<SpoolReader> reader = view->read(
      filter.lane, flags.sequence,
      {.stream = std::nullopt, .decisions = filter.lane == Lane::kReadings, .filter = &filter});
  RowWalk walk(filter, flags.limit, [&](const ReadingRow& row) { return use(row, filter.lane); });
  return walk.walk(*reader);
}

bool write_line(std::FILE* to, const std::string& line) {
  return std::fwrite(line.data(), 1, line.size(), to) == line.size() && std::fputc('\n', to) != EOF;
}

}  // namespace

int store_cat(const StoreFlags& flags) {
  const Status walked = walk_rows(flags, [&](const ReadingRow& row, Lane lane) {
    if (flags.json) {
      return write_line(stdout, to_json(row, lane));
    }
    std::string line =
        fmt::format("{}\t{}\t{}", row.sequence, format_rfc3339(row.time), row.device);
    if (lane == Lane::kReadings) {
      line += std::isnan(row.score) ? std::string("\t-") : fmt::format("\t{:.4f}", row.score);
    } else if (!row.note.empty()) {
      line += "\t" + row.note;
    }
    return write_line(stdout, line + "\t" + row.payload);
  });
  return walked ? 0 : fail(walked.error());
}

int store_export(const StoreFlags& flags) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(nullptr, std::fclose);
  std::FILE* to = stdout;
  if (flags.out != "-") {
    file.reset(std::fopen(flags.out.c_str(), "we"));
    if (file == nullptr) {
      return fail(Error::from_errno(errno, "create '" + flags.out + "'"));
    }
    to = file.get();
  }
  std::uint64_t rows = 0;
  const Status walked = walk_rows(flags, [&](const ReadingRow& row, Lane lane) {
    ++rows;
    return write_line(to, flags.raw ? row.payload : to_json(row, lane));
  });
  if (!walked) {
    return fail(walked.error());
  }
  if (std::fflush(to) != 0) {
    return fail(Error::from_errno(errno, "write '" + flags.out + "'"));
  }
  if (flags.out != "-") {
    std::fprintf(stderr, "%llu rows written to %s\n", static_cast<unsigned long long>(rows),
                 flags.out.c_str());
  }
  return 0;
}

}  // namespace headwater
