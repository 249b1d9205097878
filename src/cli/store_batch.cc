// headwater store batch FILE: an upload batch, checked.
#include <cstdio>
#include <string>

#include "base/strings.h"
#include "base/time.h"
#include "cli/command.h"
#include "cli/store_view.h"
#include "columnar/batch_reader.h"
#include "io/files.h"

namespace headwater {
namespace {

// Lines only when all of them are good.
Result<std::string> all_lines(BatchReader& reader, std::string_view bytes) {
  std::string lines;
  HW_TRY(reader.open(bytes));
  while (HW_TRY(reader.next()) != BatchItem::kEnd) {
    lines += reader.line();
    lines += '\n';
  }
  return lines;
}

std::string describe(const BatchHeader& header, bool json) {
  if (json) {
    std::string edge;
    append_json_string(edge, header.edge);
    std::string clock;
    for (const BatchClock& moment : header.clock) {
      clock +=
          fmt::format(R"({}{{"sequence":{},"boot":"{}","mono":{},"before":"{}","after":"{}"}})",
                      clock.empty() ? "" : ",", moment.sequence, moment.boot.hex(), moment.mono.ns,
                      format_rfc3339(moment.before), format_rfc3339(moment.after));
    }
    return fmt::format(
        R"({{"edge":{},"spool":"{}","lane":"{}","first":{},"last":{},"rows":{},"gaps":{},)"
        R"("created":"{}","bytes":{},"checksum":"{}","clock":[{}]}})",
        edge, header.spool.hex(), header.lane, header.first, header.last, header.rows, header.gaps,
        format_rfc3339(header.created), header.bytes, header.checksum, clock);
  }
  std::string clock;
  for (const BatchClock& moment : header.clock) {
    clock += fmt::format("\nclock     set at sequence {}, from {} to {}", moment.sequence,
                         format_rfc3339(moment.before), format_rfc3339(moment.after));
  }
  return fmt::format(
      "edge      {}\nspool     {}\nlane      {}\nsequences {} to {}: {} rows, {} gaps\n"
      "created   {}\nbytes     {}\nchecksum  {}{}",
      header.edge, header.spool.hex(), header.lane, header.first, header.last, header.rows,
      header.gaps, format_rfc3339(header.created), header.bytes, header.checksum, clock);
}

}  // namespace

int store_batch(const BatchFlags& flags) {
  const Result<std::string> bytes = io::real_files().read_all(flags.file);
  if (!bytes) {
    return fail(bytes.error());
  }
  BatchReader reader;
  const Result<std::string> lines = all_lines(reader, *bytes).with("'{}'", flags.file);
  if (!lines) {
    return fail(lines.error());
  }
  const std::string& text = flags.rows ? *lines : describe(reader.header(), flags.json) + "\n";
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  return written ? 0 : fail(Error::unavailable("standard output cannot be written"));
}

}  // namespace headwater
