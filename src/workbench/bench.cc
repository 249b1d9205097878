#include "workbench/bench.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "base/strings.h"
#include "workbench/confine.h"
#include "workbench/inspect.h"

namespace headwater::workbench {
namespace {

std::string quoted(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string number(double value) {
  std::string out;
  append_json_number(out, value);
  return out;
}

Result<SessionOptions> session_options(const BenchOptions& options, int threads) {
  SessionOptions made{.threads = threads};
  for (const std::string& entry : options.config) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Error::invalid("--config '{}': write KEY=VALUE", entry);
    }
    made.config[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return made;
}

Result<Feed> feed_of(const Session& session, const BenchOptions& options, int batch) {
  const Feeds feeds = HW_TRY(Feeds::open(options.data, session.inputs(), options.feeds));
  if (batch == 1) {
    return feeds.read(0);
  }
  for (const Port& port : session.inputs()) {
    if (port.has_shape && (port.shape.empty() || port.shape[0] >= 0)) {
      return Error::invalid("a batch of {}, but input '{}' ({}) has a fixed first axis", batch,
                            port.name, port.text);
    }
  }
  std::vector<Feed> parts;
  for (int i = 0; i < batch; ++i) {
    parts.push_back(HW_TRY(feeds.read(static_cast<std::size_t>(i) % feeds.size())));
  }
  return stack(parts);
}

// Load time and memory, in a process that does nothing else: "load_ms peak before error…".
Result<BenchModel> weigh(const std::string& path, const BenchOptions& options) {
  const auto work = [&]() -> std::string {
    const auto weighed = [&]() -> Result<std::string> {
      HW_TRY(runtime_version());
      const std::uint64_t before = peak_memory();
      const auto start = std::chrono::steady_clock::now();
      const SessionOptions session_with = HW_TRY(session_options(options, options.threads.front()));
      auto session = HW_TRY(Session::open(path, session_with));
      const std::chrono::duration<double, std::milli> spent =
          std::chrono::steady_clock::now() - start;
      const Feed feed = HW_TRY(feed_of(*session, options, 1));
      HW_TRY(session->bind(feed));
      for (int i = 0; i < 3; ++i) {
        HW_TRY(session->run_bound());
      }
      return fmt::format("{} {} {}", spent.count(), peak_memory(), before);
    };
    const auto text = weighed();
    return text ? *text : "error " + text.error().text();
  };
  const std::string text = HW_TRY(text_of_child(work));
  if (text.starts_with("error ")) {
    return Error::invalid("{}", text.substr(6));
  }
  const auto words = split(text, ' ');
  BenchModel model;
  model.path = path;
  struct stat facts {};
  if (stat(path.c_str(), &facts) == 0) {
    model.file_bytes = static_cast<std::uint64_t>(facts.st_size);
  }
  if (words.size() == 3) {
    std::from_chars(words[0].data(), words[0].data() + words[0].size(), model.load_ms);
    std::from_chars(words[1].data(), words[1].data() + words[1].size(), model.peak_bytes);
    std::from_chars(words[2].data(), words[2].data() + words[2].size(), model.runtime_bytes);
  }
  return model;
}

double mib(std::uint64_t bytes) {
  return static_cast<double>(bytes) / (1024 * 1024);
}

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '"' ? "&quot;" : std::string(1, c);
  }
  return out;
}

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

Result<Feed> stack(const std::vector<Feed>& feeds) {
  Feed whole = feeds.at(0);
  for (std::size_t i = 1; i < feeds.size(); ++i) {
    for (auto& [name, tensor] : whole) {
      const auto found = feeds[i].find(name);
      if (found == feeds[i].end() || tensor.shape.empty() ||
          found->second.shape.size() != tensor.shape.size() ||
          !std::equal(tensor.shape.begin() + 1, tensor.shape.end(),
                      found->second.shape.begin() + 1)) {
        return Error::invalid("inputs '{}' differ in shape, so they make no batch", name);
      }
      tensor.shape[0] += found->second.shape[0];
      tensor.bytes += found->second.bytes;
      tensor.strings.insert(tensor.strings.end(), found->second.strings.begin(),
                            found->second.strings.end());
    }
  }
  return whole;
}

Result<BenchReport> bench(const BenchOptions& options, const Progress& progress) {
  BenchReport made;
  made.limits = options.limits;
  made.synthetic = options.data.empty();
  for (const std::string& path : options.models) {
    HW_TRY(check_file(path));
  }
  for (const std::string& path : options.models) {
    report(progress, "load", made.models.size(), options.models.size());
    made.models.push_back(HW_TRY(weigh(path, options)));
  }
  made.runtime = HW_TRY(runtime_version());
  bool fast = false;
  made.cpu = cpu_int8(fast);
  for (const int threads : options.threads) {
    if (threads < 1 || threads > 1024) {
      return Error::invalid("--threads {}: 1 or more", threads);
    }
    const SessionOptions session_with = HW_TRY(session_options(options, threads));
    MeasureOptions measure_with;
    measure_with.seconds = options.seconds;
    measure_with.threads = threads;
    for (const int batch : options.batches) {
      if (batch < 1) {
        return Error::invalid("--batch {}: 1 or more", batch);
      }
      const auto open = [&](const std::string& path) -> OpenSession {
        return [&, path]() -> Result<std::unique_ptr<Session>> {
          auto session = HW_TRY(Session::open(path, session_with));
          const Feed feed = HW_TRY(feed_of(*session, options, batch));
          HW_TRY(session->bind(feed));
          return session;
        };
      };
      for (const std::string& path : options.models) {
        auto session = HW_TRY(open(path)());
        BenchRow row{
            .model = path, .threads = threads, .batch = batch, .latency = {}, .rows_per_second = 0};
        row.latency = HW_TRY(measure(*session, measure_with, progress));
        row.rows_per_second = row.latency.calls_per_second * batch;
        made.rows.push_back(std::move(row));
      }
      for (std::size_t i = 1; i < options.models.size(); ++i) {
        made.pairs.push_back(
            {.model = options.models[i],
             .threads = threads,
             .batch = batch,
             .result = HW_TRY(measure_side_by_side(open(options.models[0]), open(options.models[i]),
                                                   measure_with, progress))});
      }
    }
  }
  return made;
}

std::string to_text(const BenchReport& made) {
  std::string text = fmt::format("ONNX Runtime {}, CPU {}{}{}\n\n", made.runtime, made.cpu,
                                 made.limits.empty() ? "" : ", limits: " + made.limits,
                                 made.synthetic ? ", inputs made up" : "");
  text += fmt::format("{:<32} {:>12} {:>10} {:>10} {:>14}\n", "model", "bytes", "load ms",
                      "peak MiB", "of it runtime");
  for (const BenchModel& one : made.models) {
    text += fmt::format("{:<32} {:>12} {:>10.2f} {:>10.1f} {:>14.1f}\n", base_name(one.path),
                        one.file_bytes, one.load_ms, mib(one.peak_bytes), mib(one.runtime_bytes));
  }
  text += fmt::format("\n{:<32} {:>3} {:>5} {:>9} {:>9} {:>9} {:>9} {:>10}\n", "model", "thr",
                      "batch", "p50 ms", "p90 ms", "p99 ms", "cpu ms", "rows/s");
  for (const BenchRow& row : made.rows) {
    text += fmt::format("{:<32} {:>3} {:>5} {:>9.4g} {:>9.4g} {:>9.4g} {:>9.4g} {:>10.0f}\n",
                        base_name(row.model), row.threads, row.batch, row.latency.p50,
                        row.latency.p90, row.latency.p99, row.latency.cpu_p50, row.rows_per_second);
  }
  if (!made.pairs.empty()) {
    text += fmt::format("\nside by side with {} (above 1: faster), 95 % interval\n",
                        base_name(made.models.front().path));
    for (const BenchPair& pair : made.pairs) {
      const Ratio& cpu = pair.result.cpu;
      const Ratio& wall = pair.result.wall;
      text += fmt::format(
          "{:<32} {:>3} {:>5}  cpu {:.3f} [{:.3f}, {:.3f}]  wall {:.3f} [{:.3f}, {:.3f}]  {} "
          "rounds\n",
          base_name(pair.model), pair.threads, pair.batch, cpu.value, cpu.low, cpu.high, wall.value,
          wall.low, wall.high, pair.result.rounds);
    }
  }
  return text;
}

std::string to_json(const BenchReport& made) {
  std::string out =
      fmt::format(R"({{"runtime":{},"cpu":{},"limits":{},"synthetic":{},"models":[)",
                  quoted(made.runtime), quoted(made.cpu), quoted(made.limits), made.synthetic);
  const auto comma = [&](std::size_t i) { return i == 0 ? "" : ","; };
  for (std::size_t i = 0; i < made.models.size(); ++i) {
    const BenchModel& one = made.models[i];
    out += fmt::format(
        R"({}{{"path":{},"bytes":{},"load_ms":{},"peak_bytes":{},"runtime_bytes":{}}})", comma(i),
        quoted(one.path), one.file_bytes, number(one.load_ms), one.peak_bytes, one.runtime_bytes);
  }
  out += "],\"measurements\":[";
  for (std::size_t i = 0; i < made.rows.size(); ++i) {
    const BenchRow& row = made.rows[i];
    out += fmt::format(
        R"({}{{"model":{},"threads":{},"batch":{},"calls":{},"mean_ms":{},"p50_ms":{},"p90_ms":{},"p99_ms":{},"min_ms":{},"cpu_p50_ms":{},"rows_per_second":{}}})",
        comma(i), quoted(row.model), row.threads, row.batch, row.latency.calls,
        number(row.latency.mean), number(row.latency.p50), number(row.latency.p90),
        number(row.latency.p99), number(row.latency.least), number(row.latency.cpu_p50),
        number(row.rows_per_second));
  }
  out += "],\"side_by_side\":[";
  for (std::size_t i = 0; i < made.pairs.size(); ++i) {
    const BenchPair& pair = made.pairs[i];
    const auto ratio = [](const Ratio& one) {
      return fmt::format(R"({{"ratio":{},"low":{},"high":{}}})", number(one.value), number(one.low),
                         number(one.high));
    };
    out += fmt::format(R"({}{{"model":{},"threads":{},"batch":{},"rounds":{},"cpu":{},"wall":{}}})",
                       comma(i), quoted(pair.model), pair.threads, pair.batch, pair.result.rounds,
                       ratio(pair.result.cpu), ratio(pair.result.wall));
  }
  return out + "]}\n";
}

// Bars of p50 with whiskers to p99.
std::string to_svg(const BenchReport& made) {
  constexpr int kLeft = 260;
  constexpr int kWide = 420;
  constexpr int kStep = 26;
  double most = 1e-9;
  for (const BenchRow& row : made.rows) {
    most = std::max(most, row.latency.p99);
  }
  std::string bars;
  int y = 44;
  for (const BenchRow& row : made.rows) {
    const double scale = kWide / most;
    bars += fmt::format(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} t{} b{}</text><rect x=\"{}\" y=\"{}\" "
        "width=\"{:.1f}\" height=\"14\"/><line x1=\"{:.1f}\" y1=\"{}\" x2=\"{:.1f}\" "
        "y2=\"{}\"/><text x=\"{:.1f}\" y=\"{}\">{:.4g} ms</text>\n",
        kLeft - 8, y + 11, xml(base_name(row.model)), row.threads, row.batch, kLeft, y,
        row.latency.p50 * scale, kLeft + row.latency.p50 * scale, y + 7,
        kLeft + row.latency.p99 * scale, y + 7, kLeft + row.latency.p99 * scale + 6, y + 11,
        row.latency.p50);
    y += kStep;
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\">\n<style>text{{font:12px sans-serif}}rect{{fill:#4a7ebb}}line{{stroke:#222}}</style>\n"
      "<text x=\"{2}\" y=\"22\">latency: bar p50, line to p99 (t threads, b rows a call)</text>\n"
      "{3}</svg>\n",
      kLeft + kWide + 110, y + 10, 20, bars);
}

}  // namespace headwater::workbench
