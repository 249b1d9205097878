#include "nodes/sinks/http.h"

#include <algorithm>
#include <deque>
#include <random>
#include <unordered_map>
#include <utility>

#include "nodes/expression.h"
#include "nodes/sinks/alert_name.h"
#include "nodes/sinks/answers.h"
#include "nodes/sinks/template.h"
#include "protocol/http/message.h"
#include "protocol/http/posts.h"

namespace headwater {
namespace {

constexpr std::size_t kMaxQueued = 1024;
constexpr Nanos kFirstBackoff = std::chrono::milliseconds(500);

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 3986 section 2: all but unreserved characters, and those of `keep`, as %XX.
std::string url_encoded(std::string_view text, std::string_view keep) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (is_letter_or_digit(c) || std::string_view("-._~").find(c) != std::string_view::npos ||
        keep.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4U], kHex[byte & 15U]};
    }
  }
  return out;
}

bool same_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

struct Target {
  RowTemplate url;
  std::vector<std::string> headers;
  http::PostOptions http;
  std::size_t max_open = 1;
  Nanos max_backoff{};
  Nanos max_retry_after{};
};

class HttpSink final : public Sink {
 public:
  explicit HttpSink(Target target) : target_(std::move(target)) {}

  Status start(io::Loop& loop) override {
    posts_ = HW_TRY(http::Posts::open(loop, target_.http));
    return {};
  }

  Status submit(BatchRef batch, Token token) override {
    if (posts_ == nullptr || closed_) {
      return Error::unavailable("closed");
    }
    if (io::mono_now() < not_before_) {
      return Error::unavailable("{}", trouble_);
    }
    // After a failure one alert goes ahead and finds out; and what does not fit is not taken.
    const bool probing = failures_ > 0 && !(queue_.empty() && open_.empty());
    if (probing || queue_.size() + batch->selected() > kMaxQueued) {
      return Error::unavailable("{}", probing ? trouble_ : "too many alerts wait");
    }
    for (const std::uint32_t row : batch->selection()) {
      queue_.push_back({batch, token, row});
    }
    send_next();
    return {};
  }

  std::size_t poll(std::span<Outcome> outcomes) override { return answers_.poll(outcomes); }

  std::string state() const override {
    if (closed_ || posts_ == nullptr) {
      return "closed";
    }
    return failures_ == 0 ? fmt::format("{} open, {} waiting", open_.size(), queue_.size())
                          : "waiting: " + trouble_;
  }

  void close() override { closed_ = true; }

 private:
  struct Job {
    BatchRef batch;
    Token token = 0;
    std::uint32_t row = 0;
  };

  void send_next() {
    const std::size_t most = failures_ > 0 ? 1 : target_.max_open;
    while (!queue_.empty() && open_.size() < most && !closed_) {
      const Job job = std::move(queue_.front());
      queue_.pop_front();
      const std::uint64_t id = next_id_++;
      const Status sent =
          posts_->post(request(job.batch->row(job.row)),
                       [this, id](const http::Answer& answer) { take(id, answer); });
      open_.emplace(id, job);
      if (!sent) {
        take(id, {.error = sent.error().text()});
        return;
      }
    }
  }

  http::Post request(const Row& row) const {
    Row encoded;
    const std::string device = url_encoded(row.device, "");
    const std::string topic = url_encoded(row.topic, "/");
    encoded.device = device;
    encoded.topic = topic;
    http::Post post{{}, target_.headers, row.payload};
    target_.url.fill(encoded, post.url);
    if (const std::string id = alert_name(row.payload).id; http::is_header_value(id)) {
      post.headers.push_back("Idempotency-Key: " + id);
    }
    return post;
  }

  void take(std::uint64_t id, const http::Answer& answer) {
    const auto found = open_.find(id);
    const Job job = std::move(found->second);
    open_.erase(found);
    const int status = answer.status;
    const bool done = status >= 200 && status < 300;
    const bool busy = status == 0 || status == 408 || status == 429 || status >= 500;
    if (!answer.hopeless && (busy || !answer.whole)) {
      answers_.add(job.token, job.row, Verdict::kRetry);
      fail(answer);
      return;
    }
    failures_ = 0;
    answers_.add(job.token, job.row, done && answer.whole ? Verdict::kOk : Verdict::kReject);
    send_next();
  }

  // Everything that waits goes back, so that it comes again behind the one that failed.
  void fail(const http::Answer& answer) {
    trouble_ = answer.whole ? fmt::format("the receiver answered {}", answer.status) : answer.error;
    Nanos wait = kFirstBackoff * (1LL << std::min<std::uint32_t>(failures_, 20));
    wait = std::min(wait, target_.max_backoff);
    // Up to a quarter less: edges that failed together do not come back together.
    wait -= wait * std::uniform_int_distribution<int>(0, 250)(random_) / 1000;
    wait = std::max(wait, std::min(answer.retry_after, target_.max_retry_after));
    ++failures_;
    not_before_ = std::max(not_before_, io::mono_now() + wait);
    for (const Job& job : queue_) {
      answers_.add(job.token, job.row, Verdict::kRetry);
    }
    queue_.clear();
  }

  const Target target_;
  std::deque<Job> queue_;
  std::unordered_map<std::uint64_t, Job> open_;  // at most max_open
  std::uint64_t next_id_ = 1;
  Answers answers_;
  std::uint32_t failures_ = 0;  // since the last answer that was one
  MonoTime not_before_;
  std::string trouble_;
  std::minstd_rand random_{std::random_device()()};
  bool closed_ = false;
  std::unique_ptr<http::Posts> posts_;  // the last member: its requests read the jobs' bytes
};

bool add_headers(const HttpSinkOptions& options, const config::Node& node,
                 config::Diagnostics& diagnostics, std::vector<std::string>& headers) {
  bool good = true;
  bool typed = false;
  for (const auto& [name, value] : options.headers) {
    const bool ours = same_ignoring_case(name, "Idempotency-Key") ||
                      same_ignoring_case(name, "Content-Length") ||
                      same_ignoring_case(name, "Transfer-Encoding") ||
                      (same_ignoring_case(name, "Authorization") && !options.token.empty());
    const std::string_view wrong = !http::is_header_name(name) ? "is no header name"
                                   : !http::is_header_value(value.reveal())
                                       ? "has a line break or control character"
                                   : ours ? "is set by the sink itself"
                                          : "";
    if (!wrong.empty()) {
      diagnostics.error(option_node(node, "headers"), fmt::format("header '{}' {}", name, wrong));
      good = false;
      continue;
    }
    typed |= same_ignoring_case(name, "Content-Type");
    // curl's way to send a header without a value.
    headers.push_back(value.empty() ? name + ";" : name + ": " + value.reveal());
  }
  if (!typed) {
    headers.emplace_back("Content-Type: application/json");
  }
  if (!http::is_header_value(options.token.reveal())) {
    diagnostics.error(option_node(node, "token"), "has a line break or control character");
    return false;
  }
  if (!options.token.empty()) {
    headers.push_back("Authorization: Bearer " + options.token.reveal());
  }
  return good;
}

bool check_url(std::string_view url, const config::Node& node, config::Diagnostics& diagnostics) {
  const std::size_t scheme = url.starts_with("http://") ? 7 : url.starts_with("https://") ? 8 : 0;
  const std::string_view host =
      scheme == 0 ? "" : url.substr(scheme, url.find_first_of("/?#", scheme) - scheme);
  const char* wrong = host.empty() ? "wants http://HOST or https://HOST"
                      : host.find("${") != std::string_view::npos
                          ? "the host is fixed; ${…} may stand behind it"
                      : host.find('@') != std::string_view::npos
                          ? "credentials do not belong in a URL; use token or headers"
                          : nullptr;
  if (wrong != nullptr) {
    diagnostics.error(node, wrong);
  }
  return wrong == nullptr;
}

}  // namespace

std::unique_ptr<Sink> make_http_sink(const HttpSinkOptions& options, const config::Node& node,
                                     const SinkContext& context, config::Diagnostics& diagnostics) {
  const config::Node& url_node = option_node(node, "url");
  bool good = check_url(options.url, url_node, diagnostics);
  Result<RowTemplate> url = RowTemplate::parse(options.url, url_encoded(context.edge_id, ""));
  if (!url) {
    diagnostics.error(url_node, url.error().text());
    good = false;
  }
  Target target;
  good = add_headers(options, node, diagnostics, target.headers) && good;
  good = check_client_tls(options.tls, node, diagnostics) && good;
  if (!good) {
    return nullptr;
  }
  target.url = std::move(*url);
  target.http.timeout = options.timeout;
  target.http.ca = options.tls.ca.text;
  target.http.certificate = options.tls.certificate.text;
  target.http.key = options.tls.key.text;
  target.http.verify = options.tls.verify;
  target.max_open = static_cast<std::size_t>(options.max_open);
  target.max_backoff = options.max_backoff;
  target.max_retry_after = options.max_retry_after;
  return std::make_unique<HttpSink>(std::move(target));
}

}  // namespace headwater
