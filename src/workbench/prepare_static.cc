#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "workbench/graph.h"
#include "workbench/opset.h"
#include "workbench/quantize_static.h"
#include "workbench/session.h"

namespace headwater::workbench {
namespace {

// A file in memory that ONNX Runtime can write and load_model() can read.
class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("headwater-model", MFD_CLOEXEC)) {}
  ~MemoryFile() {
    if (fd_ >= 0) {
      close(fd_);
    }
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  bool good() const { return fd_ >= 0; }
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_); }

 private:
  int fd_;
};

Result<OnnxModel> portable_clean_up(const OnnxModel& model) {
  const MemoryFile file;
  if (!file.good()) {
    return Error::from_errno(errno, "memfd_create");
  }
  HW_TRY(Session::open(model, {.level = GraphLevel::kBasic, .save_to = file.path()}));
  OnnxModel made = HW_TRY(load_model(file.path()));
  *made.proto.mutable_metadata_props() = model.proto.metadata_props();
  made.path.clear();
  made.folder = model.folder;
  prepare_names(made.proto);
  lift_constants(made.proto);
  return made;
}

Result<double> difference(const OnnxModel& one, const OnnxModel& other, const Feed& feed) {
  auto a = HW_TRY(Session::open(one, {.level = GraphLevel::kBasic}));
  auto b = HW_TRY(Session::open(other, {.level = GraphLevel::kBasic}));
  Comparer comparer(a->outputs());
  const auto wanted = HW_TRY(a->run(feed));
  const auto got = HW_TRY(b->run(feed));
  HW_TRY(comparer.add(wanted, got));
  return comparer.result().worst_snr;
}

}  // namespace

Result<Prepared> prepare_static(const OnnxModel& model, const Feed& feed) {
  Prepared prepared{.model = model, .notes = {}};
  if (opset(model.proto) < kTargetOpset) {
    std::map<std::string, ValueFacts> values;
    if (auto probed = probe_values(model, feed)) {
      values = std::move(*probed);
    }
    const Upgrade done = upgrade_opset(prepared.model, values);
    if (!done.unsupported.empty()) {
      return Error::invalid("{}: no conversion to opset {}", done.unsupported, kTargetOpset);
    }
    const double same = HW_TRY(difference(model, prepared.model, feed));
    if (same < 100) {
      return Error::invalid("converted to opset {} the model differs ({}): no conversion to opset",
                            kTargetOpset, snr_text(same));
    }
    prepared.notes.push_back(
        fmt::format("opset {} converted to {}, equal to {}", done.from, done.to, snr_text(same)));
  }
  auto clean = portable_clean_up(prepared.model);
  if (clean) {
    const double same = HW_TRY(difference(model, *clean, feed));
    if (same >= 80 && opset(clean->proto) >= kTargetOpset) {
      prepared.model = std::move(*clean);
      return prepared;
    }
  }
  prepared.notes.push_back("ONNX Runtime's clean-up left out: " +
                           (clean ? std::string("it changes the outputs") : clean.error().text()));
  return prepared;
}

Result<StaticFile> quantize_static_file(OnnxModel& model, const QuantizeOptions& options,
                                        const Progress& progress) {
  auto session = HW_TRY(Session::open(model, {.level = GraphLevel::kBasic}));
  const Feeds feeds = HW_TRY(Feeds::open(options.data, session->inputs(), options.feeds));
  session.reset();
  if (feeds.size() == 0) {
    return Error::invalid("'{}' holds no inputs to calibrate with", options.data);
  }
  const Feed first = HW_TRY(feeds.read(0));
  Prepared prepared = HW_TRY(prepare_static(model, first));
  StaticFile file{.nodes = {}, .notes = std::move(prepared.notes)};
  std::vector<std::size_t> which(std::min(feeds.size(), options.max_feeds));
  std::iota(which.begin(), which.end(), std::size_t{0});
  const auto seen =
      HW_TRY(calibrate(prepared.model, feeds, which, values_to_watch(prepared.model), progress));
  std::map<std::string, Range> ranges;
  for (const auto& [name, histogram] : seen) {
    ranges[name] = histogram.range(options.ranges);
  }
  StaticOptions chosen{
      .nodes = {}, .per_channel = options.per_channel, .reduced_range = options.reduced_range};
  for (const std::string& name : static_products(prepared.model)) {
    if (options.exclude.count(name) == 0) {
      chosen.nodes.insert(name);
    }
  }
  file.nodes = HW_TRY(quantize_static(prepared.model, ranges, chosen));
  if (feeds.synthetic()) {
    file.notes.push_back("calibrated on made-up inputs: accuracy is not verified");
  }
  model = std::move(prepared.model);
  return file;
}

}  // namespace headwater::workbench
