#include <utility>

#include "io/files.h"
#include "nodes/sinks/answers.h"
#include "nodes/sinks/sinks.h"

namespace headwater {
namespace {

class FileSink final : public Sink {
 public:
  explicit FileSink(std::string path) : path_(std::move(path)) {}

  Status start(io::Loop&) override {
    file_ = HW_TRY(io::real_files().open(path_, io::OpenMode::kCreate));
    size_ = HW_TRY(file_->size());
    return {};
  }

  Status submit(BatchRef batch, Token token) override {
    if (file_ == nullptr) {
      return Error::unavailable("'{}' is closed", path_);
    }
    std::string lines;
    for (const std::uint32_t row : batch->selection()) {
      lines += batch->row(row).payload;
      lines += '\n';
    }
    // A write that failed half-way is overwritten by the next try: the size moves only when all is
    // on disk.
    Status written = file_->pwrite(size_, lines);
    if (written) {
      written = file_->sync();
    }
    if (!written) {
      return Error(Code::kUnavailable, written.error().text());
    }
    size_ += lines.size();
    for (const std::uint32_t row : batch->selection()) {
      answers_.add(token, row, Verdict::kOk);
    }
    return {};
  }

  std::size_t poll(std::span<Outcome> outcomes) override { return answers_.poll(outcomes); }
  std::string state() const override { return file_ == nullptr ? "closed" : "open"; }
  void close() override { file_.reset(); }

 private:
  std::string path_;
  std::unique_ptr<io::File> file_;
  std::uint64_t size_ = 0;
  Answers answers_;
};

}  // namespace

std::unique_ptr<Sink> make_file_sink(const FileSinkOptions& options, const config::Node&,
                                     const SinkContext&, config::Diagnostics&) {
  return std::make_unique<FileSink>(options.path.text);
}

}  // namespace headwater
