#include "torture/watched_disk.h"

#include <utility>

namespace headwater::torture {
namespace {

bool is_spare(std::string_view path) {
  return path.ends_with(".spare");
}

}  // namespace

class WatchedDisk::WatchedFile final : public io::File {
 public:
  WatchedFile(WatchedDisk& disk, std::unique_ptr<io::File> file, std::string_view path)
      : disk_(disk), file_(std::move(file)), spare_(is_spare(path)) {}

  Result<std::size_t> pread(std::uint64_t offset, char* to, std::size_t count) const override {
    return file_->pread(offset, to, count);
  }
  Status pwrite(std::uint64_t offset, std::span<const std::string_view> parts) override {
    headed_ = true;
    disk_.before(spare_ ? Boundary::kHeaderWrite : Boundary::kFrameWrite, io::DiskCall::kWrite);
    return file_->pwrite(offset, parts);
  }
  Status sync() override {
    disk_.before(!spare_   ? Boundary::kFrameSync
                 : headed_ ? Boundary::kHeaderWrite
                           : Boundary::kSegmentCreate,
                 io::DiskCall::kSync);
    return file_->sync();
  }
  Status allocate(std::uint64_t size) override {
    disk_.before(Boundary::kSegmentCreate, io::DiskCall::kAllocate);
    return file_->allocate(size);
  }
  Status truncate(std::uint64_t size) override { return file_->truncate(size); }
  Result<std::uint64_t> size() const override { return file_->size(); }

 private:
  WatchedDisk& disk_;
  std::unique_ptr<io::File> file_;
  bool spare_;
  bool headed_ = false;  // a header page was written through this handle
};

void WatchedDisk::arm(Boundary where, Calls calls, std::size_t skip, Strike strike) {
  const std::lock_guard lock(mutex_);
  armed_ = true;
  struck_.store(false);
  where_ = where;
  calls_ = calls;
  skip_ = skip;
  strike_ = std::move(strike);
}

void WatchedDisk::disarm() {
  const std::lock_guard lock(mutex_);
  armed_ = false;
}

void WatchedDisk::before(Boundary boundary, io::DiskCall call) {
  operations_.fetch_add(1);
  const Boundary here = recovering_.load() ? Boundary::kRecovery : boundary;
  const std::lock_guard lock(mutex_);
  if (!armed_ || here != where_ || (calls_ & bit_of(call)) == 0 || skip_-- > 0) {
    return;
  }
  armed_ = false;
  struck_.store(true);
  strike_(call);
}

Result<std::unique_ptr<io::File>> WatchedDisk::open(std::string_view path, io::OpenMode mode) {
  if (mode == io::OpenMode::kCreate) {
    before(Boundary::kSegmentCreate, io::DiskCall::kOpen);
  }
  return std::unique_ptr<io::File>(
      std::make_unique<WatchedFile>(*this, HW_TRY(disk_.open(path, mode)), path));
}

Status WatchedDisk::rename(std::string_view from, std::string_view to) {
  before(is_spare(from) ? Boundary::kRename : Boundary::kRecycle, io::DiskCall::kRename);
  return disk_.rename(from, to);
}

Status WatchedDisk::remove(std::string_view path) {
  before(Boundary::kRecycle, io::DiskCall::kRemove);
  return disk_.remove(path);
}

Status WatchedDisk::sync_dir(std::string_view dir) {
  before(Boundary::kDirSync, io::DiskCall::kSyncDir);
  return disk_.sync_dir(dir);
}

}  // namespace headwater::torture
