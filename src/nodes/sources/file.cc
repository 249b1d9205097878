#include "nodes/sources/file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "io/files.h"

namespace headwater {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::string_view kStateKey = "offset";
// Separates identities that are a place in a file from others.
constexpr std::uint64_t kPlaceSeed = 0x66696c65706c6163ULL;

// Positions are offsets behind the line, so acknowledged means: everything before this byte is durable.
class FileSource final : public Source, public Checkpointed {
 public:
  FileSource(std::string path, std::size_t max_line)
      : path_(std::move(path)), max_line_(max_line) {}

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    file_ = HW_TRY(io::real_files().open(path_, io::OpenMode::kRead));
    const std::uint64_t size = HW_TRY(file_->size());
    if (offset_ > size) {
      return Error::invalid("'{}' is {} bytes, but was read up to byte {}: it is another file now",
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
    while (batch.rows() < room) {
      if (begin_ == buffer_.size() || std::memchr(buffer_.data() + begin_, '\n',
                                                  buffer_.size() - begin_) == nullptr) {
        if (!ended_) {
          HW_TRY(fill());
          if (!ended_ && std::memchr(buffer_.data() + begin_, '\n', buffer_.size() - begin_) ==
                             nullptr) {
            continue;
          }
        }
        if (begin_ == buffer_.size()) {
          break;
        }
      }
      take_line(batch, arrived, received);
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
  Status fill() {
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t have = buffer_.size();
    buffer_.resize(have + kReadBytes);
    const Result<std::size_t> got = file_->pread(offset_ + have, buffer_.data() + have, kReadBytes);
    buffer_.resize(have + (got ? *got : 0));
    HW_TRY(got);
    ended_ = *got == 0;
    return {};
  }

  void take_line(Batch& batch, MonoTime arrived, WallTime received) {
    const char* const from = buffer_.data() + begin_;
    const std::size_t left = buffer_.size() - begin_;
    const void* const newline = std::memchr(from, '\n', left);
    const std::size_t length =
        newline == nullptr ? left : static_cast<std::size_t>(static_cast<const char*>(newline) - from);
    const std::uint64_t place = offset_;
    const std::size_t consumed = length + (newline == nullptr ? 0 : 1);
    begin_ += consumed;
    offset_ += consumed;
    std::string_view line(from, std::min(length, max_line_));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (line.empty()) {
      return;
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
  }

  std::string path_;
  std::size_t max_line_;
  io::Loop* loop_ = nullptr;
  std::unique_ptr<io::File> file_;
  std::string buffer_;            // bytes of the file from offset_ - begin_ on
  std::size_t begin_ = 0;         // of the next line in buffer_
  std::uint64_t offset_ = 0;      // of the next line in the file
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
    set.sources[worker] =
        std::make_unique<FileSource>(options.path.text, options.max_line.bytes);
  }
  return set;
}

}  // namespace headwater
