#include "nodes/enrich/lookup_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "io/files.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr std::string_view kSqliteHead{"SQLite format 3\0", 16};

std::int64_t nanos_of(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

Result<LookupTable> read_csv(const LookupSource& source) {
  const auto file = HW_TRY(io::real_files().open(source.file, io::OpenMode::kRead));
  const std::uint64_t size = HW_TRY(file->size());
  if (size > source.options.max_bytes) {
    return Error::exhausted("{}: {} bytes are more than the limit of {}", source.file, size,
                            source.options.max_bytes);
  }
  std::string text(size, '\0');
  text.resize(HW_TRY(file->pread(0, text.data(), text.size())));
  if (std::string_view(text).starts_with(kSqliteHead)) {
    return Error::invalid("{} is a SQLite database: say which table with table: NAME", source.file);
  }
  return LookupTable::parse(text, source.options);
}

}  // namespace

Result<LookupFile::Signature> LookupFile::signature_of(const LookupSource& source) {
  struct stat status {};
  if (stat(source.file.c_str(), &status) != 0) {
    return Error::from_errno(errno, source.file);
  }
  Signature signature{status.st_ino, status.st_size, nanos_of(status.st_mtim), 0, 0};
  if (!source.table.empty() && stat((source.file + "-wal").c_str(), &status) == 0) {
    signature.log_size = status.st_size;
    signature.log_changed = nanos_of(status.st_mtim);
  }
  return signature;
}

Result<LookupFile::Reading> LookupFile::read(const LookupSource& source) {
  const Signature before = HW_TRY(signature_of(source));
  Result<LookupTable> table =
      source.table.empty() ? read_csv(source)
                           : LookupTable::read_sqlite(source.file, source.table, source.options);
  const Result<Signature> after = signature_of(source);
  return Reading{std::move(table), before, after.ok() && *after == before};
}

Result<std::unique_ptr<LookupFile>> LookupFile::open(LookupSource source,
                                                     std::shared_ptr<Trouble> trouble) {
  source.options.name = source.file;
  Reading reading = HW_TRY(read(source));
  std::unique_ptr<LookupFile> file(new LookupFile(std::move(source), std::move(trouble)));
  file->table_ = HW_TRY(std::move(reading.table));
  file->of_table_ = reading.before;
  file->seen_ = reading.before;
  // Units and types stay what they are now: later steps were checked against them.
  file->source_.options.types = file->table_->schema();
  file->source_.options.take.clear();
  for (const Field& field : file->table_->schema().fields()) {
    file->source_.options.take.push_back(field.name);
  }
  return file;
}

LookupFile::~LookupFile() {
  trouble_->clear();
}

void LookupFile::look(MonoTime now) {
  if (reading_.valid()) {
    if (reading_.wait_for(Nanos{0}) != std::future_status::ready) {
      return;
    }
    take_over(reading_.get());
  }
  if (now < next_look_) {
    return;
  }
  next_look_ = now + kLookEvery;
  const Result<Signature> found = signature_of(source_);
  if (!found) {
    // Replacing a file may take a moment in which there is none.
    if (!seen_) {
      wrong(found.error());
    }
    seen_.reset();
    return;
  }
  const bool settled = seen_ == *found;
  seen_ = *found;
  if (*found == of_table_) {
    refused_.reset();
    trouble_->clear();
  } else if (settled && refused_ != *found) {
    try {
      reading_ = std::async(std::launch::async, [source = source_] { return read(source); });
    } catch (const std::system_error& error) {
      wrong(Error::exhausted("{}: no thread to read it with: {}", source_.file, error.what()));
    }
  }
}

void LookupFile::take_over(Result<Reading> reading) {
  if (!reading) {
    wrong(reading.error());
    return;
  }
  if (!reading->same_after) {
    return;  // it changed while it was read: the next looks decide
  }
  if (!reading->table) {
    // A locked database is as good as one that is being written.
    if (reading->table.error().code() != Code::kUnavailable) {
      refused_ = reading->before;
    }
    ++failed_count_;
    wrong(reading->table.error());
    return;
  }
  table_ = std::move(*reading->table);
  of_table_ = reading->before;
  refused_.reset();
  ++loaded_count_;
  trouble_->clear();
  log::info("lookup table read again", {{"file", source_.file}, {"rows", table_->rows()}});
}

void LookupFile::wrong(const Error& error) {
  trouble_->set(fmt::format("{}; the table read before stays", error.text()));
}

}  // namespace headwater
