// Source: takes bytes from outside into batches and says "got it" only when told that they are
// durable.
//
// Thread rule: a source lives on one worker's loop, and every call comes from that thread. It never
// blocks.
//
// A source deals rows out by partition: one listener client, one broker connection, one file.
// Within a partition positions ascend from 1 without reuse while the process lives. The worker
// calls acknowledge(partition, upto) when all rows of that partition up to `upto` are durable (or
// were dropped or declined for a reason that is counted), in ascending order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "data/batch.h"
#include "io/loop.h"

namespace headwater {

using Partition = std::uint32_t;
using Position = std::uint64_t;

enum class More : std::uint8_t {
  kNone,  // nothing is waiting; the loop will wake the source
  kYes,   // call again in this round or the next without sleeping
  kEnd,   // nothing will ever come again (a file read once)
};

class Source {
 public:
  virtual ~Source() = default;

  // Opens, binds, registers with the loop. An error here is a configuration error and ends the
  // start.
  virtual Status start(io::Loop& loop) = 0;

  // Adds at most `room` rows to `batch`: payload, topic, sender, partition, position, received,
  // arrived; identity where the source has a durable one (else zero); kRowUndecoded with a note
  // where it knows already that the row is no reading. Views point into batch.arena(). Called every
  // round, with room 0 while nothing can be taken, so that control traffic goes on. An error is
  // counted and reported; the source stays in service and mends itself.
  virtual Result<More> take(std::size_t room, Batch& batch) = 0;

  virtual Status acknowledge(Partition partition, Position upto) = 0;

  // True: stop taking but keep connections, so that what was taken can still be acknowledged. Also
  // the back-pressure valve: control traffic goes on. False: take again.
  virtual void pause(bool paused) = 0;

  // After the last acknowledge: say good-bye and close.
  virtual void close() = 0;
};

// Where checkpoints go. Keys are prefixed by the owner, so a node names only its own parts.
class StateWriter {
 public:
  virtual ~StateWriter() = default;
  // An empty blob deletes the key.
  virtual void put(std::string_view key, std::string_view blob) = 0;
};

class StateReader {
 public:
  virtual ~StateReader() = default;
  // Empty if there is none.
  virtual std::string get(std::string_view key) const = 0;
  // All keys with their blobs, in key order.
  virtual std::vector<std::pair<std::string, std::string>> all() const = 0;
};

// Ability of a source with durable progress: sessions, file offsets, learned types.
class Checkpointed {
 public:
  virtual ~Checkpointed() = default;
  // What changed since the last call, as of the last take(): committed with the rows of that take,
  // never before them. `upto` gets positions that become durable with it beside those of the rows:
  // acknowledge() comes for them too.
  virtual void save(StateWriter& state, std::vector<std::pair<Partition, Position>>& upto) = 0;
  // Before start().
  virtual Status restore(const StateReader& state) = 0;
};

// Ability of a source that refuses messages itself (access, size, quota): a part of the `refused`
// of the conservation law.
class Refusing {
 public:
  virtual ~Refusing() = default;
  virtual std::uint64_t refused() const = 0;
};

// Ability of a source that can tell a sender no: `on_full: refuse` of the store. Sources without it
// wait for room, as with `block`.
class Declining {
 public:
  virtual ~Declining() = default;
  // Rows of these positions, taken and not acknowledged, are not stored and never will be. Their
  // senders hear no: now, or in order when the acknowledge() comes that covers them. Where
  // checkpoints count them as received, that is taken back: save() is called again behind this, and
  // what both gave is committed without the rows. A message of several rows is refused when one of
  // them is; others of it may be stored already.
  virtual void decline(Partition partition, Position from, Position upto) = 0;
};

enum class Fate : std::uint8_t { kStored, kDuplicate, kFiltered, kDeadLetter, kThinned };

// Ability of a source that tells its senders what became of their readings.
class Accounting {
 public:
  virtual ~Accounting() = default;
  // Once for each row, in order, before the acknowledge() that covers it; several of one position
  // where a message held several readings.
  virtual void became(Partition partition, Position position, Fate fate) = 0;
};

// Ability of a source that listens: what `status` and tests show.
class Listening {
 public:
  virtual ~Listening() = default;
  // "127.0.0.1:1884", with the port that the kernel gave for port 0.
  virtual std::string address() const = 0;
  virtual std::size_t connections() const = 0;
  // Connections that were refused or ended by this side, by reason; reasons without one are left
  // out.
  virtual std::vector<std::pair<std::string, std::uint64_t>> closed() const { return {}; }
  // What its clients have subscribed to, and were refused.
  virtual std::uint64_t subscriptions() const { return 0; }
  virtual std::uint64_t refused_subscriptions() const { return 0; }
};

}  // namespace headwater
