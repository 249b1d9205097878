// WatchedDisk: the disk in memory, with a look at what the store does to it: each operation is
// named by its boundary and counted, and one of them can be struck.
//
// Thread-safe as far as the store needs it: one thread changes the disk at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/fault_files.h"
#include "torture/faults.h"

namespace headwater::torture {

class WatchedDisk final : public io::Files {
 public:
  // Called just before the operation happens; makes the disk fail it, or lets the power go.
  using Strike = std::function<void(io::DiskCall)>;
  using Calls = std::uint8_t;  // set of DiskCall, by bit
  static constexpr Calls kAnyCall = 0xFF;

  explicit WatchedDisk(io::FaultFiles& disk) : disk_(disk) {}

  // The operation behind `skip` others at this boundary that are among `calls` is struck, once.
  void arm(Boundary where, Calls calls, std::size_t skip, Strike strike);
  void disarm();
  // Whether what was armed last was struck.
  bool struck() const { return struck_.load(); }
  // Operations from now on belong to recovery.
  void set_recovering(bool recovering) { recovering_.store(recovering); }
  std::uint64_t operations() const { return operations_.load(); }

  Result<std::unique_ptr<io::File>> open(std::string_view path, io::OpenMode mode) override;
  Status rename(std::string_view from, std::string_view to) override;
  Status remove(std::string_view path) override;
  Status make_dir(std::string_view path) override { return disk_.make_dir(path); }
  Result<std::vector<std::string>> list(std::string_view dir) override { return disk_.list(dir); }
  Status sync_dir(std::string_view dir) override;
  Result<std::uint64_t> free_bytes(std::string_view dir) override { return disk_.free_bytes(dir); }
  Result<std::unique_ptr<io::FileLock>> lock(std::string_view path) override {
    return disk_.lock(path);
  }

 private:
  class WatchedFile;
  void before(Boundary boundary, io::DiskCall call);

  io::FaultFiles& disk_;
  std::atomic<bool> recovering_{false};
  std::atomic<bool> struck_{false};
  std::atomic<std::uint64_t> operations_{0};
  std::mutex mutex_;  // guards what is armed
  bool armed_ = false;
  Boundary where_ = Boundary::kFrameWrite;
  Calls calls_ = kAnyCall;
  std::size_t skip_ = 0;
  Strike strike_;
};

constexpr WatchedDisk::Calls bit_of(io::DiskCall call) {
  return static_cast<WatchedDisk::Calls>(1U << static_cast<unsigned>(call));
}

}  // namespace headwater::torture
