#include "compute/thinning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "compute/key_map.h"
#include "compute/key_text.h"

namespace headwater {
namespace {

constexpr std::uint8_t kStateVersion = 1;

// Whether two times are at least `every` apart; their distance may not fit a signed number.
bool apart(std::int64_t a, std::int64_t b, Nanos every) {
  const auto distance =
      static_cast<std::uint64_t>(std::max(a, b)) - static_cast<std::uint64_t>(std::min(a, b));
  return distance >= static_cast<std::uint64_t>(every.count());
}

bool moved(double from, double to, double band) {
  return to != from && !(std::fabs(to - from) <= band);
}

// What the last row of each key that was let on had.
template <class T>
class LastByKey {
 public:
  using Keys = KeyMap<T>;

  // Finds the columns of the batch that follows.
  void find_key_column(const Batch& batch, std::string_view per) {
    column_ = find_key(batch, per, row_device_);
  }
  // Of the row at hand; nullptr for a new key. The key is the newest from now on.
  const T* last(const Batch& batch, std::uint32_t row) {
    key_ = row_device_                                 ? batch.row(row).device
           : column_ != nullptr && column_->valid(row) ? text_.of(*column_, row)
                                                       : std::string_view();
    at_ = keys_.find(key_);
    if (at_ == Keys::kNone) {
      return nullptr;
    }
    keys_.touch(at_);
    return &keys_.slot(at_).value;
  }
  // After last(), for the same row.
  void remember(T value, std::size_t max_keys) {
    if (at_ != Keys::kNone) {
      keys_.slot(at_).value = value;
      return;
    }
    if (keys_.size() >= max_keys) {
      keys_.erase(keys_.oldest());
    }
    keys_.insert(key_, value);
  }

  std::size_t size() const { return keys_.size(); }
  void save(ByteWriter& out) const {
    out.put_varint(keys_.size());
    for (std::uint32_t at = keys_.oldest(); at != Keys::kNone; at = keys_.next(at)) {
      out.put_string(keys_.slot(at).key);
      out.put(keys_.slot(at).value);
    }
  }
  // False when the bytes are damaged.
  bool restore(ByteReader& in, std::size_t max_keys) {
    for (std::uint64_t left = in.get_varint(); left > 0; --left) {
      const std::string_view key = in.get_string();
      const T value = in.get<T>();
      if (!in.ok() || keys_.find(key) != Keys::kNone) {
        return false;
      }
      if (keys_.size() >= max_keys) {
        keys_.erase(keys_.oldest());
      }
      keys_.insert(key, value);
    }
    return in.ok();
  }

 private:
  Keys keys_;
  const Column* column_ = nullptr;
  bool row_device_ = false;
  KeyText text_;
  std::string_view key_;
  std::uint32_t at_ = Keys::kNone;
};

}  // namespace

class Thinning::State {
 public:
  explicit State(ThinningOptions options) : options_(std::move(options)) {}

  void process(const Batch& batch, std::span<std::uint8_t> flags) {
    const Column* values = nullptr;
    if (options_.deadband) {
      values = batch.find(options_.deadband->field);
      values_.find_key_column(batch, options_.deadband->per);
    }
    if (options_.rate_limit) {
      times_.find_key_column(batch, options_.rate_limit->per);
    }
    for (const std::uint32_t index : batch.selection()) {
      if (flags[index] != 0) {
        const double value =
            values == nullptr ? std::numeric_limits<double>::quiet_NaN() : values->as_double(index);
        flags[index] = passes(batch, index, value) ? 1 : 0;
      }
    }
  }

  std::size_t keys() const { return values_.size() + times_.size(); }

  void save(ByteWriter& out) const {
    out.put(kStateVersion);
    values_.save(out);
    times_.save(out);
  }

  Status restore(ByteReader& in) {
    if (in.get<std::uint8_t>() != kStateVersion) {
      return Error::corrupt("thinning state: unknown version");
    }
    LastByKey<double> values;
    LastByKey<std::int64_t> times;
    if (!values.restore(in, options_.max_keys) || !times.restore(in, options_.max_keys)) {
      return Error::corrupt("thinning state: damaged after {} keys", values.size() + times.size());
    }
    values_ = std::move(values);
    times_ = std::move(times);
    return {};
  }

 private:
  // A row counts as let on only when both let it on.
  bool passes(const Batch& batch, std::uint32_t index, double value) {
    const Row& row = batch.row(index);
    const std::int64_t time = (row.flags & kRowTimeFuture) != 0 ? row.received.ns : row.time.ns;
    bool let_on = true;
    if (options_.deadband) {
      const double* const last = values_.last(batch, index);
      let_on = last == nullptr || std::isnan(value) || moved(*last, value, options_.deadband->band);
    }
    if (options_.rate_limit) {
      const std::int64_t* const last = times_.last(batch, index);
      let_on = let_on && (last == nullptr || apart(*last, time, options_.rate_limit->every));
    }
    if (!let_on) {
      return false;
    }
    if (options_.deadband && !std::isnan(value)) {
      values_.remember(value, options_.max_keys);
    }
    if (options_.rate_limit) {
      times_.remember(time, options_.max_keys);
    }
    return true;
  }

  const ThinningOptions options_;
  LastByKey<double> values_;
  LastByKey<std::int64_t> times_;
};

Thinning::Thinning(std::unique_ptr<State> state) : state_(std::move(state)) {}
Thinning::~Thinning() = default;

Result<std::unique_ptr<Thinning>> Thinning::create(ThinningOptions options) {
  if (!options.deadband && !options.rate_limit) {
    return Error::invalid("thinning needs a deadband or a rate limit");
  }
  if (options.deadband && !(options.deadband->band >= 0)) {
    return Error::invalid("a deadband is 0 or more");
  }
  if (options.rate_limit && options.rate_limit->every.count() <= 0) {
    return Error::invalid("a rate limit needs a time above 0");
  }
  if (options.max_keys == 0) {
    return Error::invalid("max_keys is at least 1");
  }
  return std::unique_ptr<Thinning>(new Thinning(std::make_unique<State>(std::move(options))));
}

void Thinning::process(const Batch& batch, std::span<std::uint8_t> flags) {
  state_->process(batch, flags);
}
std::size_t Thinning::keys() const {
  return state_->keys();
}
void Thinning::save(ByteWriter& out) const {
  state_->save(out);
}
Status Thinning::restore(ByteReader& in) {
  return state_->restore(in);
}

}  // namespace headwater
