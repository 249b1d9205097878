#include "protocol/http/posts.h"

#define CURL_DISABLE_TYPECHECK  // the checks are macros around the functions, which are pointers
                                // here
#include <curl/curl.h>
#include <dlfcn.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace headwater::http {
namespace {

constexpr long kProxyWantsLogin = 407;
constexpr Nanos kMostStallLook = std::chrono::seconds(1);

struct Curl {
  decltype(&curl_global_init) global_init = nullptr;
  decltype(&curl_easy_init) easy_init = nullptr;
  decltype(&curl_easy_setopt) easy_setopt = nullptr;
  decltype(&curl_easy_getinfo) easy_getinfo = nullptr;
  decltype(&curl_easy_cleanup) easy_cleanup = nullptr;
  decltype(&curl_easy_strerror) easy_strerror = nullptr;
  decltype(&curl_slist_append) slist_append = nullptr;
  decltype(&curl_slist_free_all) slist_free_all = nullptr;
  decltype(&curl_multi_init) multi_init = nullptr;
  decltype(&curl_multi_setopt) multi_setopt = nullptr;
  decltype(&curl_multi_add_handle) multi_add_handle = nullptr;
  decltype(&curl_multi_remove_handle) multi_remove_handle = nullptr;
  decltype(&curl_multi_socket_action) multi_socket_action = nullptr;
  decltype(&curl_multi_info_read) multi_info_read = nullptr;
  decltype(&curl_multi_cleanup) multi_cleanup = nullptr;
};

template <class Function>
bool take(void* library, const char* name, Function* into) {
  *into = reinterpret_cast<Function>(dlsym(library, name));
  return *into != nullptr;
}

Result<const Curl*> load() {
  void* library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Error::unavailable("http requests need libcurl (Debian package libcurl4): {}",
                              dlerror());
  }
  static Curl curl;
  const bool all = take(library, "curl_global_init", &curl.global_init) &&
                   take(library, "curl_easy_init", &curl.easy_init) &&
                   take(library, "curl_easy_setopt", &curl.easy_setopt) &&
                   take(library, "curl_easy_getinfo", &curl.easy_getinfo) &&
                   take(library, "curl_easy_cleanup", &curl.easy_cleanup) &&
                   take(library, "curl_easy_strerror", &curl.easy_strerror) &&
                   take(library, "curl_slist_append", &curl.slist_append) &&
                   take(library, "curl_slist_free_all", &curl.slist_free_all) &&
                   take(library, "curl_multi_init", &curl.multi_init) &&
                   take(library, "curl_multi_setopt", &curl.multi_setopt) &&
                   take(library, "curl_multi_add_handle", &curl.multi_add_handle) &&
                   take(library, "curl_multi_remove_handle", &curl.multi_remove_handle) &&
                   take(library, "curl_multi_socket_action", &curl.multi_socket_action) &&
                   take(library, "curl_multi_info_read", &curl.multi_info_read) &&
                   take(library, "curl_multi_cleanup", &curl.multi_cleanup);
  if (!all || curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    return Error::unavailable("libcurl.so.4 cannot be used");
  }
  return &curl;
}

Result<const Curl*> curl_library() {
  static const Result<const Curl*> loaded = load();
  return loaded;
}

class CurlPosts final : public Posts {
 public:
  CurlPosts(const Curl& curl, CURLM* multi, io::Loop& loop, PostOptions options)
      : curl_(curl), multi_(multi), loop_(loop), options_(std::move(options)) {
    curl_.multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &CurlPosts::on_socket);
    curl_.multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
    curl_.multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &CurlPosts::on_timer);
    curl_.multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  }

  ~CurlPosts() override {
    for (auto& [easy, request] : open_) {
      curl_.multi_remove_handle(multi_, easy);
      free(easy, *request);
    }
    open_.clear();
    curl_.multi_cleanup(multi_);  // closes the kept connections: on_socket unwatches them
    for (const int fd : watched_) {
      loop_.unwatch(fd);
    }
    loop_.cancel(timer_);
    loop_.cancel(stall_timer_);
  }

  Status post(Post request, Done done) override {
    CURL* easy = curl_.easy_init();
    if (easy == nullptr) {
      return Error::unavailable("libcurl gave no request");
    }
    auto made = std::make_unique<Request>();
    made->post = std::move(request);
    made->done = std::move(done);
    made->headers = curl_.slist_append(nullptr, "Expect:");  // no round trip before a large body
    for (const std::string& header : made->post.headers) {
      made->headers = curl_.slist_append(made->headers, header.c_str());
    }
    set_up(easy, *made);
    const CURLMcode added = curl_.multi_add_handle(multi_, easy);
    if (added != CURLM_OK) {
      free(easy, *made);
      return Error::unavailable("libcurl took no request ({})", static_cast<int>(added));
    }
    made->moved_at = io::mono_now();
    open_.emplace(easy, std::move(made));
    watch_for_stalls();
    return {};
  }

 private:
  struct Request {
    Post post;
    Done done;
    curl_slist* headers = nullptr;
    std::size_t answer_bytes = 0;
    bool cut = false;
    std::uint64_t moved = 0;  // bytes either way, when last looked at
    MonoTime moved_at;        // when that changed
    bool stalled = false;     // given up because nothing moved
    std::array<char, CURL_ERROR_SIZE> error{};
  };

  void set_up(CURL* easy, Request& request) {
    const auto set = [&](CURLoption option, auto value) { curl_.easy_setopt(easy, option, value); };
    set(CURLOPT_URL, request.post.url.c_str());
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_PATH_AS_IS, 1L);
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_TIMEOUT_MS, std::max(1L, static_cast<long>(options_.timeout.count() / 1'000'000)));
    if (options_.stall > Nanos{0}) {
      set(CURLOPT_CONNECTTIMEOUT_MS,
          std::max(1L, static_cast<long>(options_.stall.count() / 1'000'000)));
    }
    set(CURLOPT_FRESH_CONNECT, request.post.fresh ? 1L : 0L);
    set(CURLOPT_POST, 1L);
    set(CURLOPT_POSTFIELDS, request.post.body.data());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.post.body.size()));
    set(CURLOPT_HTTPHEADER, request.headers);
    set(CURLOPT_ERRORBUFFER, request.error.data());
    set(CURLOPT_WRITEFUNCTION, &CurlPosts::on_answer);
    set(CURLOPT_WRITEDATA, &request);
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    set(CURLOPT_SSL_VERIFYPEER, options_.verify ? 1L : 0L);
    set(CURLOPT_SSL_VERIFYHOST, options_.verify ? 2L : 0L);
    if (!options_.ca.empty()) {
      set(CURLOPT_CAINFO, options_.ca.c_str());
    }
    if (!options_.certificate.empty()) {
      set(CURLOPT_SSLCERT, options_.certificate.c_str());
      set(CURLOPT_SSLKEY,
          options_.key.empty() ? options_.certificate.c_str() : options_.key.c_str());
    }
  }

  void free(CURL* easy, Request& request) {
    curl_.easy_cleanup(easy);
    curl_.slist_free_all(request.headers);
  }

  static std::size_t on_answer(char*, std::size_t size, std::size_t count, void* user) {
    Request& request = *static_cast<Request*>(user);
    request.answer_bytes += size * count;
    request.cut = request.answer_bytes > kMaxAnswerBytes;
    return request.cut ? 0 : size * count;
  }

  static int on_socket(CURL*, curl_socket_t fd, int what, void* user, void*) {
    CurlPosts& self = *static_cast<CurlPosts*>(user);
    if (what == CURL_POLL_REMOVE) {
      self.loop_.unwatch(fd);
      self.watched_.erase(fd);
      return 0;
    }
    std::uint32_t events = 0;
    events |= (what & CURL_POLL_IN) != 0 ? static_cast<std::uint32_t>(EPOLLIN) : 0U;
    events |= (what & CURL_POLL_OUT) != 0 ? static_cast<std::uint32_t>(EPOLLOUT) : 0U;
    if (self.watched_.insert(fd).second) {
      const Status watched = self.loop_.watch(
          fd, events, [&self, fd](std::uint32_t ready) { self.on_ready(fd, ready); });
      return watched ? 0 : -1;
    }
    return self.loop_.rewatch(fd, events) ? 0 : -1;
  }

  static int on_timer(CURLM*, long milliseconds, void* user) {
    CurlPosts& self = *static_cast<CurlPosts*>(user);
    self.loop_.cancel(self.timer_);
    self.timer_ = 0;
    if (milliseconds >= 0) {
      self.timer_ = self.loop_.after(std::chrono::milliseconds(milliseconds), [&self] {
        self.timer_ = 0;
        self.act(CURL_SOCKET_TIMEOUT, 0);
      });
    }
    return 0;
  }

  void on_ready(int fd, std::uint32_t ready) {
    int what = 0;
    what |= (ready & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0;
    what |= (ready & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0;
    what |= (ready & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR | CURL_CSELECT_IN : 0;
    act(fd, what);
  }

  void act(curl_socket_t fd, int what) {
    int running = 0;
    curl_.multi_socket_action(multi_, fd, what, &running);
    int left = 0;
    while (const CURLMsg* message = curl_.multi_info_read(multi_, &left)) {
      if (message->msg == CURLMSG_DONE) {
        finish(message->easy_handle, message->data.result);
      }
    }
  }

  // curl's own limit (LOW_SPEED_TIME) looks at an average of seconds.
  void watch_for_stalls() {
    if (options_.stall <= Nanos{0} || stall_timer_ != 0 || open_.empty()) {
      return;
    }
    stall_timer_ = loop_.after(std::min<Nanos>(options_.stall / 4, kMostStallLook), [this] {
      stall_timer_ = 0;
      give_up_stalled();
      watch_for_stalls();
    });
  }

  void give_up_stalled() {
    const MonoTime now = io::mono_now();
    std::vector<CURL*> stalled;
    for (const auto& [easy, request] : open_) {
      const std::uint64_t moved = moved_bytes(easy);
      if (moved != request->moved) {
        request->moved = moved;
        request->moved_at = now;
      } else if (now - request->moved_at >= options_.stall) {
        stalled.push_back(easy);
      }
    }
    for (CURL* const easy : stalled) {
      const std::string text = "nothing moved for " + format_duration(options_.stall);
      text.copy(open_.at(easy)->error.data(), CURL_ERROR_SIZE - 1);
      open_.at(easy)->stalled = true;
      finish(easy, CURLE_OPERATION_TIMEDOUT);
    }
  }

  std::uint64_t moved_bytes(CURL* easy) const {
    curl_off_t up = 0;
    curl_off_t down = 0;
    long head = 0;
    curl_.easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &up);
    curl_.easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    curl_.easy_getinfo(easy, CURLINFO_HEADER_SIZE, &head);
    return static_cast<std::uint64_t>(up + down + head);
  }

  // Over a new connection or one that was kept.
  bool was_connected(CURL* easy) const {
    curl_off_t made = 0;
    curl_off_t used = 0;
    curl_.easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &made);
    curl_.easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &used);
    return made > 0 || used > 0;
  }

  void finish(CURL* easy, CURLcode code) {
    const auto found = open_.find(easy);
    const std::unique_ptr<Request> request = std::move(found->second);
    open_.erase(found);
    long status = 0;
    curl_.easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_off_t retry_after = 0;
    curl_.easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    const bool connected = was_connected(easy);
    curl_.multi_remove_handle(multi_, easy);
    Answer answer;
    answer.status = static_cast<int>(status);
    answer.whole = code == CURLE_OK || (code == CURLE_WRITE_ERROR && request->cut);
    long tunnel = 0;  // what a proxy said to CONNECT
    curl_.easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &tunnel);
    if (!answer.whole && tunnel == kProxyWantsLogin) {
      answer.status = static_cast<int>(tunnel);
      answer.whole = true;
    }
    answer.hopeless = code == CURLE_URL_MALFORMAT;
    answer.silent = request->stalled && connected;
    answer.retry_after = std::chrono::seconds(std::clamp<curl_off_t>(retry_after, 0, 1'000'000));
    if (!answer.whole) {
      answer.error = request->error[0] != '\0' ? request->error.data() : curl_.easy_strerror(code);
    }
    free(easy, *request);
    request->done(std::move(answer));
  }

  const Curl& curl_;
  CURLM* multi_;
  io::Loop& loop_;
  const PostOptions options_;
  std::unordered_map<CURL*, std::unique_ptr<Request>> open_;
  std::set<int> watched_;
  io::TimerId timer_ = 0;
  io::TimerId stall_timer_ = 0;
};

}  // namespace

Result<std::unique_ptr<Posts>> Posts::open(io::Loop& loop, PostOptions options) {
  const Curl* const curl = HW_TRY(curl_library());
  CURLM* const multi = curl->multi_init();
  if (multi == nullptr) {
    return Error::unavailable("libcurl gave no connection pool");
  }
  return std::unique_ptr<Posts>(
      std::make_unique<CurlPosts>(*curl, multi, loop, std::move(options)));
}

}  // namespace headwater::http
