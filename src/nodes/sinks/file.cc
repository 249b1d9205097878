#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "io/files.h"
#include "nodes/sinks/answers.h"
#include "nodes/sinks/sinks.h"

namespace headwater {
namespace {

class FileSink final : public Sink {
 public:
  explicit FileSink(FileSinkOptions options)
      : options_(std::move(options)), path_(options_.path.text) {}

  Status start(io::Loop&) override {
    closed_ = false;
    return open();
  }

  Status submit(BatchRef batch, Token token) override {
    if (closed_) {
      return Error::unavailable("'{}' is closed", path_);
    }
    std::string lines;
    const std::span<const std::uint32_t> rows = batch->selection();
    std::size_t written = 0;  // of rows
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::string_view line = batch->row(rows[i]).payload;
      if (is_full(lines.size(), line.size() + 1)) {
        Status rotated = append(lines);
        if (rotated) {
          for (; written < i; ++written) {
            answers_.add(token, rows[written], Verdict::kOk);
          }
          lines.clear();
          rotated = rotate();
        }
        if (!rotated) {
          return give_back(token, rows, written, rotated.error());
        }
      }
      lines += line;
      lines += '\n';
    }
    if (const Status appended = append(lines); !appended) {
      return give_back(token, rows, written, appended.error());
    }
    for (; written < rows.size(); ++written) {
      answers_.add(token, rows[written], Verdict::kOk);
    }
    return {};
  }

  std::size_t poll(std::span<Outcome> outcomes) override { return answers_.poll(outcomes); }
  std::string state() const override { return closed_ ? "closed" : "open"; }
  void close() override {
    closed_ = true;
    file_.reset();
  }

 private:
  Status open() {
    file_ = HW_TRY(io::real_files().open(path_, io::OpenMode::kCreate));
    size_ = HW_TRY(file_->size());
    return mend_tail();
  }

  // A kill in the middle of a write leaves half a line, and the spool sends that alert again: the
  // half goes, so that the next line is whole. What we did not write gets its line end instead.
  Status mend_tail() {
    constexpr std::string_view kHead = "{\"id\":\"";
    constexpr std::uint64_t kStep = 64 * 1024;
    std::string tail;
    std::size_t line = std::string::npos;  // where the last line begins in `tail`
    std::uint64_t from = size_;
    while (from > 0 && line == std::string::npos) {
      const std::uint64_t count = std::min(from, kStep);
      std::string block(count, '\0');
      from -= count;
      block.resize(HW_TRY(file_->pread(from, block.data(), count)));
      tail.insert(0, block);
      line = block.rfind('\n');
    }
    const std::string_view last =
        std::string_view(tail).substr(line == std::string::npos ? 0 : line + 1);
    if (last.empty()) {
      return {};
    }
    if (last.starts_with(kHead) || kHead.starts_with(last)) {
      HW_TRY(file_->truncate(size_ - last.size()));
      size_ -= last.size();
      return {};
    }
    return append("\n");
  }

  bool is_full(std::size_t waiting, std::size_t more) const {
    return options_.max_bytes && size_ + waiting > 0 &&
           size_ + waiting + more > options_.max_bytes->bytes;
  }

  // A write that failed half-way is overwritten by the next try: the size moves only when all is on
  // disk.
  Status append(std::string_view lines) {
    if (file_ == nullptr) {
      HW_TRY(open());
    }
    if (lines.empty()) {
      return {};
    }
    HW_TRY(file_->pwrite(size_, lines));
    HW_TRY(file_->sync());
    size_ += lines.size();
    return {};
  }

  // PATH becomes PATH.1, PATH.1 becomes PATH.2, and so on; the oldest is overwritten.
  Status rotate() {
    io::Files& files = io::real_files();
    for (int i = options_.keep; i > 0; --i) {
      const std::string from = i == 1 ? path_ : fmt::format("{}.{}", path_, i - 1);
      const Status renamed = files.rename(from, fmt::format("{}.{}", path_, i));
      if (!renamed && renamed.error().code() != Code::kNotFound) {
        return renamed.error();
      }
    }
    file_.reset();
    HW_TRY(open());
    const std::size_t slash = path_.rfind('/');
    return files.sync_dir(slash == std::string::npos ? "." : path_.substr(0, slash + 1));
  }

  // Rows that are on disk are answered already; kUnavailable only where none is.
  Status give_back(Token token, std::span<const std::uint32_t> rows, std::size_t written,
                   const Error& error) {
    if (written == 0) {
      return Error(Code::kUnavailable, error.text());
    }
    for (; written < rows.size(); ++written) {
      answers_.add(token, rows[written], Verdict::kRetry);
    }
    return {};
  }

  const FileSinkOptions options_;
  const std::string path_;
  std::unique_ptr<io::File>
      file_;  // null when it is closed, or could not be opened after a rotation
  std::uint64_t size_ = 0;
  bool closed_ = true;
  Answers answers_;
};

}  // namespace

std::unique_ptr<Sink> make_file_sink(const FileSinkOptions& options, const config::Node&,
                                     const SinkContext&, config::Diagnostics&) {
  return std::make_unique<FileSink>(options);
}

}  // namespace headwater
