// Delivery: alerts from the spool to one sink, each once it is committed, in order, until the sink has it.
//
// Reads the alerts lane from its own cursor (`sink/NAME`), so a restart goes on where it stopped and memory is bounded by the
// window. The cursor is written behind the outcomes, at most every kCursorEvery: after a crash the last alerts may go out
// again, and receivers drop repeats by alert id. One per durable sink; all calls come from the sink's loop.
//
// EarlyDelivery hands alerts over before their commit and keeps nothing: for actions on the spot.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "io/loop.h"
#include "pipeline/counts.h"
#include "pipeline/sink.h"
#include "store/spool.h"

namespace headwater {

// What a sink got. One writer: the sink's loop.
struct DeliveryCounts {
  Count submitted;
  Count delivered;
  Count retried;
  Count rejected;
};

class Delivery {
 public:
  static constexpr Nanos kCursorEvery = std::chrono::milliseconds(200);
  static constexpr Nanos kRetryAfter = std::chrono::milliseconds(500);
  static constexpr std::size_t kWindow = 256;

  struct Parts {
    std::string name;  // of the sink
    Sink* sink = nullptr;
    Spool* spool = nullptr;
    io::Loop* loop = nullptr;
  };

  explicit Delivery(Parts parts);
  ~Delivery();

  // Alerts of this stream go to the sink; others pass by.
  void add_stream(std::uint16_t stream) { streams_.insert(stream); }
  // Sends what is committed and not sent, takes outcomes. After a commit, and on a timer of its own while something is open.
  void pump();
  // Nothing is committed that the sink has not answered.
  bool settled();
  // Writes the cursor now.
  void save_cursor();

  const DeliveryCounts& counts() const { return counts_; }
  // Any thread.
  std::uint64_t pending() const;
  const std::string& trouble() const { return trouble_; }

 private:
  struct InFlight {
    std::uint64_t sequence = 0;
    Token token = 0;
    BatchRef row;       // one row
    bool done = false;
    bool retry = false;
  };

  bool submit_next();
  void take_outcomes();
  void resubmit();
  void move_cursor();
  void arm();

  Parts parts_;
  std::set<std::uint16_t> streams_;
  std::unique_ptr<SpoolReader> reader_;
  std::deque<InFlight> in_flight_;  // by sequence
  Token next_token_ = 1;
  Count cursor_;                    // everything up to here is answered
  std::uint64_t saved_cursor_ = 0;
  std::uint64_t read_upto_ = 0;
  Ticket read_all_of_ = ~Ticket{0};  // the reader has seen everything up to this ticket
  MonoTime last_save_;
  MonoTime last_retry_;
  io::TimerId timer_ = 0;
  Transaction transaction_;
  DeliveryCounts counts_;
  std::string trouble_;
};

}  // namespace headwater
