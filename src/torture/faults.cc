#include "torture/faults.h"

#include <algorithm>

#include "base/strings.h"

namespace headwater::torture {
namespace {

constexpr std::array<FaultFacts, kFaultKinds> kFacts = {{
    {FaultKind::kPowerCut, "power_cut", false,
     "the power goes at an operation; each sector that was not synced survives or not by chance"},
    {FaultKind::kProcessKill, "process_kill", false,
     "the process ends at an operation; the page cache survives"},
    {FaultKind::kTornWrite, "torn_write", false,
     "the power goes in the middle of a write, of which the first part stays"},
    {FaultKind::kDiskFull, "enospc", false, "the disk is full for one to four operations"},
    {FaultKind::kWriteError, "eio_write", false, "a write, allocation, rename or removal fails"},
    {FaultKind::kSyncError, "eio_sync", false,
     "an fsync fails, and the pages it should have written are dropped as kernels do"},
    {FaultKind::kBitFlip, "bit_flip", false, "one bit of a closed segment changes on the disk"},
    {FaultKind::kClockJump, "clock_jump", false,
     "the wall clock jumps, forth or back, by up to a day"},
    {FaultKind::kReconnect, "reconnect", false,
     "devices lose their links and send what was not acknowledged again while the edge runs on"},
    {FaultKind::kReceiverStall, "receiver_stall", false,
     "the receiver takes nothing until the store is full"},
    {FaultKind::kKill, "kill9", true, "kill -9 of the process, and a new start"},
    {FaultKind::kStop, "stop", true, "SIGSTOP, up to half a second, SIGCONT"},
    {FaultKind::kLinkDrop, "link_drop", true, "all links of the devices are reset"},
    {FaultKind::kHalfOpen, "half_open", true,
     "links that stay open and carry nothing, until the devices give them up"},
    {FaultKind::kSlowReceiver, "slow_receiver", true,
     "the receiver of alerts answers late, and sometimes with an error"},
    {FaultKind::kFullDisk, "full_disk", true, "the file system has no free block for a while"},
    {FaultKind::kBrokerRestart, "broker_restart", true,
     "the MQTT broker that alerts go to is killed and started again"},
}};

std::vector<Cell> make_cells() {
  using enum Boundary;
  std::vector<Cell> cells;
  const auto add = [&](FaultKind kind, std::initializer_list<Boundary> where) {
    for (const Boundary boundary : where) {
      cells.push_back({kind, boundary});
    }
  };
  for (const FaultKind kind : {FaultKind::kPowerCut, FaultKind::kProcessKill}) {
    add(kind, {kFrameWrite, kFrameSync, kSegmentCreate, kHeaderWrite, kRename, kDirSync, kRecycle,
               kRecovery});
  }
  add(FaultKind::kTornWrite, {kFrameWrite, kHeaderWrite, kRecovery});
  add(FaultKind::kDiskFull, {kFrameWrite, kSegmentCreate, kHeaderWrite, kRecovery});
  add(FaultKind::kWriteError,
      {kFrameWrite, kSegmentCreate, kHeaderWrite, kRename, kRecycle, kRecovery});
  add(FaultKind::kSyncError, {kFrameSync, kSegmentCreate, kHeaderWrite, kDirSync, kRecovery});
  for (const FaultKind kind : {FaultKind::kBitFlip, FaultKind::kClockJump, FaultKind::kReconnect,
                               FaultKind::kReceiverStall}) {
    cells.push_back({kind, std::nullopt});
  }
  return cells;
}

}  // namespace

std::span<const FaultFacts> all_faults() {
  return kFacts;
}

const FaultFacts& facts_of(FaultKind kind) {
  return kFacts[static_cast<std::size_t>(kind)];
}

Result<std::vector<FaultKind>> parse_faults(std::string_view list) {
  std::array<bool, kFaultKinds> wanted{};
  std::vector<std::string_view> known = {"simulated", "real", "all"};
  for (const FaultFacts& facts : kFacts) {
    known.push_back(facts.name);
  }
  for (std::size_t from = 0; from <= list.size();) {
    const std::size_t comma = std::min(list.find(',', from), list.size());
    const std::string_view name = list.substr(from, comma - from);
    from = comma + 1;
    bool found = false;
    for (std::size_t i = 0; i < kFaultKinds; ++i) {
      const bool meant = name == "all" || name == kFacts[i].name ||
                         (name == "real" && kFacts[i].real) ||
                         (name == "simulated" && !kFacts[i].real);
      wanted[i] = wanted[i] || meant;
      found = found || meant;
    }
    if (!found) {
      const std::string_view nearest = nearest_name(name, known);
      return Error::invalid("no fault '{}'{}", name,
                            nearest.empty() ? std::string(": see headwater torture --help")
                                            : fmt::format(", did you mean '{}'?", nearest));
    }
  }
  std::vector<FaultKind> kinds;
  for (std::size_t i = 0; i < kFaultKinds; ++i) {
    if (wanted[i]) {
      kinds.push_back(kFacts[i].kind);
    }
  }
  return kinds;
}

std::span<const Cell> simulated_cells() {
  static const std::vector<Cell> cells = make_cells();
  return cells;
}

std::vector<FaultKind> real_faults() {
  std::vector<FaultKind> kinds;
  for (const FaultFacts& facts : kFacts) {
    if (facts.real) {
      kinds.push_back(facts.kind);
    }
  }
  return kinds;
}

}  // namespace headwater::torture
