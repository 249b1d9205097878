// FaultFiles: a disk in memory that fails as real ones do, by seed. For tests and torture.
//
// What was written is in a cache until sync(). A power cut keeps or drops each unsynced sector (512
// bytes) on its own, so writes are torn and reordered; folder changes since sync_dir() survive up
// to a random point, in order. A sync that fails drops its sectors from the cache's to-do list, as
// kernels do: they read back until the power is cut, and no later sync saves them.
//
//   FaultFiles disk(seed);
//   disk.power_off_after(17);          // the 17th change from here on fails and so does all after
//   it
//   ... use; everything answers kUnavailable once the power is off ...
//   disk.restart();                    // decides what survived; old handles stay dead
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.h"

namespace headwater::io {

enum class DiskCall : std::uint8_t { kWrite, kSync, kAllocate, kOpen, kRename, kRemove, kSyncDir };

class FaultFiles final : public Files {
 public:
  explicit FaultFiles(std::uint64_t seed);
  ~FaultFiles() override;

  // The next `count` calls of this kind on a path that contains `part`, after `skip` of them,
  // fail with this errno. A failed write leaves a random part of its bytes in the file.
  void fail(DiskCall call, int error_number, std::size_t count = 1, std::size_t skip = 0,
            std::string part = {});
  void clear_faults();
  // All files together; allocations and growing writes beyond it fail with ENOSPC.
  void set_capacity(std::uint64_t bytes);

  void power_off_after(std::size_t changes);
  void power_off();
  bool is_off() const;
  // Comes back after a power cut (cuts it first if it is on). `keep` in 0..1: the chance that an
  // unsynced sector survives.
  void restart(double keep = 0.5);
  // Comes back after kill -9: the cache survives.
  void restart_process();

  // The bytes of a file as they are now, to look at or to damage.
  std::string contents(std::string_view path) const;
  void set_contents(std::string_view path, std::string bytes);
  void flip_bit(std::string_view path, std::uint64_t bit);

  // Changes (writes, syncs, renames, …) so far: the points where the power can go.
  std::size_t changes() const;
  std::size_t syncs() const;
  std::uint64_t written_bytes() const;

  Result<std::unique_ptr<File>> open(std::string_view path, OpenMode mode) override;
  Status rename(std::string_view from, std::string_view to) override;
  Status remove(std::string_view path) override;
  Status make_dir(std::string_view path) override;
  Result<std::vector<std::string>> list(std::string_view dir) override;
  Status sync_dir(std::string_view dir) override;
  Result<std::uint64_t> free_bytes(std::string_view dir) override;
  Result<std::unique_ptr<FileLock>> lock(std::string_view path) override;

 private:
  class Handle;
  class Lock;
  struct Inode;
  struct Disk;  // shared with handles and locks, which may outlive a power cut
  std::shared_ptr<Disk> disk_;
};

}  // namespace headwater::io
