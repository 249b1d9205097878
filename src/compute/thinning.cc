#include "compute/thinning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "compute/key_map.h"
#include "compute/key_text.h"

namespace headwater {
namespace {

constexpr std::uint8_t kStateVersion = 2;

// Whether two times are at least `every` apart; their distance may not fit a signed number.
bool apart(std::int64_t a, std::int64_t b, Nanos every) {
  const auto distance =
      static_cast<std::uint64_t>(std::max(a, b)) - static_cast<std::uint64_t>(std::min(a, b));
  return distance >= static_cast<std::uint64_t>(every.count());
}

bool moved(double from, double to, double band) {
  return to != from && !(std::fabs(to - from) <= band);
}

struct Content {
  Id128 hash;
  std::int64_t time = 0;
};

void put_value(ByteWriter& out, double value) {
  out.put(value);
}
void put_value(ByteWriter& out, std::int64_t value) {
  out.put(value);
}
void put_value(ByteWriter& out, const Content& value) {
  out.put(value.hash.high);
  out.put(value.hash.low);
  out.put(value.time);
}
template <class T>
T get_value(ByteReader& in) {
  if constexpr (std::is_same_v<T, Content>) {
    Content value;
    value.hash.high = in.get<std::uint64_t>();
    value.hash.low = in.get<std::uint64_t>();
    value.time = in.get<std::int64_t>();
    return value;
  } else {
    return in.get<T>();
  }
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
      put_value(out, keys_.slot(at).value);
    }
  }
  // False when the bytes are damaged.
  bool restore(ByteReader& in, std::size_t max_keys) {
    for (std::uint64_t left = in.get_varint(); left > 0; --left) {
      const std::string_view key = in.get_string();
      const T value = get_value<T>(in);
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
    if (options_.dedupe) {
      contents_.find_key_column(batch, options_.dedupe->per);
      fields_.clear();
      for (const std::string& field : options_.dedupe->fields) {
        fields_.push_back(batch.find(field));
      }
    }
    for (const std::uint32_t index : batch.selection()) {
      if (flags[index] != 0) {
        const double value =
            values == nullptr ? std::numeric_limits<double>::quiet_NaN() : values->as_double(index);
        flags[index] = passes(batch, index, value) ? 1 : 0;
      }
    }
  }

  std::size_t keys() const { return values_.size() + times_.size() + contents_.size(); }

  void save(ByteWriter& out) const {
    out.put(kStateVersion);
    values_.save(out);
    times_.save(out);
    contents_.save(out);
  }

  Status restore(ByteReader& in) {
    if (in.get<std::uint8_t>() != kStateVersion) {
      return Error::corrupt("thinning state: unknown version");
    }
    LastByKey<double> values;
    LastByKey<std::int64_t> times;
    LastByKey<Content> contents;
    if (!values.restore(in, options_.max_keys) || !times.restore(in, options_.max_keys) ||
        !contents.restore(in, options_.max_keys)) {
      return Error::corrupt("thinning state: damaged after {} keys",
                            values.size() + times.size() + contents.size());
    }
    values_ = std::move(values);
    times_ = std::move(times);
    contents_ = std::move(contents);
    return {};
  }

 private:
  Id128 content_of(const Batch& batch, std::uint32_t index) {
    if (fields_.empty()) {
      return hash128(batch.row(index).payload);
    }
    text_.clear();
    ByteWriter writer(text_);
    for (const Column* field : fields_) {
      const bool valid = field != nullptr && field->valid(index);
      writer.put(static_cast<std::uint8_t>(valid));
      writer.put_string(valid ? key_text_.of(*field, index) : std::string_view());
    }
    return hash128(text_);
  }

  // A row counts as let on only when all let it on.
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
    Content content;
    if (options_.dedupe) {
      content = {content_of(batch, index), time};
      const Content* const last = contents_.last(batch, index);
      const Nanos within = options_.dedupe->within;
      let_on = let_on && (last == nullptr || last->hash != content.hash ||
                          (within.count() > 0 && apart(last->time, time, within)));
    }
    if (!let_on) {
      return false;
    }
    if (options_.dedupe) {
      contents_.remember(content, options_.max_keys);
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
  LastByKey<Content> contents_;
  std::vector<const Column*> fields_;  // of the batch at hand; null where it has none
  std::string text_;                   // reused
  KeyText key_text_;
};

Thinning::Thinning(std::unique_ptr<State> state) : state_(std::move(state)) {}
Thinning::~Thinning() = default;

Result<std::unique_ptr<Thinning>> Thinning::create(ThinningOptions options) {
  if (!options.deadband && !options.rate_limit && !options.dedupe) {
    return Error::invalid("thinning needs a deadband, a rate limit or dedupe");
  }
  if (options.dedupe && options.dedupe->within.count() < 0) {
    return Error::invalid("dedupe is within a time of 0 or more");
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
