#include "workbench/search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/strings.h"
#include "io/files.h"
#include "workbench/compare.h"
#include "workbench/graph.h"
#include "workbench/onnx_file.h"
#include "workbench/quantize_static.h"
#include "workbench/quantize_weights.h"
#include "workbench/residual_norm.h"
#include "workbench/session.h"

namespace headwater::workbench {
namespace {

constexpr std::uint64_t kMaxHeldBytes = std::uint64_t{96} << 20;
constexpr std::size_t kRankingInputs = 4;
constexpr std::size_t kMostCalibration = 64;  // more inputs only take time
constexpr double kNeverSlower = 0.97;
constexpr double kReadingShare = 0.2;
constexpr double kRankingShare = 0.5;  // of the budget

class Searcher {
 public:
  Searcher(const SearchOptions& options, const Progress& progress)
      : options_(options), progress_(progress), start_(Clock::now()) {}

  Result<SearchReport> run(bool rank_only) {
    if (auto stop = HW_TRY(open())) {
      return std::move(*stop);
    }
    if (rank_only) {
      if (!can_static_) {
        return Error::invalid("no node of '{}' can be ranked", options_.input);
      }
      HW_TRY(calibrate_base());
      HW_TRY(rank(1e9));
      report_.verdict = Verdict::kImproved;
      return finish_report();
    }
    if (!options_.replay.empty()) {
      return replay();
    }
    const Status tried = try_all();
    if (!tried) {
      report_.notes.push_back("the search ended early: " + tried.error().text());
    }
    return decide();
  }

 private:
  using Clock = std::chrono::steady_clock;

  double spent() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  bool late(double share = 0.9) const { return spent() > options_.budget * share; }

  Result<std::optional<SearchReport>> open() {
    const auto refuse = [&](Verdict verdict, std::string why) {
      report_.verdict = verdict;
      report_.reason = std::move(why);
      return std::optional<SearchReport>(report_);
    };
    auto loaded = load_model(options_.input);
    if (!loaded) {
      return refuse(verdict_of(loaded.error()), loaded.error().text());
    }
    original_ = std::move(*loaded);
    report_.bytes_before = original_.file_bytes + external_bytes(original_);
    report_.digest_before = original_.digest;
    report_.runtime = HW_TRY(runtime_version());
    base_ = original_;
    Status sound = sort_nodes(base_.proto);
    if (sound) {
      sound = check_model(base_.proto);
    }
    if (!sound) {
      return refuse(Verdict::kInvalidInput, sound.error().text());
    }
    auto session = Session::open(original_, {.level = GraphLevel::kBasic});
    if (!session) {
      return refuse(verdict_of(session.error()), session.error().text());
    }
    feeds_ = HW_TRY(Feeds::open(options_.data, (*session)->inputs(), options_.feeds));
    report_.verified = !feeds_->synthetic();
    report_.data_digest = HW_TRY(feeds_->digest());
    ports_.assign((*session)->outputs().begin(), (*session)->outputs().end());
    const std::size_t count = std::min(feeds_->size(), options_.max_feeds);
    if (count == 0) {
      return refuse(Verdict::kInvalidInput, "there are no inputs in '" + options_.data + "'");
    }
    std::uint64_t held = 0;
    for (std::size_t i = 0; i < count && held < kMaxHeldBytes; ++i) {
      if (i >= 2 && late(kReadingShare)) {
        report_.notes.push_back(fmt::format("{} of {} inputs read in the budget", i, count));
        break;
      }
      report(progress_, "run the original", i, count);
      inputs_.push_back(HW_TRY(feeds_->read(i)));
      const auto began = Clock::now();
      auto outputs = (*session)->run(inputs_.back());
      run_seconds_ =
          std::min(run_seconds_, std::chrono::duration<double>(Clock::now() - began).count());
      if (!outputs) {
        return refuse(Verdict::kInvalidInput, fmt::format("the model does not run on input {}: {}",
                                                          i, outputs.error().text()));
      }
      for (const Tensor& tensor : *outputs) {
        held += tensor.bytes.size();
      }
      for (const auto& [name, tensor] : inputs_.back()) {
        held += tensor.bytes.size();
      }
      wanted_.push_back(std::move(*outputs));
    }
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      (i % 2 == 0 ? tune_ : judge_).push_back(i);
    }
    tune_.resize(std::min(tune_.size(), kMostCalibration));
    if (judge_.empty()) {
      judge_ = tune_;
      report_.notes.push_back("one input alone: it calibrates and judges");
    }
    report_.calibrated_on = tune_.size();
    report_.judged_on = judge_.size();
    if (options_.max_drop) {
      HW_TRY(read_labels());
    }
    session->reset();
    prepare_names(base_.proto);
    lift_constants(base_.proto);
    drop_initializer_inputs(base_.proto);
    drop_unused(base_.proto);
    auto prepared = prepare_static(base_, inputs_[0]);
    if (prepared) {
      base_ = std::move(prepared->model);
      report_.notes.insert(report_.notes.end(), prepared->notes.begin(), prepared->notes.end());
      join_norms();
      products_ = static_products(base_, &hindered_);
      can_static_ = !products_.empty();
    } else {
      report_.notes.push_back("static int8 left out: " + prepared.error().text());
    }
    return std::optional<SearchReport>{};
  }

  // Kept only where it changes nothing that could be heard.
  void join_norms() {
    OnnxModel joined = base_;
    const auto count = join_residual_norms(joined, inputs_[0]);
    if (!count || *count == 0) {
      return;
    }
    auto session = Session::open(joined, {});
    const auto same = session ? difference(**session, tune_) : Result<Comparison>(session.error());
    if (same && same->worst_snr >= 80) {
      base_ = std::move(joined);
      report_.notes.push_back(
          fmt::format("{} residual sums joined with the LayerNorm behind them, equal to {}", *count,
                      snr_text(same->worst_snr)));
    }
  }

  Status read_labels() {
    if (options_.labels.empty()) {
      return Error::invalid("--max-drop needs --labels: a file with a class number a line");
    }
    const std::string text = HW_TRY(io::real_files().read_all(options_.labels));
    for (const std::string_view line : split(text, '\n')) {
      if (const std::string_view cell = trim(line); !cell.empty()) {
        const auto value = parse_number(cell);
        if (!value) {
          return Error::invalid("{}:{}: '{}' is not a class number", options_.labels,
                                labels_.size() + 1, cell);
        }
        labels_.push_back(*value);
      }
    }
    if (labels_.size() < inputs_.size()) {
      return Error::invalid("'{}' has {} labels for {} inputs", options_.labels, labels_.size(),
                            inputs_.size());
    }
    original_right_ = count_right([&](std::size_t i) { return &wanted_[i]; });
    return {};
  }

  static std::optional<std::size_t> parse_number(std::string_view text) {
    std::size_t value = 0;
    for (const char c : text) {
      if (c < '0' || c > '9' || value > 1'000'000'000) {
        return std::nullopt;
      }
      value = value * 10 + static_cast<std::size_t>(c - '0');
    }
    return value;
  }

  // Of the judging inputs, those whose first output is largest at the label.
  template <class Outputs>
  std::size_t count_right(const Outputs& outputs) const {
    std::size_t right = 0;
    for (const std::size_t i : judge_) {
      const auto values = as_doubles((*outputs(i))[0]);
      if (values && !values->empty()) {
        const auto best = std::max_element(values->begin(), values->end()) - values->begin();
        right += static_cast<std::size_t>(best) == labels_[i] ? 1 : 0;
      }
    }
    return right;
  }

  Status calibrate_base() {
    const auto seen = HW_TRY(calibrate(base_, *feeds_, tune_, values_to_watch(base_), progress_));
    for (const auto& [name, histogram] : seen) {
      ranges_[name] = histogram.range(RangeMethod::kMse);
    }
    return {};
  }

  Result<OnnxModel> build(const Recipe& recipe, std::vector<NodeNote>* notes = nullptr) {
    OnnxModel model = base_;
    std::vector<NodeNote> done;
    const auto take = [&](std::vector<NodeNote> more) {
      done.insert(done.end(), more.begin(), more.end());
    };
    const WeightOptions weights{.per_channel = recipe.per_channel,
                                .reduced_range = options_.reduced_range,
                                .exclude = {recipe.left_out.begin(), recipe.left_out.end()}};
    const bool mixed = recipe.kind == "hybrid";
    if (recipe.kind == "static" || mixed) {
      if (ranges_.empty()) {
        HW_TRY(calibrate_base());
      }
      StaticOptions chosen{.nodes = {products_.begin(), products_.end()},
                           .reduced_range = options_.reduced_range};
      for (const std::string& name : recipe.left_out) {
        chosen.nodes.erase(name);
      }
      take(HW_TRY(quantize_static(model, ranges_, chosen)));
    }
    if (recipe.kind == "dynamic") {
      take(HW_TRY(quantize_dynamic(model, weights)));
      take(HW_TRY(store_tables_int8(model, weights)));
    }
    if (mixed) {
      WeightOptions rest = weights;
      rest.exclude.clear();  // what static int8 harms, a scale a call may not
      take(HW_TRY(quantize_dynamic(model, rest)));
      take(HW_TRY(store_tables_int8(model, rest)));
    }
    if (recipe.kind == "weights" || recipe.store_rest) {
      take(HW_TRY(store_weights_int8(model, weights)));
    }
    if (recipe.kind != "graph" &&
        std::none_of(done.begin(), done.end(), [](const NodeNote& note) { return note.changed; })) {
      return Error::not_found("nothing to quantize");
    }
    if (notes != nullptr) {
      *notes = std::move(done);
    }
    return model;
  }

  Result<Comparison> difference(Session& session, std::span<const std::size_t> which) {
    Comparer comparer(ports_);
    for (const std::size_t i : which) {
      const auto outputs = HW_TRY(session.run(inputs_[i]));
      HW_TRY(comparer.add(wanted_[i], outputs));
    }
    return comparer.result();
  }

  // Makes it, judges it, measures it. Kept in the report whatever comes out.
  Result<Candidate> judge(Recipe recipe) {
    recipe.store_rest = options_.goal == Goal::kSize && recipe.kind != "graph";
    Candidate candidate{.recipe = std::move(recipe), .rejected = {}};
    auto model = build(candidate.recipe);
    if (!model) {
      candidate.rejected = model.error().text();
      return note(std::move(candidate), model.error().code() != Code::kNotFound);
    }
    candidate.bytes = HW_TRY(serialize(*model)).size() + external_bytes(*model);
    auto session = Session::open(*model, {});
    if (!session) {
      candidate.rejected = session.error().text();
      return note(std::move(candidate), true);
    }
    auto compared = difference(**session, judge_);
    if (!compared) {
      candidate.rejected = compared.error().text();
      return note(std::move(candidate), true);
    }
    candidate.snr = compared->snr;
    candidate.worst_snr = compared->worst_snr;
    if (options_.max_drop) {
      candidate.drop = HW_TRY(drop(**session));
      if (*candidate.drop > *options_.max_drop) {
        candidate.rejected = fmt::format("loses {:.2f} points of accuracy", *candidate.drop);
      }
    } else if (candidate.snr < options_.min_snr) {
      candidate.rejected =
          fmt::format("{} is below {:g} dB", snr_text(candidate.snr), options_.min_snr);
    }
    if (candidate.bytes > report_.bytes_before + 1024) {
      candidate.rejected = "it is larger than the input";
    }
    session->reset();
    // The speed of what is not accurate is told too, while there is time: it explains.
    const double takes = 2 * run_seconds_ * static_cast<double>(least_calls(speed_options()));
    const double left = options_.budget - spent();
    if (takes > left) {
      if (candidate.rejected.empty()) {
        candidate.rejected = fmt::format(
            "its speed was not measured: that takes about {:.0f} s, and {:.0f} s of the budget are "
            "left",
            std::ceil(takes), std::max(left, 0.0));
      }
    } else if (candidate.rejected.empty() || !late(0.5)) {
      candidate.speed = HW_TRY(measure_speed(*model));
      const double needed = needed_speed(candidate.recipe);
      if (candidate.rejected.empty() && candidate.speed->low < needed) {
        candidate.rejected =
            fmt::format("{:.2f}× is not surely above {:g}×", candidate.speed->value, needed);
      }
    }
    return note(std::move(candidate), true);
  }

  double needed_speed(const Recipe& recipe) const {
    if (recipe.kind == "graph") {
      return kNeverSlower;
    }
    switch (options_.goal) {
      case Goal::kSpeed:
        return std::max(options_.min_speedup, kNeverSlower);
      case Goal::kSize:
        return kNeverSlower - 0.02;
      case Goal::kBalanced:
        return 1.0 - 0.01;
    }
    return 1;
  }

  Candidate note(Candidate candidate, bool keep) {
    if (keep) {
      report_.candidates.push_back(candidate);
    }
    return candidate;
  }

  Result<double> drop(Session& session) {
    std::vector<std::vector<Tensor>> outputs(inputs_.size());
    for (const std::size_t i : judge_) {
      outputs[i] = HW_TRY(session.run(inputs_[i]));
    }
    const std::size_t right = count_right([&](std::size_t i) { return &outputs[i]; });
    return 100.0 * (static_cast<double>(original_right_) - static_cast<double>(right)) /
           static_cast<double>(judge_.size());
  }

  MeasureOptions speed_options() const {
    MeasureOptions options;
    options.seconds = std::clamp(options_.budget / 60, 0.2, 2.0) / 2;
    return options;
  }

  // Both orders: whoever is opened second finds another heap.
  Result<Ratio> measure_speed(const OnnxModel& model) {
    const auto open = [&](const OnnxModel& one) -> Result<std::unique_ptr<Session>> {
      auto session = HW_TRY(Session::open(one, {}));
      HW_TRY(session->bind(inputs_[judge_[0]]));
      return session;
    };
    const MeasureOptions options = speed_options();
    const SideBySide ahead = HW_TRY(measure_side_by_side(
        [&] { return open(original_); }, [&] { return open(model); }, options, progress_));
    const SideBySide behind = HW_TRY(measure_side_by_side(
        [&] { return open(model); }, [&] { return open(original_); }, options, progress_));
    return Ratio{.value = std::sqrt(ahead.cpu.value / behind.cpu.value),
                 .low = std::sqrt(ahead.cpu.low / behind.cpu.high),
                 .high = std::sqrt(ahead.cpu.high / behind.cpu.low)};
  }

  // Each product alone in int8, on a few calibration inputs.
  Status rank(double until_share) {
    const std::size_t few = std::min(kRankingInputs, tune_.size());
    std::map<std::string, std::string> kinds;
    for (const auto& node : base_.proto.graph().node()) {
      kinds[node.name()] = node.op_type();
    }
    for (std::size_t i = 0; i < products_.size(); ++i) {
      report(progress_, "rank nodes", i, products_.size());
      if (late(until_share)) {
        report_.notes.push_back(fmt::format(
            "{} of {} nodes ranked in the budget; the rest stays float32", i, products_.size()));
        break;
      }
      OnnxModel model = base_;
      StaticOptions one{.nodes = {products_[i]}, .reduced_range = options_.reduced_range};
      HW_TRY(quantize_static(model, ranges_, one));
      auto session = HW_TRY(Session::open(model, {}));
      const Comparison compared = HW_TRY(difference(*session, std::span(tune_).first(few)));
      report_.sensitivity.push_back({products_[i], kinds[products_[i]], compared.snr});
    }
    std::stable_sort(report_.sensitivity.begin(), report_.sensitivity.end(),
                     [](const Sensitivity& a, const Sensitivity& b) { return a.snr < b.snr; });
    return {};
  }

  // Products to leave out so that the noise of the others adds up to `room` at most.
  std::vector<std::string> too_noisy(double room) const {
    std::vector<std::string> out;
    for (const std::string& name : products_) {
      if (std::none_of(report_.sensitivity.begin(), report_.sensitivity.end(),
                       [&](const Sensitivity& one) { return one.node == name; })) {
        out.push_back(name);
      }
    }
    double sum = 0;
    for (auto one = report_.sensitivity.rbegin(); one != report_.sensitivity.rend(); ++one) {
      sum += one->snr == kEqual ? 0 : std::pow(10.0, -one->snr / 10);
      if (sum > room) {
        out.push_back(one->node);
      }
    }
    return out;
  }

  Status try_static() {
    HW_TRY(calibrate_base());
    const Candidate all = HW_TRY(judge({.kind = "static", .left_out = {}}));
    const bool accurate = options_.max_drop ? all.drop && *all.drop <= *options_.max_drop
                                            : all.snr >= options_.min_snr;
    if (accurate || late(kRankingShare)) {
      return {};
    }
    HW_TRY(rank(kRankingShare));
    // Noise does not add up exactly: the room shrinks until the candidate passes.
    double room = std::pow(10.0, -options_.min_snr / 10);
    std::vector<std::string> last;
    for (int round = 0; round < 6 && !late(0.8); ++round, room /= 2.5) {
      std::vector<std::string> out = too_noisy(room);
      if (out.size() >= products_.size()) {
        break;
      }
      if (out == last) {
        continue;
      }
      last = out;
      const Candidate tried = HW_TRY(judge({.kind = "static", .left_out = out}));
      if (tried.snr >= options_.min_snr || (tried.drop && *tried.drop <= *options_.max_drop)) {
        HW_TRY(judge({.kind = "hybrid", .left_out = out}));
        break;
      }
    }
    return {};
  }

  Status try_all() {
    HW_TRY(judge({.kind = "graph", .left_out = {}}));
    if (options_.goal != Goal::kSpeed) {
      HW_TRY(judge({.kind = "weights", .left_out = {}}));
    }
    if (!late()) {
      HW_TRY(judge({.kind = "dynamic", .left_out = {}}));
    }
    if (!late()) {
      const bool pays = std::any_of(report_.candidates.begin(), report_.candidates.end(),
                                    [](const Candidate& one) {
                                      return one.recipe.kind == "dynamic" && one.rejected.empty();
                                    });
      if (pays) {
        HW_TRY(judge({.kind = "dynamic", .per_channel = false, .left_out = {}}));
      }
    }
    if (can_static_ && !late()) {
      HW_TRY(try_static());
    }
    return {};
  }

  double score(const Candidate& candidate) const {
    const double speed = candidate.speed ? std::log(candidate.speed->value) : 0;
    const double size =
        std::log(static_cast<double>(candidate.bytes) /
                 static_cast<double>(std::max<std::uint64_t>(1, report_.bytes_before)));
    switch (options_.goal) {
      case Goal::kSpeed:
        return speed - 0.01 * size;
      case Goal::kSize:
        return -size + 0.05 * speed;
      case Goal::kBalanced:
        return speed - 0.5 * size;
    }
    return 0;
  }

  Result<SearchReport> decide() {
    const Candidate* best = nullptr;
    const Candidate* fastest = nullptr;
    for (const Candidate& one : report_.candidates) {
      const bool int8 = one.recipe.kind != "graph";
      if (one.rejected.empty() && (best == nullptr || score(one) > score(*best))) {
        best = &one;
      }
      if (int8 && one.speed && (fastest == nullptr || one.speed->value > fastest->speed->value)) {
        fastest = &one;
      }
    }
    const bool int8 = best != nullptr && best->recipe.kind != "graph";
    if (!int8) {
      report_.reason = fastest == nullptr
                           ? "kept fp32: nothing of it can be int8"
                           : fmt::format("kept fp32: int8 measured {:.2f}× at {}",
                                         fastest->speed->value, snr_text(fastest->snr));
      // A tidied graph is worth writing where it is clearly faster or smaller.
      if (best != nullptr && !(best->speed && best->speed->low > 1.02)) {
        best = nullptr;
      }
    }
    if (best == nullptr) {
      HW_TRY(copy_model(original_, options_.output));
      report_.bytes_after = report_.bytes_before;
      report_.digest_after = report_.digest_before;
      return finish_report();
    }
    return write(*best);
  }

  Result<SearchReport> write(const Candidate& candidate) {
    report_.chosen = candidate;
    const OnnxModel model = HW_TRY(build(candidate.recipe, &report_.nodes));
    const bool products = candidate.recipe.kind != "graph" && candidate.recipe.kind != "weights";
    report_.safe_without_vnni = !products || options_.reduced_range;
    HW_TRY(save_model(model, options_.output));
    const OnnxModel written = HW_TRY(load_model(options_.output));
    report_.digest_after = written.digest;
    report_.bytes_after = written.file_bytes + external_bytes(written);
    report_.verdict = candidate.recipe.kind == "graph" ? Verdict::kKept : Verdict::kImproved;
    return finish_report();
  }

  Result<SearchReport> replay() {
    Candidate candidate{.recipe = HW_TRY(recipe_from_report(options_.replay)), .rejected = {}};
    if (candidate.recipe.kind.empty()) {
      HW_TRY(copy_model(original_, options_.output));
      report_.reason = "kept fp32, as in the report";
      report_.bytes_after = report_.bytes_before;
      report_.digest_after = report_.digest_before;
      return finish_report();
    }
    const OnnxModel model = HW_TRY(build(candidate.recipe));
    auto session = HW_TRY(Session::open(model, {}));
    const Comparison compared = HW_TRY(difference(*session, judge_));
    candidate.bytes = HW_TRY(serialize(model)).size() + external_bytes(model);
    candidate.snr = compared.snr;
    candidate.worst_snr = compared.worst_snr;
    if (options_.max_drop) {
      candidate.drop = HW_TRY(drop(*session));
    }
    if (candidate.drop ? *candidate.drop > *options_.max_drop : candidate.snr < options_.min_snr) {
      report_.verdict = Verdict::kVerifyFailed;
      report_.reason =
          candidate.drop
              ? fmt::format("the recipe of the report loses {:.2f} points of accuracy here",
                            *candidate.drop)
              : fmt::format("the recipe of the report reaches {} here", snr_text(candidate.snr));
      return finish_report();
    }
    return write(candidate);
  }

  Result<SearchReport> finish_report() {
    report_.seconds = spent();
    return std::move(report_);
  }

  const SearchOptions& options_;
  const Progress& progress_;
  const Clock::time_point start_;
  SearchReport report_;
  OnnxModel original_;
  OnnxModel base_;  // tidied, and prepared for static int8 where that is possible
  bool can_static_ = false;
  std::optional<Feeds> feeds_;
  std::vector<Port> ports_;
  std::vector<Feed> inputs_;
  double run_seconds_ = 1e9;  // of the original, its fastest run
  std::vector<std::vector<Tensor>> wanted_;
  std::vector<std::size_t> tune_;
  std::vector<std::size_t> judge_;
  std::vector<std::size_t> labels_;
  std::size_t original_right_ = 0;
  std::vector<std::string> products_;
  std::vector<NodeNote> hindered_;
  std::map<std::string, Range> ranges_;
};

}  // namespace

Result<SearchReport> search(const SearchOptions& options, const Progress& progress) {
  return Searcher(options, progress).run(false);
}

Result<SearchReport> rank_nodes(const SearchOptions& options, const Progress& progress) {
  return Searcher(options, progress).run(true);
}

}  // namespace headwater::workbench
