// LookupFile: a lookup table that follows its file.
//
//   auto file = HW_TRY(LookupFile::open({.file = "assets.csv", .options = {.key = "device_id"}}));
//   file->look(io::mono_now());            // before each batch and at each tick
//   file->table().apply(batch, stats);
//
// The file is looked at about once a second (size, time of change, inode; of a database its
// write-ahead log too). One that differs from what was read is read again once two looks in a row
// found it the same, so that a file being written is left alone; whether it was replaced by rename
// or written in place makes no difference. It is read on a thread of its own, which ends with the
// reading, and taken over whole between two batches, unless the file changed meanwhile.
//
// A file that is gone or wrong changes nothing: the table stays, trouble() says what is wrong until
// the file is good again. A column keeps the type it had at first: a new file whose values do not
// fit is wrong.
//
// look() and table() are for one thread. The destructor waits for a reading that is under way.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "compute/lookup.h"
#include "pipeline/trouble.h"

namespace headwater {

struct LookupSource {
  std::string file;
  std::string table{};      // of a SQLite database; empty: the file is CSV
  LookupOptions options{};  // `name` is the file
};

class LookupFile {
 public:
  // Reads the file now. `trouble` is told what is wrong later; clear when this ends.
  static Result<std::unique_ptr<LookupFile>> open(LookupSource source,
                                                  std::shared_ptr<Trouble> trouble);
  ~LookupFile();

  static constexpr Nanos kLookEvery = std::chrono::seconds(1);

  void look(MonoTime now);
  const LookupTable& table() const { return *table_; }

  std::uint64_t loaded() const { return loaded_count_; }  // since open()
  std::uint64_t failed() const { return failed_count_; }

 private:
  // What tells one content from another; of the database and of its write-ahead log.
  struct Signature {
    std::uint64_t inode = 0;
    std::int64_t size = 0;
    std::int64_t changed = 0;
    std::int64_t log_size = 0;
    std::int64_t log_changed = 0;
    friend bool operator==(const Signature&, const Signature&) = default;
  };
  // A reading of the file, with what it looked like before and after.
  struct Reading {
    Result<LookupTable> table;
    Signature before;
    bool same_after = false;
  };

  LookupFile(LookupSource source, std::shared_ptr<Trouble> trouble)
      : source_(std::move(source)), trouble_(std::move(trouble)) {}

  static Result<Signature> signature_of(const LookupSource& source);
  static Result<Reading> read(const LookupSource& source);
  void take_over(Result<Reading> reading);
  void wrong(const Error& error);

  LookupSource source_;
  std::shared_ptr<Trouble> trouble_;
  std::optional<LookupTable> table_;
  Signature of_table_;                // of what table_ was read from
  std::optional<Signature> seen_;     // at the last look
  std::optional<Signature> refused_;  // of a content that is wrong
  MonoTime next_look_{};
  std::future<Result<Reading>> reading_;
  std::uint64_t loaded_count_ = 0;
  std::uint64_t failed_count_ = 0;
};

}  // namespace headwater
