#include "nodes/sources/file.h"

#include <algorithm>
#include <utility>

#include "io/files.h"

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

// Positions are offsets behind the line, so acknowledged means: everything before this byte is
// durable.
class FileSource final : public Source, public Checkpointed {
 public:
  FileSource(std::string path, std::size_t max_line)
      : path_(std::move(path)), max_line_(max_line) {}

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    file_ = HW_TRY(io::real_files().open(path_, io::OpenMode::kRead));
    const std::uint64_t size = HW_TRY(file_->size());
    if (offset_ > size) {
      return Error::invalid(
          "'{}' is {} bytes, but was read up to byte {}: it is another file now; "
          "give the source another name to read it from its start",
          path_, size, offset_);
    }
    loop.post([] {});  // a first round
    return {};
  }

  Result<More> take(std::size_t room, Batch& batch) override {
    if (paused_ || room == 0) {
      return More::kNone;
    }
    const MonoTime arrived = io::mono_now();
    const WallTime received = io::wall_now();
    std::size_t bytes = 0;
    std::size_t reads = 0;
    while (batch.rows() < room && bytes < kTakeBytes) {
      const std::size_t newline = buffer_.find('\n', begin_ + scanned_);
      if (newline == std::string::npos && !ended_) {
        if (reads++ == kTakeReads) {
          break;
        }
        HW_TRY(fill());
        continue;
      }
      if (begin_ == buffer_.size()) {
        break;  // the end
      }
      bytes += take_line(newline, batch, arrived, received);
    }
    return ended_ && begin_ == buffer_.size() ? More::kEnd : More::kYes;
  }

  Status acknowledge(Partition, Position) override { return {}; }
  void pause(bool paused) override {
    if (std::exchange(paused_, paused) && !paused) {
      loop_->post([] {});
    }
  }
  void close() override { file_.reset(); }

  void save(StateWriter& state, std::vector<std::pair<Partition, Position>>&) override {
    if (offset_ == saved_) {
      return;
    }
    saved_ = offset_;
    std::string blob;
    ByteWriter(blob).put_varint(offset_);
    state.put(kStateKey, blob);
  }

  Status restore(const StateReader& state) override {
    const std::string blob = state.get(kStateKey);
    if (!blob.empty()) {
      ByteReader reader(blob);
      offset_ = reader.get_varint();
      saved_ = offset_;
    }
    return {};
  }

 private:
  // More of the file behind what is in the buffer, which holds no whole line.
  Status fill() {
    buffer_.erase(0, begin_);
    begin_ = 0;
    scanned_ = buffer_.size();
    if (buffer_.size() > max_line_) {  // of a longer line only this much is kept
      dropped_ += buffer_.size() - max_line_;
      buffer_.resize(max_line_);
      scanned_ = max_line_;
    }
    const std::size_t have = buffer_.size();
    buffer_.resize(have + kReadBytes);
    const Result<std::size_t> got =
        file_->pread(offset_ + have + dropped_, buffer_.data() + have, kReadBytes);
    buffer_.resize(have + (got ? *got : 0));
    HW_TRY(got);
    ended_ = *got == 0;
    return {};
  }

  // The line that begins at begin_ and ends before `newline`, or at the end of the file. Returns
  // about what it takes in the store.
  std::size_t take_line(std::size_t newline, Batch& batch, MonoTime arrived, WallTime received) {
    const std::size_t end = newline == std::string::npos ? buffer_.size() : newline;
    const std::uint64_t place = offset_;
    std::string_view line(buffer_.data() + begin_, std::min(end - begin_, max_line_));
    const std::size_t consumed = end - begin_ + (newline == std::string::npos ? 0 : 1);
    begin_ += consumed;
    offset_ += consumed + std::exchange(dropped_, 0);
    scanned_ = 0;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty()) {
      return 0;
    }
    Row row;
    row.payload = batch.arena().copy(line);
    row.topic = batch.arena().copy(path_);
    row.received = received;
    row.time = received;
    row.arrived = arrived;
    row.identity = hash128(path_ + ":" + std::to_string(place), kPlaceSeed);
    row.position = offset_;
    batch.add_row(row);
    return line.size() + kRowBytes;
  }

  std::string path_;
  std::size_t max_line_;
  io::Loop* loop_ = nullptr;
  std::unique_ptr<io::File> file_;
  std::string buffer_;         // bytes of the file; at most a line and a read
  std::size_t begin_ = 0;      // of the next line in buffer_
  std::size_t scanned_ = 0;    // bytes from there on that hold no newline
  std::uint64_t dropped_ = 0;  // bytes of that line that stood behind max_line_ and are gone
  std::uint64_t offset_ = 0;   // of the next line in the file
  std::uint64_t saved_ = 0;
  bool ended_ = false;
  bool paused_ = false;
};

}  // namespace

SourceSet make_file_source(const FileSourceOptions& options, const config::Node& node,
                           const SourceContext& context, config::Diagnostics& diagnostics) {
  SourceSet set;
  set.declared = declared_schema(options.reading);
  set.declares_id = !options.reading.message_id.empty();
  set.make_decode = [reading = options.reading, node] {
    config::Diagnostics ignored;  // reported below, once
    return make_json_decode(reading, node, ignored);
  };
  if (make_json_decode(options.reading, node, diagnostics) == nullptr) {
    return set;
  }
  set.good = true;
  if (!context.loops.empty()) {
    set.sources.resize(context.loops.size());
    const std::size_t worker = hash64(context.name) % context.loops.size();
    set.sources[worker] = std::make_unique<FileSource>(options.path.text, options.max_line.bytes);
  }
  return set;
}

}  // namespace headwater
