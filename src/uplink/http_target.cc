// http: posts each batch. docs/formats/batch.md has the request and what the answers mean.
#include <algorithm>
#include <utility>
#include <vector>

#include "io/tls.h"
#include "protocol/http/message.h"
#include "protocol/http/posts.h"
#include "protocol/http/server.h"
#include "uplink/catalogue.h"

namespace headwater {
namespace {

const config::Node& at(const config::Node& node, std::string_view name) {
  const config::Node* option = node.find(name);
  return option == nullptr ? node : *option;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  }
  return out;
}

TargetAnswer judge(const http::Answer& answer, Nanos max_retry_after) {
  TargetAnswer out;
  out.retry_after = std::min(answer.retry_after, max_retry_after);
  const int status = answer.status;
  if (answer.hopeless) {
    out.receipt = Receipt::kPark;
    out.text = answer.error;
  } else if (!answer.whole) {
    out.receipt = Receipt::kRetry;
    out.text = answer.error;
    out.silent = answer.silent;
  } else if (status >= 200 && status < 300) {
    out.receipt = Receipt::kStored;
  } else {
    const bool busy =
        status == 408 || status == 409 || status == 425 || status == 429 || status >= 500;
    const bool refused = status == 400 || status == 422;
    out.receipt = busy            ? Receipt::kRetry
                  : status == 413 ? Receipt::kTooLarge
                  : refused       ? Receipt::kRefused
                                  : Receipt::kPark;
    out.text = fmt::format("the receiver answered {}", status);
    if (status == 401 || status == 403) {
      out.text += ": it does not know this edge; look at token or certificate";
    } else if (status == 404) {
      out.text += ": nothing takes batches there; look at url";
    } else if (status == 407) {
      out.text += ": the proxy wants a login";
    } else if (status >= 300 && status < 400) {
      out.text += ": redirects are not followed; look at url";
    } else if (refused) {
      out.text += ": it refuses the content of a batch; look at its log";
    }
  }
  return out;
}

class HttpTarget final : public UplinkTarget {
 public:
  HttpTarget(HttpTargetOptions options, std::vector<std::string> headers)
      : options_(std::move(options)), headers_(std::move(headers)) {}

  Status start(io::Loop& loop) override {
    posts_ = HW_TRY(http::Posts::open(loop, {.timeout = options_.timeout,
                                             .stall = options_.stall,
                                             .ca = options_.ca.text,
                                             .certificate = options_.certificate.text,
                                             .key = options_.key.text,
                                             .verify = options_.verify}));
    loop_ = &loop;
    alive_ = std::make_shared<bool>(true);
    return {};
  }

  void send(const EncodedBatch& batch, Done done) override {
    const BatchHeader& header = batch.header;
    http::Post post{options_.url, headers_, batch.bytes};
    const std::string spool = header.spool.hex();
    post.headers.push_back(fmt::format("Content-Type: {}", kBatchMediaType));
    post.headers.push_back(
        fmt::format("Idempotency-Key: {}-{}-{}-{}", spool, header.lane, header.first, header.last));
    post.headers.push_back("Headwater-Edge: " + batch_safe_name(header.edge));
    post.headers.push_back("Headwater-Spool: " + spool);
    post.headers.push_back("Headwater-Lane: " + header.lane);
    post.headers.push_back(fmt::format("Headwater-First: {}", header.first));
    post.headers.push_back(fmt::format("Headwater-Last: {}", header.last));
    post.headers.push_back(fmt::format("Headwater-Rows: {}", header.rows));
    post.headers.push_back("Headwater-Checksum: " + header.checksum);
    post.fresh = fresh_;
    const Status sent = posts_->post(std::move(post), [this, done](const http::Answer& answer) {
      fresh_ = answer.silent || (fresh_ && !answer.whole);
      done(judge(answer, options_.max_retry_after));
    });
    if (!sent) {
      loop_->post([alive = std::weak_ptr<bool>(alive_), done = std::move(done),
                   text = sent.error().text()] {
        if (!alive.expired()) {
          done({Receipt::kRetry, {}, text});
        }
      });
    }
  }

  void close() override {
    alive_.reset();
    posts_.reset();
  }

 private:
  const HttpTargetOptions options_;
  const std::vector<std::string> headers_;
  io::Loop* loop_ = nullptr;
  std::shared_ptr<bool> alive_;  // between start() and close()
  std::unique_ptr<http::Posts> posts_;
  // The receiver fell silent: until it answers, kept connections are not to be trusted.
  bool fresh_ = false;
};

bool check_url(const HttpTargetOptions& options, const config::Node& node,
               config::Diagnostics& diagnostics) {
  const std::string_view url = options.url;
  const bool plain = url.starts_with("http://");
  const std::size_t scheme = plain ? 7 : url.starts_with("https://") ? 8 : 0;
  const std::string_view authority =
      scheme == 0 ? "" : url.substr(scheme, url.find_first_of("/?#", scheme) - scheme);
  std::string wrong;
  if (authority.empty()) {
    wrong = "wants https://HOST or http://HOST";
  } else if (authority.find('@') != std::string_view::npos) {
    wrong = "credentials do not belong in a URL; use token or headers";
  } else if (plain && !options.insecure) {
    const std::string address(authority);
    const bool has_port =
        authority.back() != ']' && authority.find_last_of(':') != std::string_view::npos;
    if (!http::is_loopback(has_port ? address : address + ":80")) {
      wrong =
          "http:// would show token and readings to everyone on the way; use https://, or set "
          "insecure: true";
    }
  }
  if (!wrong.empty()) {
    diagnostics.error(at(node, "url"), wrong);
  }
  return wrong.empty();
}

bool add_headers(const HttpTargetOptions& options, const config::Node& node,
                 config::Diagnostics& diagnostics, std::vector<std::string>& headers) {
  bool good = true;
  for (const auto& [name, value] : options.headers) {
    const std::string small = lower(name);
    const bool ours = small == "content-type" || small == "content-length" ||
                      small == "transfer-encoding" || small == "idempotency-key" ||
                      small.starts_with("headwater-") ||
                      (small == "authorization" && !options.token.empty());
    const std::string_view wrong = !http::is_header_name(name) ? "is no header name"
                                   : !http::is_header_value(value.reveal())
                                       ? "has a line break or control character"
                                   : ours ? "is set by the uplink itself"
                                          : "";
    if (!wrong.empty()) {
      diagnostics.error(at(node, "headers"), fmt::format("header '{}' {}", name, wrong));
      good = false;
      continue;
    }
    // curl's way to send a header without a value.
    headers.push_back(value.empty() ? name + ";" : name + ": " + value.reveal());
  }
  if (!http::is_header_value(options.token.reveal())) {
    diagnostics.error(at(node, "token"), "has a line break or control character");
    good = false;
  } else if (!options.token.empty()) {
    headers.push_back("Authorization: Bearer " + options.token.reveal());
  }
  return good;
}

bool check_tls(const HttpTargetOptions& options, const config::Node& node,
               config::Diagnostics& diagnostics) {
  if (options.ca.empty() && options.certificate.empty() && options.key.empty()) {
    return true;
  }
  const auto made = io::TlsContext::client(
      {options.ca.text, options.certificate.text, options.key.text, options.verify});
  if (!made) {
    diagnostics.error(node, made.error().text());
  }
  return made.ok();
}

}  // namespace

std::unique_ptr<UplinkTarget> make_http_target(const HttpTargetOptions& options,
                                               const config::Node& node,
                                               config::Diagnostics& diagnostics) {
  std::vector<std::string> headers;
  const bool url = check_url(options, node, diagnostics);
  const bool named = add_headers(options, node, diagnostics, headers);
  const bool tls = check_tls(options, node, diagnostics);
  if (!url || !named || !tls) {
    return nullptr;
  }
  return std::make_unique<HttpTarget>(options, std::move(headers));
}

}  // namespace headwater
