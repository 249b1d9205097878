// Delivery: alerts from the spool to one sink, each once it is committed, in order, until the sink
// has it.
//
// Reads the alerts lane from its own cursor (`sink/NAME`), so a restart goes on where it stopped
// and memory is bounded by the window. While a row waits to be submitted again no newer one is
// submitted; only rows that were with the sink already may overtake it. The cursor is written
// behind the outcomes, at most every `cursor_every`: after a crash the last alerts may go out
// again, and receivers drop repeats by alert id. One per durable sink; all calls come from the
// sink's loop.
//
// EarlyDelivery hands alerts over before their commit, for actions on the spot: what the sink
// cannot take now is tried again for a few seconds, and nothing outlives the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "io/loop.h"
#include "pipeline/counts.h"
#include "pipeline/made_times.h"
#include "pipeline/sink.h"
#include "pipeline/stage.h"
#include "pipeline/trouble.h"
#include "store/spool.h"

namespace headwater {

// What a sink got. One writer: the sink's loop.
struct DeliveryCounts {
  Count submitted;  // rows given to the sink, the same one again not counted
  Count delivered;
  Count retried;   // times a row had to wait to be submitted again
  Count rejected;  // refused for good; of an early sink also: not taken in time
  Count expired;   // too old to act on when their turn came
};

class Delivery {
 public:
  static constexpr std::size_t kWindow = 256;

  struct Parts {
    std::string name;  // of the sink
    Sink* sink = nullptr;
    Spool* spool = nullptr;
    io::Loop* loop = nullptr;
    Nanos cursor_every = std::chrono::milliseconds(200);
    Nanos retry_after = std::chrono::milliseconds(500);
  };

  explicit Delivery(Parts parts);
  ~Delivery();
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  // Alerts of this stream go to the sink; others pass by.
  void add_stream(std::uint16_t stream) { streams_.insert(stream); }
  // Sends what is committed and not sent, takes outcomes. After a commit, and on a timer of its own
  // while something is open.
  void pump();
  // Nothing is committed that the sink has not answered.
  bool settled();
  // Writes the cursor now.
  void save_cursor();

  const DeliveryCounts& counts() const { return counts_; }
  // Alerts committed and not passed by the cursor, those of other streams included. Any thread.
  std::uint64_t pending() const;
  // Any thread.
  std::string trouble() const { return trouble_.text(); }

 private:
  enum class State : std::uint8_t { kWithSink, kRetry, kDone };
  struct InFlight {
    std::uint64_t sequence = 0;
    Token token = 0;
    BatchRef row;  // one row; null where nothing is to be sent
    State state = State::kDone;
  };

  bool submit_next();
  void hand(InFlight& item);
  void wait_to_retry(InFlight& item);
  void take_outcomes();
  void resubmit();
  void move_cursor();
  void note_waiting();
  void arm();

  Parts parts_;
  std::set<std::uint16_t> streams_;
  std::unique_ptr<SpoolReader> reader_;
  std::deque<InFlight> in_flight_;  // by sequence
  std::size_t retrying_ = 0;        // of them, in kRetry
  Token next_token_ = 1;
  Count cursor_;  // everything up to here is answered
  std::uint64_t saved_cursor_ = 0;
  std::uint64_t read_upto_ = 0;
  Ticket read_all_of_ = ~Ticket{0};  // the reader has seen everything up to this ticket
  std::uint64_t first_own_ = 1;      // alerts before it were made by an earlier process
  MadeTimes made_;                   // of alerts that are not read yet
  Ticket noted_ = 0;
  MonoTime last_save_;
  MonoTime last_retry_;
  io::TimerId timer_ = 0;
  Transaction transaction_;
  DeliveryCounts counts_;
  Trouble trouble_;
};

// The rows that an early sink gets of a decided batch. Alerts of readings that an earlier process
// stored (sequence below `first_own`) are flagged kRowReplayed; of readings that were read back
// from the store of this process, the age is that of the reading.
std::shared_ptr<Batch> early_rows(const Batch& batch, std::span<const Alert> alerts,
                                  std::uint64_t first_own, WallTime now, MonoTime mono_now);

class EarlyDelivery {
 public:
  static constexpr std::size_t kMaxRetries = 256;  // rows that wait for another try

  struct Parts {
    std::string name;  // of the sink
    Sink* sink = nullptr;
    io::Loop* loop = nullptr;
    Nanos retry_after = std::chrono::milliseconds(500);
    Nanos retry_for = std::chrono::seconds(10);  // from give() on; then a row is counted rejected
  };

  explicit EarlyDelivery(Parts parts);
  ~EarlyDelivery();
  EarlyDelivery(const EarlyDelivery&) = delete;
  EarlyDelivery& operator=(const EarlyDelivery&) = delete;

  // From the sink's loop.
  void give(BatchRef alerts);
  // Takes outcomes.
  void pump();

  const DeliveryCounts& counts() const { return counts_; }
  // Any thread.
  std::string trouble() const { return trouble_.text(); }

 private:
  struct Held {
    BatchRef batch;
    std::size_t open = 0;  // rows without an outcome
    MonoTime given;
  };
  struct Later {
    BatchRef batch;
    std::uint32_t row = 0;
    MonoTime given;
  };
  void submit(BatchRef batch, MonoTime given);
  void later(const BatchRef& batch, std::uint32_t row, MonoTime given);
  void retry();

  Parts parts_;
  std::map<Token, Held> held_;
  std::deque<Later> later_;
  io::TimerId timer_ = 0;
  Token next_token_ = 1;
  DeliveryCounts counts_;
  Trouble trouble_;
};

}  // namespace headwater
