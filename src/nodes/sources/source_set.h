// SourceSet: one configured source as the sources of the workers.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/loop.h"
#include "nodes/listeners.h"
#include "nodes/sources/reading_options.h"
#include "pipeline/source.h"

namespace headwater {

struct SourceContext {
  std::string edge_id;
  std::string name;                        // in the config
  std::vector<io::Loop*> loops;            // one per worker; empty when the config is only checked
  std::shared_ptr<Listeners> listeners{};  // may be null
};

struct SourceSet {
  // One per worker; null where the worker has no part of it. All null when the config is only
  // checked.
  std::vector<std::unique_ptr<Source>> sources;
  // Makes a decoder, one per worker.
  std::function<std::unique_ptr<Decode>()> make_decode;
  Schema declared;
  // Whether it holds its acknowledgement until the commit: such a source needs a durable lane.
  bool acknowledges = false;
  // Whether it does so as soon as a reading is taken: a crash may lose what was acknowledged.
  bool acknowledges_on_receipt = false;
  // Whether readings carry a declared message id, so that repeats are found.
  bool declares_id = false;
  bool good = false;  // false: an error is in the diagnostics
};

}  // namespace headwater
