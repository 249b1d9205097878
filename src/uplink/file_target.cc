// file: each batch as a file of a folder. Written as NAME.partial, synced, renamed, the folder
// synced: under its name a batch is whole. A disk that is full or fails is tried again.
#include "uplink/file_target.h"

#include <algorithm>
#include <utility>

#include "io/files.h"

namespace headwater {
namespace {

constexpr std::string_view kPartial = ".partial";

class FileTarget final : public UplinkTarget {
 public:
  FileTarget(io::Files& files, FileTargetOptions options)
      : files_(files), options_(std::move(options)) {}

  Status start(io::Loop& loop) override {
    loop_ = &loop;
    alive_ = std::make_shared<bool>(true);
    return files_.make_dir(options_.dir.text);
  }

  void send(const EncodedBatch& batch, Done done) override {
    TargetAnswer answer{Receipt::kStored, {}, {}};
    if (Status written = write(batch); !written) {
      answer = {Receipt::kRetry, {}, written.error().text()};
    }
    loop_->post([alive = std::weak_ptr<bool>(alive_), done = std::move(done),
                 answer = std::move(answer)]() mutable {
      if (!alive.expired()) {
        done(std::move(answer));
      }
    });
  }

  void close() override { alive_.reset(); }

 private:
  Status write(const EncodedBatch& batch) {
    const std::string& dir = options_.dir.text;
    const std::string path = dir + "/" + batch_file_name(batch.header);
    if (options_.max_files) {
      const std::vector<std::string> names = HW_TRY(files_.list(dir));
      const auto count = std::count_if(names.begin(), names.end(), [](const std::string& name) {
        return name.ends_with(".jsonl.zst");
      });
      if (static_cast<std::size_t>(count) >= *options_.max_files) {
        return Error::exhausted("{} batches lie in '{}' (max_files): take them away", count, dir);
      }
    }
    const std::string partial = path + std::string(kPartial);
    {
      const std::unique_ptr<io::File> file = HW_TRY(files_.open(partial, io::OpenMode::kCreate));
      HW_TRY(file->truncate(0));
      HW_TRY(file->pwrite(0, batch.bytes));
      HW_TRY(file->sync());
    }
    HW_TRY(files_.rename(partial, path));
    return files_.sync_dir(dir);
  }

  io::Files& files_;
  const FileTargetOptions options_;
  io::Loop* loop_ = nullptr;
  std::shared_ptr<bool> alive_;  // between start() and close()
};

}  // namespace

std::unique_ptr<UplinkTarget> make_file_target(io::Files& files, const FileTargetOptions& options) {
  return std::make_unique<FileTarget>(files, options);
}

std::unique_ptr<UplinkTarget> make_file_target(const FileTargetOptions& options,
                                               const config::Node&, config::Diagnostics&) {
  return make_file_target(io::real_files(), options);
}

}  // namespace headwater
