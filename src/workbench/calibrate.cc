#include "workbench/calibrate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "workbench/onnx_file.h"
#include "workbench/session.h"

namespace headwater::workbench {
namespace {

constexpr double kTail = 1e-4;     // of all values, on each side, outside the percentile range
constexpr int kSteps = 64;         // candidates tried for a range
constexpr double kShortest = 0.2;  // of the whole range
constexpr int kLevels = 256;
constexpr std::uint64_t kPieceBytes = std::uint64_t{128} << 20;

}  // namespace

void Histogram::grow(float magnitude) {
  if (reach_ == 0) {
    int exponent = 0;
    std::frexp(static_cast<double>(magnitude), &exponent);
    reach_ = std::ldexp(1.0, std::max(exponent, -100));
    bins_.assign(kBins, 0);
    bins_[kBins / 2] = zeros_before_;
  }
  while (static_cast<double>(magnitude) > reach_) {
    // The middle half takes all bins in pairs.
    std::array<std::uint64_t, kBins> joined{};
    for (int i = 0; i < kBins; ++i) {
      joined[static_cast<std::size_t>(kBins / 4 + i / 2)] += bins_[static_cast<std::size_t>(i)];
    }
    std::copy(joined.begin(), joined.end(), bins_.begin());
    reach_ *= 2;
  }
}

void Histogram::add(std::span<const float> values) {
  float low = 0;
  float high = 0;
  for (const float value : values) {
    // An infinity fails both tests of isfinite() below; NaN compares false here.
    low = value < low && value >= -3.4e38F ? value : low;
    high = value > high && value <= 3.4e38F ? value : high;
  }
  count_ += values.size();
  low_ = std::min(low_, low);
  high_ = std::max(high_, high);
  if (const float magnitude = std::max(-low, high); magnitude > 0) {
    grow(magnitude);
  }
  if (reach_ == 0) {
    zeros_before_ += values.size();
    return;
  }
  const auto factor = static_cast<float>(kBins / (2 * reach_));
  const auto shift = static_cast<float>(kBins / 2);
  for (const float value : values) {
    const float at = value * factor + shift;
    if (at >= 0 && at <= static_cast<float>(kBins)) {
      ++bins_[static_cast<std::size_t>(std::min(static_cast<int>(at), kBins - 1))];
    } else {
      ++not_finite_;
    }
  }
}

Range Histogram::range(RangeMethod method) const {
  if (reach_ == 0) {
    return {};
  }
  switch (method) {
    case RangeMethod::kMinMax:
      return {low_, high_};
    case RangeMethod::kPercentile:
      return percentile();
    case RangeMethod::kMse:
      return least_error();
    case RangeMethod::kEntropy:
      return least_entropy();
  }
  return {low_, high_};
}

Range Histogram::percentile() const {
  const double allowed = kTail * static_cast<double>(count_);
  Range range{low_, high_};
  const double width = 2 * reach_ / kBins;
  double outside = 0;
  for (int i = kBins - 1; i >= 0; --i) {
    outside += static_cast<double>(bins_[static_cast<std::size_t>(i)]);
    if (outside > allowed) {
      range.high = std::clamp(static_cast<float>(centre(i) + width / 2), 0.0F, high_);
      break;
    }
  }
  outside = 0;
  for (int i = 0; i < kBins; ++i) {
    outside += static_cast<double>(bins_[static_cast<std::size_t>(i)]);
    if (outside > allowed) {
      range.low = std::clamp(static_cast<float>(centre(i) - width / 2), low_, 0.0F);
      break;
    }
  }
  return range;
}

Range Histogram::least_error() const {
  Range best{low_, high_};
  double least = -1;
  const auto cost = [&](const Range& range) {
    const double step =
        (static_cast<double>(range.high) - static_cast<double>(range.low)) / (kLevels - 1);
    double error = 0;
    for (int i = 0; i < kBins; ++i) {
      const auto many = static_cast<double>(bins_[static_cast<std::size_t>(i)]);
      if (many == 0) {
        continue;
      }
      const double value = centre(i);
      const double over =
          value > static_cast<double>(range.high)  ? value - static_cast<double>(range.high)
          : value < static_cast<double>(range.low) ? static_cast<double>(range.low) - value
                                                   : 0;
      // Zero is a level: it costs nothing, however often it comes.
      const bool zero = i == kBins / 2 && low_ == 0;
      error += many * (over > 0 ? over * over : zero ? 0 : step * step / 12);
    }
    return error;
  };
  // Each side by itself, then the other: ranges of activations are seldom symmetric.
  for (int side = 0; side < 2; ++side) {
    const Range start = best;
    for (int i = 0; i <= kSteps; ++i) {
      const auto part = static_cast<float>(1.0 - (1.0 - kShortest) * i / kSteps);
      const Range tried =
          side == 0 ? Range{start.low, high_ * part} : Range{low_ * part, start.high};
      if (tried.high <= tried.low) {
        continue;
      }
      const double error = cost(tried);
      if (least < 0 || error < least) {
        least = error;
        best = tried;
      }
    }
  }
  return best;
}

Range Histogram::least_entropy() const {
  Range best{low_, high_};
  double least = -1;
  const double width = 2 * reach_ / kBins;
  for (int i = 0; i <= kSteps; ++i) {
    const double part = 1.0 - (1.0 - kShortest) * i / kSteps;
    const double low = static_cast<double>(low_) * part;
    const double high = static_cast<double>(high_) * part;
    const int first = std::clamp(static_cast<int>((low + reach_) / width), 0, kBins - 1);
    const int last = std::clamp(static_cast<int>((high + reach_) / width), first, kBins - 1);
    std::vector<double> seen(static_cast<std::size_t>(last - first + 1), 0);
    for (int bin = 0; bin < kBins; ++bin) {
      // What is outside is clipped to the ends.
      seen[static_cast<std::size_t>(std::clamp(bin, first, last) - first)] +=
          static_cast<double>(bins_[static_cast<std::size_t>(bin)]);
    }
    std::vector<double> levels(kLevels, 0);
    std::vector<double> used(kLevels, 0);
    const auto level_of = [&](std::size_t bin) { return bin * kLevels / seen.size(); };
    for (std::size_t bin = 0; bin < seen.size(); ++bin) {
      const bool end = bin == 0 || bin + 1 == seen.size();
      const auto inside = static_cast<double>(bins_[static_cast<std::size_t>(first) + bin]);
      levels[level_of(bin)] += end ? inside : seen[bin];
      used[level_of(bin)] += seen[bin] > 0 ? 1 : 0;
    }
    double all_seen = 0;
    double all_levels = 0;
    for (std::size_t bin = 0; bin < seen.size(); ++bin) {
      all_seen += seen[bin];
      all_levels += seen[bin] > 0 ? levels[level_of(bin)] / used[level_of(bin)] : 0;
    }
    double entropy = 0;
    for (std::size_t bin = 0; bin < seen.size(); ++bin) {
      if (seen[bin] > 0) {
        const double p = seen[bin] / all_seen;
        const double q = levels[level_of(bin)] / used[level_of(bin)] / std::max(all_levels, 1.0);
        entropy += p * std::log(p / std::max(q, 1e-12));
      }
    }
    if (least < 0 || entropy < least) {
      least = entropy;
      best = {static_cast<float>(low), static_cast<float>(high)};
    }
  }
  return best;
}

Result<std::map<std::string, Histogram>> calibrate(const OnnxModel& model, const Feeds& feeds,
                                                   std::span<const std::size_t> which,
                                                   std::vector<std::string> names,
                                                   const Progress& progress) {
  std::map<std::string, Histogram> seen;
  if (which.empty() || names.empty()) {
    return seen;
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  // Inputs need no run: they are watched as they are read.
  std::vector<std::string> inputs;
  std::vector<std::string> made;
  const Feed first = HW_TRY(feeds.read(which[0]));
  for (const std::string& name : names) {
    (first.count(name) != 0 ? inputs : made).push_back(name);
  }
  const auto watch = [&](const std::string& name, const Tensor& tensor) {
    if (tensor.type == onnx::TensorProto::FLOAT) {
      std::vector<float> values(tensor.bytes.size() / sizeof(float));
      std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
      seen[name].add(values);
    }
  };
  const auto facts = HW_TRY(probe_values(model, first, made, 64));
  std::vector<std::vector<std::string>> pieces(1);
  std::uint64_t bytes = 0;
  for (const std::string& name : made) {
    const auto found = facts.find(name);
    if (found == facts.end() || found->second.type != onnx::TensorProto::FLOAT) {
      continue;
    }
    std::uint64_t size = sizeof(float);
    for (const std::int64_t dim : found->second.shape) {
      size *= static_cast<std::uint64_t>(std::max<std::int64_t>(dim, 0));
    }
    if (bytes > 0 && bytes + size > kPieceBytes) {
      pieces.emplace_back();
      bytes = 0;
    }
    bytes += size;
    pieces.back().push_back(name);
  }
  OnnxModel tapped = model;
  std::uint64_t done = 0;
  for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
    auto* outputs = tapped.proto.mutable_graph()->mutable_output();
    outputs->Clear();
    for (const std::string& name : pieces[piece]) {
      outputs->Add()->set_name(name);
    }
    std::unique_ptr<Session> session;
    if (!pieces[piece].empty()) {
      session = HW_TRY(Session::open(tapped, {.level = GraphLevel::kBasic}));
    }
    for (const std::size_t index : which) {
      report(progress, "calibrate", done++, pieces.size() * which.size());
      const Feed feed = HW_TRY(feeds.read(index));
      if (piece == 0) {
        for (const std::string& name : inputs) {
          watch(name, feed.at(name));
        }
      }
      if (session) {
        const std::vector<Tensor> values = HW_TRY(session->run(feed).with("input {}", index));
        for (std::size_t i = 0; i < values.size(); ++i) {
          watch(session->outputs()[i].name, values[i]);
        }
      }
    }
  }
  return seen;
}

}  // namespace headwater::workbench
