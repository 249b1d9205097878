#include "compute/window.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "compute/key_map.h"
#include "compute/key_text.h"
#include "compute/moments.h"

namespace headwater {
namespace {

constexpr double kNull = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint8_t kStateVersion = 1;

std::int64_t minus(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (!__builtin_sub_overflow(a, b, &result)) {
    return result;
  }
  return a < 0 ? std::numeric_limits<std::int64_t>::min()
               : std::numeric_limits<std::int64_t>::max();
}

double seconds_between(std::int64_t from, std::int64_t to) {
  return static_cast<double>(minus(to, from)) * 1e-9;
}

// The rows of one key. Rows [0, head) have left the window and are kept only for rows that come
// out of order; [head, split) is the front stack, with `front` holding the partial of rows [i,
// split) for each i; [split, size) is the back stack with one partial, `back`. When the front is
// empty and a row must leave, the back becomes the front.
struct KeyRows {
  std::vector<std::int64_t> times;  // ascending in windows by time, else as they came
  std::vector<double> values;       // one per field and row; NaN is null
  std::vector<double> front;        // of rows from front_begin on
  std::vector<double> back;
  std::size_t front_begin = 0;
  std::size_t head = 0;
  std::size_t split = 0;
  std::int64_t base = 0;  // time that partials count from; renewed when the stacks turn
  std::int64_t watermark = std::numeric_limits<std::int64_t>::min();

  std::size_t in_window() const { return times.size() - head; }
};

}  // namespace

class SlidingWindow::State {
 public:
  explicit State(WindowOptions options) : options_(std::move(options)) {
    for (const AggregateSpec& spec : options_.aggregates) {
      std::size_t field = fields_.size();
      if (!spec.field.empty()) {
        field = static_cast<std::size_t>(
            std::find_if(fields_.begin(), fields_.end(),
                         [&](const FieldPlan& plan) { return plan.name == spec.field; }) -
            fields_.begin());
        if (field == fields_.size()) {
          fields_.push_back({spec.field, {}, 0, nullptr});
        }
        fields_[field].layout.need(spec.kind);
      } else {
        field = kRows;
      }
      field_of_.push_back(field);
    }
    for (FieldPlan& plan : fields_) {
      plan.at = width_;
      width_ += plan.layout.width();
    }
    merged_.resize(width_);
    row_.resize(fields_.size());
  }

  Status process(Batch& batch, WindowStats& stats);
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);
  std::size_t keys() const { return keys_.size(); }
  std::size_t held_rows() const {
    std::size_t rows = 0;
    for (std::uint32_t at = keys_.oldest(); at != Keys::kNone; at = keys_.next(at)) {
      rows += keys_.slot(at).value.times.size();
    }
    return rows;
  }

 private:
  static constexpr std::size_t kRows = std::numeric_limits<std::size_t>::max();  // count()
  using Keys = KeyMap<KeyRows>;

  struct FieldPlan {
    std::string name;
    MomentsLayout layout;
    std::size_t at = 0;  // of its partial in a row of partials
    const Column* column = nullptr;
  };

  bool by_time() const { return options_.last.count() > 0; }
  void find_columns(const Batch& batch, WindowStats& stats);
  KeyRows& take(std::string_view key, WindowStats& stats);
  // Puts the row into `rows` and the moments of its window into merged_; false if it is late.
  bool add(KeyRows& rows, std::int64_t time, WindowStats& stats);
  void append(KeyRows& rows, std::int64_t time) const;
  void insert(KeyRows& rows, std::size_t at, std::int64_t time);
  void drop_oldest(KeyRows& rows) const;
  void turn(KeyRows& rows) const;
  void build_front(KeyRows& rows) const;
  void build_back(KeyRows& rows) const;
  void clear(double* partials) const {
    for (const FieldPlan& plan : fields_) {
      plan.layout.clear(partials + plan.at);
    }
  }
  void add_row(const KeyRows& rows, std::size_t row, double* partials, bool older) const {
    const double seconds = seconds_between(rows.base, rows.times[row]);
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      fields_[f].layout.add(partials + fields_[f].at, rows.values[row * fields_.size() + f],
                            seconds, older);
    }
  }
  // First row that a row out of order may see. Depends on the rows' order alone: a row further
  // than max_rows before the head never comes nearer.
  std::size_t floor(const KeyRows& rows) const {
    if (!by_time() || options_.allowed_lateness.count() == 0) {
      return rows.head;
    }
    const std::size_t first = rows.head - std::min(rows.head, options_.max_rows);
    const std::int64_t limit =
        minus(minus(rows.watermark, options_.allowed_lateness.count()), options_.last.count());
    const auto begin = rows.times.begin();
    return static_cast<std::size_t>(std::upper_bound(begin + static_cast<std::ptrdiff_t>(first),
                                                     begin + static_cast<std::ptrdiff_t>(rows.head),
                                                     limit) -
                                    begin);
  }
  void write(std::uint32_t row);
  std::string fingerprint() const;

  WindowOptions options_;
  std::vector<FieldPlan> fields_;
  std::vector<std::size_t> field_of_;  // of each aggregate: index in fields_, or kRows
  std::size_t width_ = 0;              // doubles of one row of partials
  Keys keys_;

  // Of the row at hand.
  std::vector<double> row_;
  std::vector<double> merged_;
  std::size_t merged_rows_ = 0;
  std::vector<Column*> results_;
};

void SlidingWindow::State::find_columns(const Batch& batch, WindowStats& stats) {
  for (FieldPlan& plan : fields_) {
    plan.column = batch.find(plan.name);
    if (plan.column != nullptr &&
        (plan.column->type() == Type::kString || plan.column->type() == Type::kBytes ||
         plan.column->type() == Type::kFrame)) {
      plan.column = nullptr;
      ++stats.not_numeric;
    }
  }
}

Status SlidingWindow::State::process(Batch& batch, WindowStats& stats) {
  for (const AggregateSpec& spec : options_.aggregates) {
    batch.add_column(spec.column, aggregate_type(spec.kind));
  }
  results_.clear();
  for (const AggregateSpec& spec : options_.aggregates) {
    results_.push_back(batch.find(spec.column));
  }
  find_columns(batch, stats);
  bool row_device = false;
  const Column* const by = options_.by.empty() ? nullptr : find_key(batch, options_.by, row_device);
  KeyText text;
  for (const std::uint32_t index : batch.selection()) {
    Row& row = batch.row(index);
    std::string_view key;
    bool has_key = options_.by.empty();
    if (row_device) {
      key = row.device;
      has_key = !key.empty();
    } else if (by != nullptr && by->valid(index)) {
      key = text.of(*by, index);
      has_key = true;
    }
    if (!has_key || (row.flags & (kRowTimeFuture | kRowUndecoded | kRowDuplicate)) != 0) {
      ++stats.skipped;
      continue;
    }
    for (std::size_t f = 0; f < fields_.size(); ++f) {
      const Column* const column = fields_[f].column;
      row_[f] = column == nullptr ? kNull : column->as_double(index);
    }
    if (!add(take(key, stats), row.time.ns, stats)) {
      row.flags |= kRowLate;
      ++stats.late;
      continue;
    }
    write(index);
  }
  return {};
}

KeyRows& SlidingWindow::State::take(std::string_view key, WindowStats& stats) {
  std::uint32_t at = keys_.find(key);
  if (at != Keys::kNone) {
    keys_.touch(at);
    return keys_.slot(at).value;
  }
  if (keys_.size() >= options_.max_keys) {
    keys_.erase(keys_.oldest());
    ++stats.evicted_keys;
  }
  at = keys_.insert(key, {});
  KeyRows& rows = keys_.slot(at).value;
  rows.back.resize(width_);
  clear(rows.back.data());
  return rows;
}

bool SlidingWindow::State::add(KeyRows& rows, std::int64_t time, WindowStats& stats) {
  if (rows.times.empty()) {
    rows.base = time;
  }
  if (by_time() && time < rows.watermark) {
    if (time < minus(rows.watermark, options_.allowed_lateness.count())) {
      return false;
    }
    ++stats.out_of_order;
    const std::size_t lowest = floor(rows);
    const auto begin = rows.times.begin();
    const auto at = static_cast<std::size_t>(
        std::upper_bound(begin + static_cast<std::ptrdiff_t>(lowest), rows.times.end(), time) -
        begin);
    const auto first =
        static_cast<std::size_t>(std::upper_bound(begin + static_cast<std::ptrdiff_t>(lowest),
                                                  begin + static_cast<std::ptrdiff_t>(at),
                                                  minus(time, options_.last.count())) -
                                 begin);
    insert(rows, at, time);
    clear(merged_.data());
    for (std::size_t row = first; row <= at; ++row) {
      add_row(rows, row, merged_.data(), false);
    }
    merged_rows_ = at + 1 - first;
    if (rows.in_window() > options_.max_rows) {
      drop_oldest(rows);
      ++stats.truncated;
    }
    return true;
  }
  if (by_time()) {
    rows.watermark = time;
    const std::int64_t leave = minus(time, options_.last.count());
    while (rows.head < rows.times.size() && rows.times[rows.head] <= leave) {
      drop_oldest(rows);
    }
  } else if (rows.in_window() >= options_.rows) {
    drop_oldest(rows);
  }
  if (rows.in_window() >= options_.max_rows) {
    drop_oldest(rows);
    ++stats.truncated;
  }
  append(rows, time);
  if (rows.head < rows.split) {
    const double* const front = rows.front.data() + (rows.head - rows.front_begin) * width_;
    std::copy_n(front, width_, merged_.data());
    for (const FieldPlan& plan : fields_) {
      plan.layout.merge(merged_.data() + plan.at, rows.back.data() + plan.at);
    }
  } else {
    std::copy_n(rows.back.data(), width_, merged_.data());
  }
  merged_rows_ = rows.in_window();
  return true;
}

void SlidingWindow::State::append(KeyRows& rows, std::int64_t time) const {
  rows.times.push_back(time);
  rows.values.insert(rows.values.end(), row_.begin(), row_.end());
  add_row(rows, rows.times.size() - 1, rows.back.data(), false);
}

// A row out of order. Partials stay what they are defined to be: functions of the rows in their
// order, so a restored state computes the same.
void SlidingWindow::State::insert(KeyRows& rows, std::size_t at, std::int64_t time) {
  rows.times.insert(rows.times.begin() + static_cast<std::ptrdiff_t>(at), time);
  rows.values.insert(rows.values.begin() + static_cast<std::ptrdiff_t>(at * fields_.size()),
                     row_.begin(), row_.end());
  const std::int64_t leave = minus(rows.watermark, options_.last.count());
  if (at < rows.head || time <= leave) {
    ++rows.head;
    ++rows.split;
    ++rows.front_begin;
  } else if (at < rows.split) {
    ++rows.split;
    build_front(rows);
  } else {
    build_back(rows);
  }
}

void SlidingWindow::State::drop_oldest(KeyRows& rows) const {
  if (rows.head == rows.split) {
    turn(rows);
  }
  ++rows.head;
}

// The back becomes the front; rows that nobody needs any more go.
void SlidingWindow::State::turn(KeyRows& rows) const {
  const std::size_t gone = floor(rows);
  rows.times.erase(rows.times.begin(), rows.times.begin() + static_cast<std::ptrdiff_t>(gone));
  rows.values.erase(rows.values.begin(),
                    rows.values.begin() + static_cast<std::ptrdiff_t>(gone * fields_.size()));
  rows.head -= gone;
  rows.split = rows.times.size();
  rows.base = rows.head < rows.times.size() ? rows.times[rows.head] : rows.base;
  build_front(rows);
  clear(rows.back.data());
}

void SlidingWindow::State::build_front(KeyRows& rows) const {
  const std::size_t count = rows.split - rows.head;
  rows.front_begin = rows.head;
  rows.front.resize(count * width_);
  for (std::size_t i = count; i > 0; --i) {
    double* const partials = rows.front.data() + (i - 1) * width_;
    if (i == count) {
      clear(partials);
    } else {
      std::copy_n(partials + width_, width_, partials);
    }
    add_row(rows, rows.head + i - 1, partials, true);
  }
}

void SlidingWindow::State::build_back(KeyRows& rows) const {
  clear(rows.back.data());
  for (std::size_t row = rows.split; row < rows.times.size(); ++row) {
    add_row(rows, row, rows.back.data(), false);
  }
}

void SlidingWindow::State::write(std::uint32_t row) {
  for (std::size_t i = 0; i < results_.size(); ++i) {
    const AggregateKind kind = options_.aggregates[i].kind;
    if (field_of_[i] == kRows) {
      results_[i]->set(row, static_cast<std::int64_t>(merged_rows_));
      continue;
    }
    const FieldPlan& plan = fields_[field_of_[i]];
    const double* const partial = merged_.data() + plan.at;
    if (kind == AggregateKind::kCount) {
      results_[i]->set(row, static_cast<std::int64_t>(partial[0]));
      continue;
    }
    const double value = plan.layout.result(partial, kind);
    if (partial[0] >= static_cast<double>(options_.min_count) && !std::isnan(value)) {
      results_[i]->set(row, value);
    }
  }
}

// What the saved state depends on.
std::string SlidingWindow::State::fingerprint() const {
  std::string text;
  ByteWriter out(text);
  out.put_string(options_.by);
  out.put_signed(options_.last.count());
  out.put_varint(options_.rows);
  out.put_signed(options_.allowed_lateness.count());
  out.put_varint(options_.max_rows);
  for (const FieldPlan& plan : fields_) {
    out.put_string(plan.name);
  }
  return text;
}

void SlidingWindow::State::save(ByteWriter& out) const {
  out.put(kStateVersion);
  out.put_string(fingerprint());
  out.put_varint(keys_.size());
  for (std::uint32_t at = keys_.oldest(); at != Keys::kNone; at = keys_.next(at)) {
    const KeyRows& rows = keys_.slot(at).value;
    const std::size_t from = floor(rows);
    out.put_string(keys_.slot(at).key);
    out.put(rows.base);
    out.put(rows.watermark);
    out.put_varint(rows.times.size() - from);
    out.put_varint(rows.head - from);
    out.put_varint(rows.split - from);
    std::int64_t before = rows.base;
    for (std::size_t row = from; row < rows.times.size(); ++row) {
      // Wraps around where it must; restore() wraps back.
      out.put_signed(static_cast<std::int64_t>(static_cast<std::uint64_t>(rows.times[row]) -
                                               static_cast<std::uint64_t>(before)));
      before = rows.times[row];
    }
    for (std::size_t i = from * fields_.size(); i < rows.values.size(); ++i) {
      out.put(rows.values[i]);
    }
  }
}

Status SlidingWindow::State::restore(ByteReader& in) {
  if (in.get<std::uint8_t>() != kStateVersion) {
    return Error::corrupt("window state: unknown version");
  }
  if (in.get_string() != fingerprint()) {
    return in.ok() ? Error::invalid("window state was saved with other options")
                   : Error::corrupt("window state: cut off");
  }
  Keys keys;
  const std::uint64_t count = in.get_varint();
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = in.get_string();
    KeyRows rows;
    rows.base = in.get<std::int64_t>();
    rows.watermark = in.get<std::int64_t>();
    const std::uint64_t held = in.get_varint();
    rows.head = in.get_varint();
    rows.split = in.get_varint();
    // Each row has a byte of time at least, so damaged counts ask for no giant memory.
    if (!in.ok() || held > in.left() || rows.head > rows.split || rows.split > held ||
        held - rows.head > options_.max_rows || keys.find(key) != Keys::kNone) {
      return Error::corrupt("window state: damaged at key {}", i);
    }
    std::int64_t before = rows.base;
    rows.times.reserve(held);
    for (std::uint64_t row = 0; row < held; ++row) {
      before = static_cast<std::int64_t>(static_cast<std::uint64_t>(before) +
                                         static_cast<std::uint64_t>(in.get_signed()));
      rows.times.push_back(before);
    }
    if (in.left() / sizeof(double) < held * fields_.size()) {
      return Error::corrupt("window state: cut off at key {}", i);
    }
    rows.values.reserve(held * fields_.size());
    for (std::uint64_t v = 0; v < held * fields_.size(); ++v) {
      rows.values.push_back(in.get<double>());
    }
    if (!in.ok() || (by_time() && !std::is_sorted(rows.times.begin(), rows.times.end()))) {
      return Error::corrupt("window state: damaged rows of key {}", i);
    }
    rows.back.resize(width_);
    build_front(rows);
    build_back(rows);
    if (keys.size() >= options_.max_keys) {
      keys.erase(keys.oldest());
    }
    keys.insert(key, std::move(rows));
  }
  if (!in.ok()) {
    return Error::corrupt("window state: cut off");
  }
  keys_ = std::move(keys);
  return {};
}

SlidingWindow::SlidingWindow(std::unique_ptr<State> state) : state_(std::move(state)) {}
SlidingWindow::~SlidingWindow() = default;

Result<std::unique_ptr<SlidingWindow>> SlidingWindow::create(WindowOptions options) {
  if (options.aggregates.empty()) {
    return Error::invalid("a window needs at least one aggregate");
  }
  if ((options.last.count() > 0) == (options.rows > 0) || options.last.count() < 0) {
    return Error::invalid("a window is either of a time (last) or of a count of rows (rows)");
  }
  if (options.allowed_lateness.count() < 0) {
    return Error::invalid("allowed_lateness is negative");
  }
  if (options.max_keys == 0 || options.max_rows == 0 || options.rows > options.max_rows) {
    return Error::invalid("max_keys and max_rows are at least 1, and rows at most max_rows ({})",
                          options.max_rows);
  }
  for (std::size_t i = 0; i < options.aggregates.size(); ++i) {
    const AggregateSpec& spec = options.aggregates[i];
    if (spec.field.empty() && spec.kind != AggregateKind::kCount) {
      return Error::invalid("{} needs a field", aggregate_name(spec.kind));
    }
    for (std::size_t j = 0; j < options.aggregates.size(); ++j) {
      if (j < i && options.aggregates[j].column == spec.column) {
        return Error::invalid("two aggregates are called '{}'", spec.column);
      }
      // The result would take the place of a column that the window reads.
      if (options.aggregates[j].field == spec.column || options.by == spec.column) {
        return Error::invalid("an aggregate cannot have the name of the column '{}'", spec.column);
      }
    }
  }
  return std::unique_ptr<SlidingWindow>(
      new SlidingWindow(std::make_unique<State>(std::move(options))));
}

Status SlidingWindow::process(Batch& batch, WindowStats& stats) {
  return state_->process(batch, stats);
}
std::size_t SlidingWindow::keys() const {
  return state_->keys();
}
std::size_t SlidingWindow::held_rows() const {
  return state_->held_rows();
}
void SlidingWindow::save(ByteWriter& out) const {
  state_->save(out);
}
Status SlidingWindow::restore(ByteReader& in) {
  return state_->restore(in);
}

}  // namespace headwater
