#include "nodes/sources/file.h"

#include <algorithm>
#include <utility>

#include "nodes/sources/file_records.h"
#include "nodes/sources/open_file.h"
#include "telemetry/log.h"

namespace headwater {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
// What one take() gives at most: with the offset it becomes one frame of the log, also where
// segments are smallest, so that a crash repeats no line. And what it reads, so that it does not
// block on a file of one line.
constexpr std::size_t kTakeBytes = 56 * 1024;
constexpr std::size_t kRowBytes = 64;
constexpr std::size_t kTakeReads = 16;
constexpr std::string_view kStateKey = "offset";
// Separates identities that are a place in a file from others.
constexpr std::uint64_t kPlaceSeed = 0x66696c65706c6163ULL;

// Each file that is read under the name is a partition (the place's generation); positions are
// offsets behind the record, so acknowledged means: everything before this byte is durable.
//
// Following: once all is taken, a timer looks for more. A file that is shorter than what was read,
// or begins otherwise, was cut: it is read anew. Where another file has the name and ours has been
// quiet for a look, ours is finished and the other one is read.
class FileSource final : public Source, public Checkpointed {
 public:
  FileSource(FileSourceOptions options, std::optional<CsvDocumentOptions> csv)
      : options_(std::move(options)), csv_(std::move(csv)) {}

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    if (!follows()) {
      HW_TRY(start_once());
    } else {
      open_next();
      look_again();
    }
    loop.post([] {});  // a first round
    return {};
  }

  Result<More> take(std::size_t room, Batch& batch) override {
    if (paused_ || room == 0 || file_ == nullptr) {
      return More::kNone;
    }
    const MonoTime arrived = io::mono_now();
    const WallTime received = io::wall_now();
    std::size_t bytes = 0;
    std::size_t reads = 0;
    FileRecord record;
    while (batch.rows() < room && bytes < kTakeBytes) {
      const bool found = HW_TRY(records_->next(record).with("{}", options_.path.text));
      place_.offset = records_->offset();
      place_.line = records_->line();
      if (found) {
        bytes += add(record, batch, arrived, received);
      } else if (at_end_) {
        return end_of_file();
      } else if (reads++ == kTakeReads) {
        break;
      } else {
        HW_TRY(fill());
      }
    }
    return More::kYes;
  }

  Status acknowledge(Partition, Position) override { return {}; }
  void pause(bool paused) override {
    if (std::exchange(paused_, paused) && !paused) {
      loop_->post([] {});
    }
  }
  void close() override {
    loop_->cancel(timer_);
    file_.reset();
  }

  void save(StateWriter& state, std::vector<std::pair<Partition, Position>>&) override {
    if (place_.offset == saved_.offset && place_.generation == saved_.generation &&
        place_.file == saved_.file) {
      return;
    }
    if (file_ != nullptr) {
      file_->note_head(place_);
    }
    saved_ = place_;
    state.put(kStateKey, saved_.save());
  }

  Status restore(const StateReader& state) override {
    const std::string blob = state.get(kStateKey);
    if (!blob.empty()) {
      saved_ = place_ = HW_TRY(FilePlace::restore(blob));
      resumes_ = true;
    }
    return {};
  }

 private:
  const std::string& path() const { return options_.path.text; }
  bool follows() const { return options_.read == FileRead::kFollow; }

  Status start_once() {
    auto file = HW_TRY(OpenFile::open(path()));
    const FileFacts facts = HW_TRY(file->facts());
    if (place_.offset > facts.size) {
      return Error::invalid(
          "'{}' is {} bytes, but was read up to byte {}: it is another file now; "
          "give the source another name to read it from its start",
          path(), facts.size, place_.offset);
    }
    if (!file->begins_as(place_)) {
      return Error::invalid(
          "'{}' begins otherwise than when it was read up to byte {}: it is another file now; "
          "give the source another name to read it from its start",
          path(), place_.offset);
    }
    if (csv_) {
      const std::string head = HW_TRY(file->head(csv_->csv.max_record_bytes));
      HW_TRY(check_csv_header(*csv_, head, head.size() == facts.size).with("{}", path()));
    }
    place_.file = facts;
    return use(std::move(file));
  }

  // Goes on in the file at place_.
  Status use(std::unique_ptr<OpenFile> file) {
    if (csv_) {
      std::string head;
      if (place_.offset != 0 && csv_->columns.empty()) {
        head = HW_TRY(file->head(csv_->csv.max_record_bytes));
      }
      records_ = make_csv_records(*csv_, head);
    } else {
      records_ = make_line_records(options_.max_line.bytes);
    }
    records_->start_at(place_.offset, place_.line);
    read_at_ = place_.offset;
    at_end_ = false;
    finishing_ = false;
    quiet_looks_ = 0;
    file_ = std::move(file);
    return {};
  }

  // Following: opens what has to be read next, which may be nothing yet.
  void open_next() {
    Result<std::unique_ptr<OpenFile>> named = OpenFile::open(path());
    const Result<FileFacts> facts =
        named ? (*named)->facts() : Result<FileFacts>(Error(named.error()));
    if (resumes_ && place_.file.inode != 0 && (!facts || !facts->same_file(place_.file))) {
      // It was renamed while nobody looked: the rest of it comes first.
      std::unique_ptr<OpenFile> renamed = OpenFile::find_renamed(path(), place_.file);
      if (renamed != nullptr && goes_on(*renamed)) {
        log::info("a renamed file is read to its end",
                  {{"file", renamed->path()}, {"offset", place_.offset}});
        resumes_ = false;
        (void)use(std::move(renamed));
        return;
      }
    }
    if (!facts) {
      wait_for_file(facts.error());
      return;
    }
    waiting_ = false;
    if (resumes_) {
      const bool known = place_.file.inode == 0 || facts->same_file(place_.file);
      if (!known || !goes_on(**named)) {
        begin_anew(known ? "the file was cut" : "another file has the name");
      }
      resumes_ = false;
    }
    place_.file = *facts;
    if (Status used = use(std::move(*named)); !used) {
      wait_for_file(used.error());
    }
  }

  bool goes_on(const OpenFile& file) const {
    const Result<FileFacts> facts = file.facts();
    return facts && facts->size >= place_.offset && file.begins_as(place_);
  }

  void begin_anew(std::string_view why) {
    log::warn("a file is read from its start",
              {{"file", path()}, {"why", why}, {"read_up_to", place_.offset}});
    const std::uint32_t generation = place_.generation + 1;
    place_ = FilePlace{};
    place_.generation = generation;
  }

  void wait_for_file(const Error& error) {
    if (!std::exchange(waiting_, true)) {
      log::info("waiting for a file", {{"file", path()}, {"reason", error}});
    }
  }

  // Following: on the loop's timer.
  void look() {
    if (file_ == nullptr) {
      open_next();
    } else if (at_end_ && !finishing_) {
      look_at_end();
    }
    if (file_ != nullptr && (!at_end_ || finishing_)) {
      loop_->post([] {});  // a round, in which take() is called
    }
    look_again();
  }

  void look_again() {
    timer_ = loop_->after(options_.poll, [this] { look(); });
  }

  void look_at_end() {
    const Result<FileFacts> ours = file_->facts();
    if (!ours) {
      return;
    }
    if (ours->size < read_at_ || (ours->size > read_at_ && !file_->begins_as(place_))) {
      begin_anew("the file was cut");
      place_.file = *ours;
      (void)reopen();
    } else if (ours->size > read_at_) {
      at_end_ = false;
      quiet_looks_ = 0;
    } else if (const auto named = facts_of(path()); named && !named->same_file(*ours)) {
      // Its writer may hold it open for a moment after the rename.
      if (quiet_looks_++ > 0) {
        records_->finish();
        finishing_ = true;
      }
    }
  }

  Status reopen() {
    file_.reset();
    open_next();
    return {};
  }

  Result<More> end_of_file() {
    if (!follows()) {
      return More::kEnd;
    }
    if (finishing_) {
      log::info("a file is read to its end, another one has its name",
                {{"file", path()}, {"bytes", place_.offset}});
      const std::uint32_t generation = place_.generation + 1;
      place_ = FilePlace{};
      place_.generation = generation;
      file_.reset();
      open_next();
      return file_ != nullptr ? More::kYes : More::kNone;
    }
    return More::kNone;
  }

  // More of the file behind what was read.
  Status fill() {
    chunk_.resize(kReadBytes);
    const std::size_t got = HW_TRY(file_->pread(read_at_, chunk_.data(), kReadBytes));
    read_at_ += got;
    records_->feed(std::string_view(chunk_).substr(0, got));
    if (got == 0) {
      at_end_ = true;
      if (!follows()) {
        records_->finish();
      }
    }
    return {};
  }

  // Returns about what it takes in the store.
  std::size_t add(const FileRecord& record, Batch& batch, MonoTime arrived, WallTime received) {
    Row row;
    row.payload = batch.arena().copy(record.text);
    row.topic = batch.arena().copy(path());
    row.received = received;
    row.time = received;
    row.arrived = arrived;
    row.partition = place_.generation;
    row.position = place_.offset;
    const std::string place =
        place_.generation == 0 ? fmt::format("{}:{}", path(), record.begin)
                               : fmt::format("{}:{}:{}", path(), place_.generation, record.begin);
    row.identity = hash128(place, kPlaceSeed);
    if (!record.note.empty()) {
      row.flags |= kRowUndecoded;
      row.note = batch.arena().copy(record.note);
    }
    batch.add_row(row);
    return record.text.size() + kRowBytes;
  }

  FileSourceOptions options_;
  std::optional<CsvDocumentOptions> csv_;
  io::Loop* loop_ = nullptr;
  io::TimerId timer_ = 0;
  std::unique_ptr<OpenFile> file_;        // null: it is waited for
  std::unique_ptr<FileRecords> records_;  // of file_
  std::string chunk_;                     // reused
  FilePlace place_;                       // behind what was taken
  FilePlace saved_;                       // as it was given to a commit
  std::uint64_t read_at_ = 0;             // offset of the next read
  bool resumes_ = false;                  // place_ is of an earlier process, not found yet
  bool at_end_ = false;                   // the last read found nothing
  bool finishing_ = false;                // another file has the name; this one is done
  bool waiting_ = false;                  // and said so
  std::size_t quiet_looks_ = 0;           // that found nothing new although the name is gone
  bool paused_ = false;
};

}  // namespace

SourceSet make_file_source(const FileSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics) {
  SourceSet set;
  set.declared = declared_schema(options.reading);
  set.declares_id = !options.reading.message_id.empty();
  const bool is_csv = options.reading.format == ReadingFormat::kCsv;
  const ReadingOptions reading = is_csv ? without_csv(options.reading) : options.reading;
  set.make_decode = [reading, node] {
    config::Diagnostics ignored;  // reported below, once
    return make_json_decode(reading, node, ignored);
  };
  if (make_json_decode(reading, node, diagnostics) == nullptr) {
    return set;
  }
  std::optional<CsvDocumentOptions> csv;
  if (is_csv) {
    csv = csv_options(options.reading, node, diagnostics);
    if (!csv) {
      return set;
    }
    csv->csv.max_record_bytes = options.max_line.bytes;
  }
  set.good = true;
  if (!context.loops.empty()) {
    set.sources.resize(context.loops.size());
    const std::size_t worker = hash64(context.name) % context.loops.size();
    set.sources[worker] = std::make_unique<FileSource>(options, std::move(csv));
  }
  return set;
}

}  // namespace headwater
