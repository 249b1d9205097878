// Uplink: drains the spool's lanes to one target, on a thread and loop of its own, so that neither
// compression nor a slow receiver holds up a worker.
//
// Thread rule: create, start, drain and the destructor from one thread; the rest from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/loop.h"
#include "store/spool.h"
#include "uplink/catalogue.h"
#include "uplink/lane_stream.h"

namespace headwater {

class Uplink {
 public:
  // Commits are looked at this often at most.
  static constexpr Nanos kPumpEvery = std::chrono::milliseconds(20);

  struct Parts {
    MadeUplink made;
    Spool* spool = nullptr;
    std::string edge_id;
    ScoredStreams scored;
  };
  // From here on delivered rows of its lanes are let go without a gap record.
  static Result<std::unique_ptr<Uplink>> create(Parts parts);
  ~Uplink();
  Uplink(const Uplink&) = delete;
  Uplink& operator=(const Uplink&) = delete;

  // `beat`, if given, is called about once a second from the loop: a thread that hangs is silent.
  Status start(std::function<void()> beat = {});
  // Lets what is on its way finish, and alerts that are committed go out, for `limit` at most and
  // only while the receiver answers. Then the thread ends. What is left goes at the next start.
  void drain(Nanos limit);

  // A commit happened.
  void committed();
  // From now on batches are closed as soon as there is something: nothing more will come.
  void finish();
  // The target has everything that is committed, and the log says so.
  bool settled() const;

  const std::string& where() const { return where_; }
  // How often the target was closed and started anew because its receiver stayed silent.
  std::uint64_t restarts() const { return restarts_.get(); }
  // In the order of the config's lanes, alerts first. They live as long as this.
  const std::vector<std::unique_ptr<LaneStream>>& streams() const { return streams_; }

 private:
  explicit Uplink(std::unique_ptr<io::Loop> loop, std::uint64_t budget);
  bool round();
  void tick();
  bool restart_target();
  void arm(MonoTime at);
  void pump_soon();
  void wait_until_quiet(std::promise<void>& quiet, MonoTime until);

  std::unique_ptr<io::Loop> loop_;
  std::string where_;
  std::unique_ptr<UplinkTarget> target_;
  Pacer pacer_;
  std::vector<std::unique_ptr<LaneStream>> streams_;
  std::function<void()> beat_;
  std::thread thread_;

  std::atomic<bool> woken_{false};
  bool due_ = true;  // pump in this round
  bool restart_due_ = false;
  Count restarts_;
  MonoTime last_pump_;
  MonoTime armed_for_;
  io::TimerId timer_ = 0;
};

}  // namespace headwater
