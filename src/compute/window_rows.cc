#include "compute/window_rows.h"

#include "compute/quantile.h"

namespace headwater {
namespace {

constexpr std::uint8_t kStateVersion = 2;

}  // namespace

WindowFields::WindowFields(const WindowOptions& options)
    : aggregates_(options.aggregates), min_count_(options.min_count) {
  for (const AggregateSpec& spec : aggregates_) {
    if (spec.field.empty()) {
      field_of_.push_back(kRows);
      continue;
    }
    const auto found = std::find_if(fields_.begin(), fields_.end(),
                                    [&](const Plan& plan) { return plan.name == spec.field; });
    const auto field = static_cast<std::size_t>(found - fields_.begin());
    if (found == fields_.end()) {
      fields_.push_back({spec.field, {}, 0, nullptr});
    }
    fields_[field].layout.need(spec.kind);
    field_of_.push_back(field);
  }
  for (Plan& plan : fields_) {
    plan.at = width_;
    width_ += plan.layout.width();
  }
}

void WindowFields::begin(Batch& batch, WindowStats& stats) {
  for (const AggregateSpec& spec : aggregates_) {
    batch.add_column(spec.column, aggregate_type(spec.kind));
  }
  results_.clear();
  for (const AggregateSpec& spec : aggregates_) {
    results_.push_back(batch.find(spec.column));
  }
  for (Plan& plan : fields_) {
    plan.column = batch.find(plan.name);
    if (plan.column != nullptr &&
        (plan.column->type() == Type::kString || plan.column->type() == Type::kBytes ||
         plan.column->type() == Type::kFrame)) {
      plan.column = nullptr;
      ++stats.not_numeric;
    }
  }
}

void WindowFields::write(std::uint32_t row, const double* partials, std::size_t rows,
                         std::span<const double> values) {
  for (std::size_t i = 0; i < results_.size(); ++i) {
    const AggregateSpec& spec = aggregates_[i];
    if (field_of_[i] == kRows) {
      results_[i]->set(row, static_cast<std::int64_t>(rows));
      continue;
    }
    const Plan& plan = fields_[field_of_[i]];
    const double* const partial = partials + plan.at;
    if (spec.kind == AggregateKind::kCount) {
      results_[i]->set(row, static_cast<std::int64_t>(partial[0]));
      continue;
    }
    if (partial[0] < static_cast<double>(min_count_)) {
      continue;
    }
    double value = 0;
    if (spec.kind == AggregateKind::kQuantile) {
      scratch_.clear();
      for (std::size_t at = field_of_[i]; at < values.size(); at += fields_.size()) {
        if (!std::isnan(values[at])) {
          scratch_.push_back(values[at]);
        }
      }
      value = quantile(scratch_, spec.p);
    } else {
      value = plan.layout.result(partial, spec.kind);
    }
    if (std::isnan(value)) {
      continue;
    }
    if (results_[i]->type() == Type::kInt64) {
      results_[i]->set(row, static_cast<std::int64_t>(value));
    } else {
      results_[i]->set(row, value);
    }
  }
}

void save_rows(ByteWriter& out, std::int64_t before, std::span<const std::int64_t> times,
               std::span<const double> values) {
  for (const std::int64_t time : times) {
    // Wraps around where it must; restore_rows() wraps back.
    out.put_signed(static_cast<std::int64_t>(static_cast<std::uint64_t>(time) -
                                             static_cast<std::uint64_t>(before)));
    before = time;
  }
  for (const double value : values) {
    out.put(value);
  }
}

Status restore_rows(ByteReader& in, std::int64_t before, std::uint64_t rows, std::size_t fields,
                    std::vector<std::int64_t>& times, std::vector<double>& values) {
  // Each row has a byte of time at least, so damaged counts ask for no giant memory.
  if (rows > in.left()) {
    return Error::corrupt("cut off");
  }
  times.reserve(rows);
  for (std::uint64_t row = 0; row < rows; ++row) {
    before = static_cast<std::int64_t>(static_cast<std::uint64_t>(before) +
                                       static_cast<std::uint64_t>(in.get_signed()));
    times.push_back(before);
  }
  if (in.left() / sizeof(double) < rows * fields) {
    return Error::corrupt("cut off");
  }
  values.reserve(rows * fields);
  for (std::uint64_t i = 0; i < rows * fields; ++i) {
    values.push_back(in.get<double>());
  }
  return in.ok() ? Status{} : Error::corrupt("cut off");
}

std::string window_fingerprint(const WindowOptions& options, const WindowFields& fields) {
  std::string text;
  ByteWriter out(text);
  out.put_string(options.by);
  out.put_signed(options.last.count());
  out.put_varint(options.rows);
  out.put_signed(options.every.count());
  out.put_signed(options.allowed_lateness.count());
  out.put_varint(options.max_rows);
  for (std::size_t f = 0; f < fields.size(); ++f) {
    out.put_string(fields.name(f));
  }
  return text;
}

void save_window_head(ByteWriter& out, std::string_view fingerprint) {
  out.put(kStateVersion);
  out.put_string(fingerprint);
}

Status restore_window_head(ByteReader& in, std::string_view fingerprint) {
  if (in.get<std::uint8_t>() != kStateVersion) {
    return Error::corrupt("window state: unknown version");
  }
  if (in.get_string() != fingerprint) {
    return in.ok() ? Error::invalid("window state was saved with other options")
                   : Error::corrupt("window state: cut off");
  }
  return {};
}

}  // namespace headwater
