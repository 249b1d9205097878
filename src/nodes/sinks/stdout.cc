#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "nodes/sinks/answers.h"
#include "nodes/sinks/sinks.h"

namespace headwater {
namespace {

std::string text_or(const nlohmann::json& alert, const char* key) {
  const auto found = alert.find(key);
  return found != alert.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// "2013-12-10T06:25:00Z RAISED  machine-1 anomaly score 0.912 (limit 0.8) since
// 2013-12-10T05:55:00Z"
std::string describe(std::string_view json) {
  const nlohmann::json alert = nlohmann::json::parse(json, nullptr, false);
  if (!alert.is_object()) {
    return std::string(json);
  }
  std::string event = text_or(alert, "event");
  for (char& c : event) {
    c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  }
  std::string line = fmt::format("{} {:<7} {} {}", text_or(alert, "timestamp"), event,
                                 text_or(alert, "device_id"), text_or(alert, "rule"));
  const auto number = [&](const char* key) -> const nlohmann::json* {
    const auto found = alert.find(key);
    return found != alert.end() && found->is_number() ? &*found : nullptr;
  };
  if (const auto* score = number("anomaly_score")) {
    line += fmt::format(" score {:.3f}", score->get<double>());
  }
  if (const auto* threshold = number("threshold")) {
    line += fmt::format(" (limit {:g})", threshold->get<double>());
  }
  if (const auto* duration = number("duration_s"); duration != nullptr && event == "CLEARED") {
    const auto seconds = static_cast<std::int64_t>(duration->get<double>());
    line += fmt::format(" after {}", format_duration(std::chrono::seconds(seconds)));
  }
  return line;
}

class StdoutSink final : public Sink {
 public:
  explicit StdoutSink(LineFormat format) : format_(format) {}

  Status start(io::Loop&) override { return {}; }

  Status submit(BatchRef batch, Token token) override {
    std::string lines;
    for (const std::uint32_t row : batch->selection()) {
      const std::string_view payload = batch->row(row).payload;
      lines += format_ == LineFormat::kJson ? std::string(payload) : describe(payload);
      lines += '\n';
    }
    for (std::string_view rest = lines; !rest.empty();) {
      const ssize_t wrote = write(STDOUT_FILENO, rest.data(), rest.size());
      if (wrote < 0 && errno != EINTR) {
        return Error::from_errno(errno, "write to standard output");
      }
      rest.remove_prefix(wrote < 0 ? 0 : static_cast<std::size_t>(wrote));
    }
    for (const std::uint32_t row : batch->selection()) {
      answers_.add(token, row, Verdict::kOk);
    }
    return {};
  }

  std::size_t poll(std::span<Outcome> outcomes) override { return answers_.poll(outcomes); }
  std::string state() const override { return "open"; }
  void close() override {}

 private:
  LineFormat format_;
  Answers answers_;
};

}  // namespace

std::unique_ptr<Sink> make_stdout_sink(const StdoutOptions& options, const config::Node&,
                                       const SinkContext&, config::Diagnostics&) {
  return std::make_unique<StdoutSink>(options.format);
}

}  // namespace headwater
