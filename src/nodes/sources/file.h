// file: reads a file of JSON lines or CSV, once or as it grows, and goes on at its offset after a
// restart.
#pragma once

#include <cstddef>
#include <cstdint>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sources/source_set.h"

namespace headwater {

enum class FileRead : std::uint8_t { kOnce, kFollow };

template <>
inline constexpr auto config::kEnumNames<FileRead> =
    config::enum_names<FileRead>({{"once", FileRead::kOnce}, {"follow", FileRead::kFollow}});

struct FileSourceOptions {
  config::Path path;
  FileRead read = FileRead::kOnce;
  config::ByteSize max_line{1U << 20};
  config::Duration poll = std::chrono::milliseconds(250);
  ReadingOptions reading;
};

template <>
inline constexpr auto config::kSchema<FileSourceOptions> = config::schema<FileSourceOptions>(
    "file",
    "Reads a file of JSON lines or CSV, once or as it grows. Its position is kept with the rows: a "
    "restart goes on where the last commit ended.",
    config::field(
        &FileSourceOptions::path,
        {.name = "path", .doc = "The file.", .example = "readings.jsonl", .required = true}),
    config::field(&FileSourceOptions::read,
                  {.name = "read",
                   .doc = "`once`: up to its end; it must be there. `follow`: goes on as lines are "
                          "added, waits for a file that is missing, and goes on with the new file "
                          "when it was renamed or cut."}),
    config::field(&FileSourceOptions::max_line,
                  {.name = "max_line",
                   .doc = "A longer line becomes a dead letter of its first bytes.",
                   .min = ByteSize{256},
                   .max = ByteSize{64U << 20}}),
    config::field(&FileSourceOptions::poll, {.name = "poll",
                                             .doc = "With `follow`: how often it looks for more.",
                                             .min = std::chrono::milliseconds(10),
                                             .audience = config::Audience::kTuning}),
    config::field(&FileSourceOptions::reading,
                  {.name = "reading", .doc = "How lines become readings.", .flatten = true}));

SourceSet make_file_source(const FileSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
