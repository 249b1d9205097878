#include "io/fault_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <set>
#include <utility>

#include "base/result.h"

namespace headwater::io {
namespace {

constexpr std::size_t kSector = 512;

}  // namespace

struct FaultFiles::Inode {
  std::string bytes;
  std::uint64_t synced_size = 0;
  // What the platter holds of sectors that differ from `bytes`, by sector number.
  std::map<std::size_t, std::string> dirty;  // the next sync writes them
  std::map<std::size_t, std::string> lost;   // a sync failed on them: no later one will

  std::string platter_sector(std::size_t sector) const {
    const std::size_t from = sector * kSector;
    std::string old(kSector, '\0');
    if (from < bytes.size()) {
      const std::size_t have = std::min(kSector, bytes.size() - from);
      std::memcpy(old.data(), bytes.data() + from, have);
    }
    return old;
  }

  void write(std::uint64_t offset, std::string_view what) {
    if (what.empty()) {
      return;
    }
    const auto end = static_cast<std::size_t>(offset) + what.size();
    for (std::size_t s = static_cast<std::size_t>(offset) / kSector; s * kSector < end; ++s) {
      if (const auto found = lost.find(s); found != lost.end()) {
        dirty.emplace(s, std::move(found->second));
        lost.erase(found);
      } else if (dirty.find(s) == dirty.end()) {
        dirty.emplace(s, platter_sector(s));
      }
    }
    if (bytes.size() < end) {
      bytes.resize(end, '\0');
    }
    std::memcpy(bytes.data() + offset, what.data(), what.size());
  }

  void restore(std::size_t sector, const std::string& old) {
    const std::size_t from = sector * kSector;
    if (from < bytes.size()) {
      std::memcpy(bytes.data() + from, old.data(), std::min(kSector, bytes.size() - from));
    }
  }
};

struct FaultFiles::Disk {
  struct Fault {
    DiskCall call;
    int error_number;
    std::size_t count;
    std::size_t skip;
    std::string part;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>, std::less<>>;
  struct NameChange {
    std::string dir;
    std::function<void(Names&)> apply;
  };

  mutable std::mutex mutex;
  std::mt19937_64 random;
  Names names;                      // as the process sees them
  Names durable;                    // as the platter has them
  std::vector<NameChange> pending;  // in order
  std::set<std::string, std::less<>> locks;
  std::vector<Fault> faults;
  std::uint64_t capacity = ~std::uint64_t{0};
  std::uint64_t life = 0;  // handles of another life are dead
  bool off = false;
  std::optional<std::size_t> off_after;
  std::size_t changes = 0;
  std::size_t syncs = 0;
  std::uint64_t written = 0;

  static std::string dir_of(std::string_view path) {
    const auto slash = path.rfind('/');
    return slash == std::string_view::npos ? "." : std::string(path.substr(0, slash));
  }

  static Error dark() { return Error::unavailable("the power is off"); }

  std::uint64_t used() const {
    std::uint64_t sum = 0;
    for (const auto& [name, inode] : names) {
      sum += inode->bytes.size();
    }
    return sum;
  }

  // Counts a change; says whether it may happen. *failed: it must do half its work, then fail.
  Status admit(DiskCall call, std::string_view path, std::uint64_t of_life) {
    if (off || of_life != life) {
      return dark();
    }
    ++changes;
    if (off_after) {
      if (*off_after <= 1) {
        off = true;
        off_after.reset();
        return dark();
      }
      --*off_after;
    }
    for (auto it = faults.begin(); it != faults.end(); ++it) {
      if (it->call != call || path.find(it->part) == std::string_view::npos) {
        continue;
      }
      if (it->skip > 0) {
        --it->skip;
        continue;
      }
      const int error_number = it->error_number;
      if (--it->count == 0) {
        faults.erase(it);
      }
      return Error::from_errno(error_number, fmt::format("fault on '{}'", path));
    }
    return {};
  }

  void change_names(std::string dir, std::function<void(Names&)> apply) {
    apply(names);
    pending.push_back({std::move(dir), std::move(apply)});
  }

  void settle(double keep) {
    std::bernoulli_distribution survives(keep);
    const std::size_t upto = keep >= 1.0 ? pending.size()
                             : keep <= 0 ? 0
                                         : random() % (pending.size() + 1);
    for (std::size_t i = 0; i < upto; ++i) {
      pending[i].apply(durable);
    }
    pending.clear();
    names = durable;
    std::set<Inode*> seen;
    for (auto& [name, inode] : names) {
      if (!seen.insert(inode.get()).second) {
        continue;
      }
      for (const auto& [sector, old] : inode->dirty) {
        if (!survives(random)) {
          inode->restore(sector, old);
        }
      }
      for (const auto& [sector, old] : inode->lost) {
        inode->restore(sector, old);
      }
      if (inode->bytes.size() != inode->synced_size && !survives(random)) {
        inode->bytes.resize(static_cast<std::size_t>(inode->synced_size), '\0');
      }
      inode->dirty.clear();
      inode->lost.clear();
      inode->synced_size = inode->bytes.size();
    }
  }

  void revive() {
    ++life;
    off = false;
    off_after.reset();
    faults.clear();
    locks.clear();
  }
};

class FaultFiles::Handle final : public File {
 public:
  Handle(std::shared_ptr<Disk> disk, std::shared_ptr<Inode> inode, std::string path)
      : disk_(std::move(disk)),
        inode_(std::move(inode)),
        path_(std::move(path)),
        life_(disk_->life) {}

  Result<std::size_t> pread(std::uint64_t offset, char* to, std::size_t count) const override {
    const std::lock_guard guard(disk_->mutex);
    if (disk_->off || life_ != disk_->life) {
      return Disk::dark();
    }
    if (offset >= inode_->bytes.size()) {
      return std::size_t{0};
    }
    const std::size_t got =
        std::min<std::size_t>(count, inode_->bytes.size() - static_cast<std::size_t>(offset));
    std::memcpy(to, inode_->bytes.data() + offset, got);
    return got;
  }

  Status pwrite(std::uint64_t offset, std::span<const std::string_view> parts) override {
    const std::lock_guard guard(disk_->mutex);
    std::string all;
    for (const std::string_view part : parts) {
      all.append(part);
    }
    const bool was_on = !disk_->off && life_ == disk_->life;
    auto admitted = disk_->admit(DiskCall::kWrite, path_, life_);
    if (admitted && offset + all.size() > inode_->bytes.size()) {
      admitted = room_for(offset + all.size());
    }
    if (!admitted) {
      if (was_on) {  // a torn write
        inode_->write(offset, std::string_view(all).substr(0, disk_->random() % (all.size() + 1)));
      }
      return admitted;
    }
    disk_->written += all.size();
    inode_->write(offset, all);
    return {};
  }

  Status sync() override {
    const std::lock_guard guard(disk_->mutex);
    if (const auto admitted = disk_->admit(DiskCall::kSync, path_, life_); !admitted) {
      if (!disk_->off && life_ == disk_->life) {
        // Some sectors made it, the rest never will.
        for (auto& [sector, old] : inode_->dirty) {
          if ((disk_->random() & 1U) != 0) {
            inode_->lost.emplace(sector, std::move(old));
          }
        }
        inode_->dirty.clear();
      }
      return admitted;
    }
    ++disk_->syncs;
    inode_->dirty.clear();
    inode_->synced_size = inode_->bytes.size();
    return {};
  }

  Status allocate(std::uint64_t wanted) override {
    const std::lock_guard guard(disk_->mutex);
    HW_TRY(disk_->admit(DiskCall::kAllocate, path_, life_));
    if (wanted > inode_->bytes.size()) {
      HW_TRY(room_for(wanted));
      inode_->bytes.resize(static_cast<std::size_t>(wanted), '\0');
    }
    return {};
  }

  Status truncate(std::uint64_t wanted) override {
    const std::lock_guard guard(disk_->mutex);
    HW_TRY(disk_->admit(DiskCall::kWrite, path_, life_));
    inode_->bytes.resize(static_cast<std::size_t>(wanted), '\0');
    return {};
  }

  Result<std::uint64_t> size() const override {
    const std::lock_guard guard(disk_->mutex);
    if (disk_->off || life_ != disk_->life) {
      return Disk::dark();
    }
    return std::uint64_t{inode_->bytes.size()};
  }

 private:
  Status room_for(std::uint64_t wanted) const {
    if (disk_->used() - inode_->bytes.size() + wanted > disk_->capacity) {
      return Error::from_errno(ENOSPC, fmt::format("write '{}'", path_));
    }
    return {};
  }

  std::shared_ptr<Disk> disk_;
  std::shared_ptr<Inode> inode_;
  std::string path_;
  std::uint64_t life_;
};

class FaultFiles::Lock final : public FileLock {
 public:
  Lock(std::shared_ptr<Disk> disk, std::string path)
      : disk_(std::move(disk)), path_(std::move(path)), life_(disk_->life) {}
  ~Lock() override {
    const std::lock_guard guard(disk_->mutex);
    if (life_ == disk_->life) {
      disk_->locks.erase(path_);
    }
  }

 private:
  std::shared_ptr<Disk> disk_;
  std::string path_;
  std::uint64_t life_;
};

FaultFiles::FaultFiles(std::uint64_t seed) : disk_(std::make_shared<Disk>()) {
  disk_->random.seed(seed);
}
FaultFiles::~FaultFiles() = default;

void FaultFiles::fail(DiskCall call, int error_number, std::size_t count, std::size_t skip,
                      std::string part) {
  const std::lock_guard guard(disk_->mutex);
  disk_->faults.push_back({call, error_number, count, skip, std::move(part)});
}
void FaultFiles::clear_faults() {
  const std::lock_guard guard(disk_->mutex);
  disk_->faults.clear();
}
void FaultFiles::set_capacity(std::uint64_t bytes) {
  const std::lock_guard guard(disk_->mutex);
  disk_->capacity = bytes;
}
void FaultFiles::power_off_after(std::size_t changes) {
  const std::lock_guard guard(disk_->mutex);
  disk_->off_after = changes;
}
void FaultFiles::power_off() {
  const std::lock_guard guard(disk_->mutex);
  disk_->off = true;
}
bool FaultFiles::is_off() const {
  const std::lock_guard guard(disk_->mutex);
  return disk_->off;
}
void FaultFiles::restart(double keep) {
  const std::lock_guard guard(disk_->mutex);
  disk_->settle(keep);
  disk_->revive();
}
void FaultFiles::restart_process() {
  const std::lock_guard guard(disk_->mutex);
  disk_->revive();
}
std::string FaultFiles::contents(std::string_view path) const {
  const std::lock_guard guard(disk_->mutex);
  const auto found = disk_->names.find(path);
  return found == disk_->names.end() ? std::string() : found->second->bytes;
}
void FaultFiles::set_contents(std::string_view path, std::string bytes) {
  const std::lock_guard guard(disk_->mutex);
  auto inode = std::make_shared<Inode>();
  inode->synced_size = bytes.size();
  inode->bytes = std::move(bytes);
  disk_->names.insert_or_assign(std::string(path), inode);
  disk_->durable.insert_or_assign(std::string(path), inode);
}
void FaultFiles::flip_bit(std::string_view path, std::uint64_t bit) {
  const std::lock_guard guard(disk_->mutex);
  const auto found = disk_->names.find(path);
  if (found != disk_->names.end() && bit / 8 < found->second->bytes.size()) {
    char& byte = found->second->bytes[static_cast<std::size_t>(bit / 8)];
    byte = static_cast<char>(byte ^ (1 << (bit % 8)));
  }
}
std::size_t FaultFiles::changes() const {
  const std::lock_guard guard(disk_->mutex);
  return disk_->changes;
}
std::size_t FaultFiles::syncs() const {
  const std::lock_guard guard(disk_->mutex);
  return disk_->syncs;
}
std::uint64_t FaultFiles::written_bytes() const {
  const std::lock_guard guard(disk_->mutex);
  return disk_->written;
}

Result<std::unique_ptr<File>> FaultFiles::open(std::string_view path, OpenMode mode) {
  const std::lock_guard guard(disk_->mutex);
  if (disk_->off) {
    return Disk::dark();
  }
  auto found = disk_->names.find(path);
  if (found == disk_->names.end()) {
    if (mode != OpenMode::kCreate) {
      return Error::from_errno(ENOENT, fmt::format("open '{}'", path));
    }
    HW_TRY(disk_->admit(DiskCall::kOpen, path, disk_->life));
    disk_->change_names(Disk::dir_of(path),
                        [name = std::string(path), inode = std::make_shared<Inode>()](
                            Disk::Names& names) { names.insert_or_assign(name, inode); });
    found = disk_->names.find(path);
  }
  return std::unique_ptr<File>(std::make_unique<Handle>(disk_, found->second, std::string(path)));
}

Status FaultFiles::rename(std::string_view from, std::string_view to) {
  const std::lock_guard guard(disk_->mutex);
  HW_TRY(disk_->admit(DiskCall::kRename, from, disk_->life));
  if (disk_->names.find(from) == disk_->names.end()) {
    return Error::from_errno(ENOENT, fmt::format("rename '{}' to '{}'", from, to));
  }
  disk_->change_names(Disk::dir_of(to),
                      [a = std::string(from), b = std::string(to)](Disk::Names& names) {
                        const auto found = names.find(a);
                        if (found != names.end()) {
                          auto inode = found->second;
                          names.erase(found);
                          names.insert_or_assign(b, std::move(inode));
                        }
                      });
  return {};
}

Status FaultFiles::remove(std::string_view path) {
  const std::lock_guard guard(disk_->mutex);
  HW_TRY(disk_->admit(DiskCall::kRemove, path, disk_->life));
  if (disk_->names.find(path) == disk_->names.end()) {
    return Error::from_errno(ENOENT, fmt::format("remove '{}'", path));
  }
  disk_->change_names(Disk::dir_of(path),
                      [name = std::string(path)](Disk::Names& names) { names.erase(name); });
  return {};
}

Status FaultFiles::make_dir(std::string_view /*path*/) {
  const std::lock_guard guard(disk_->mutex);
  if (disk_->off) {
    return Disk::dark();
  }
  return {};  // folders exist as soon as something is in them
}

Result<std::vector<std::string>> FaultFiles::list(std::string_view dir) {
  const std::lock_guard guard(disk_->mutex);
  if (disk_->off) {
    return Disk::dark();
  }
  std::vector<std::string> found;
  for (const auto& [name, inode] : disk_->names) {
    if (Disk::dir_of(name) == dir) {
      found.push_back(name.substr(dir.size() + 1));
    }
  }
  return found;
}

Status FaultFiles::sync_dir(std::string_view dir) {
  const std::lock_guard guard(disk_->mutex);
  HW_TRY(disk_->admit(DiskCall::kSyncDir, dir, disk_->life));
  std::vector<Disk::NameChange> rest;
  for (auto& change : disk_->pending) {
    if (change.dir == dir) {
      change.apply(disk_->durable);
    } else {
      rest.push_back(std::move(change));
    }
  }
  disk_->pending = std::move(rest);
  return {};
}

Result<std::uint64_t> FaultFiles::free_bytes(std::string_view /*dir*/) {
  const std::lock_guard guard(disk_->mutex);
  if (disk_->off) {
    return Disk::dark();
  }
  const std::uint64_t used = disk_->used();
  return disk_->capacity > used ? disk_->capacity - used : 0;
}

Result<std::unique_ptr<FileLock>> FaultFiles::lock(std::string_view path) {
  const std::lock_guard guard(disk_->mutex);
  if (disk_->off) {
    return Disk::dark();
  }
  if (!disk_->locks.insert(std::string(path)).second) {
    return Error::unavailable("'{}' is locked by process 1: only one may write here", path);
  }
  return std::unique_ptr<FileLock>(std::make_unique<Lock>(disk_, std::string(path)));
}

}  // namespace headwater::io
