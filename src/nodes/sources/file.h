// file: reads JSON lines from a file, once, and goes on at its offset after a restart.
#pragma once

#include <cstddef>

#include "config/diagnostics.h"
#include "config/schema.h"
#include "nodes/sources/source_set.h"

namespace headwater {

struct FileSourceOptions {
  config::Path path;
  config::ByteSize max_line{1U << 20};
  ReadingOptions reading;
};

template <>
inline constexpr auto config::kSchema<FileSourceOptions> = config::schema<FileSourceOptions>(
    "file",
    "Reads a file of JSON lines once. Its position is kept with the rows: a restart goes on where "
    "the last commit ended.",
    config::field(
        &FileSourceOptions::path,
        {.name = "path", .doc = "The file.", .example = "readings.jsonl", .required = true}),
    config::field(&FileSourceOptions::max_line,
                  {.name = "max_line",
                   .doc = "A longer line becomes a dead letter of its first bytes.",
                   .min = ByteSize{256},
                   .max = ByteSize{64U << 20}}),
    config::field(&FileSourceOptions::reading,
                  {.name = "reading", .doc = "How lines become readings.", .flatten = true}));

SourceSet make_file_source(const FileSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics);

}  // namespace headwater
