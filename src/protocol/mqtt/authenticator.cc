#include "protocol/mqtt/authenticator.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <utility>

namespace headwater::mqtt {
namespace {

constexpr std::size_t kMaxQuestions = 1024;
constexpr std::size_t kMaxKnown = 10'000;
constexpr Nanos kKnownFor = std::chrono::minutes(10);

}  // namespace

// Touched on the loop's thread only.
struct Authenticator::Gate {
  Authenticator* owner = nullptr;
};

Authenticator::Authenticator(PasswordFile file, io::Loop& loop)
    : file_(std::move(file)), loop_(loop), gate_(std::make_shared<Gate>()) {
  gate_->owner = this;
  std::string key(32, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(key.data()), static_cast<int>(key.size())) == 1) {
    key_ = std::move(key);
  }
  thread_ = std::thread([this] { work(); });
}

Authenticator::~Authenticator() {
  gate_->owner = nullptr;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    questions_.clear();
  }
  asked_.notify_one();
  thread_.join();
}

std::string Authenticator::digest(std::string_view user, std::string_view password) const {
  if (key_.empty()) {
    return "";
  }
  std::string message = fmt::format("{}:{}", user.size(), user);
  message.append(password);
  std::string out(EVP_MAX_MD_SIZE, '\0');
  unsigned size = 0;
  const unsigned char* made =
      HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(),
           reinterpret_cast<unsigned char*>(out.data()), &size);
  OPENSSL_cleanse(message.data(), message.size());
  out.resize(made == nullptr ? 0 : size);
  return out;
}

Authenticator::Answer Authenticator::check(std::string user, std::string password, Done done) {
  std::string key = digest(user, password);
  const auto found = known_.find(key);
  if (!key.empty() && found != known_.end()) {
    if (found->second > loop_.now()) {
      return Answer::kRight;
    }
    known_.erase(found);
  }
  {
    const std::lock_guard lock(mutex_);
    if (questions_.size() >= kMaxQuestions) {
      return Answer::kBusy;
    }
    questions_.push_back({std::move(user), std::move(password), std::move(key), std::move(done)});
  }
  asked_.notify_one();
  return Answer::kLater;
}

void Authenticator::work() {
  while (true) {
    std::vector<Question> batch;
    {
      std::unique_lock lock(mutex_);
      asked_.wait(lock, [this] { return ending_ || !questions_.empty(); });
      if (ending_) {
        return;
      }
      batch.swap(questions_);
    }
    for (Question& question : batch) {
      const bool right = file_.matches(question.user, question.password);
      OPENSSL_cleanse(question.password.data(), question.password.size());
      loop_.post([gate = gate_, right, digest = std::move(question.digest),
                  done = std::move(question.done)] {
        if (gate->owner == nullptr) {
          return;
        }
        if (right) {
          gate->owner->remember(digest);
        }
        done(right);
      });
      const std::lock_guard lock(mutex_);
      if (ending_) {
        return;
      }
    }
  }
}

void Authenticator::remember(const std::string& digest) {
  if (digest.empty()) {
    return;
  }
  if (known_.size() >= kMaxKnown) {
    known_.clear();
  }
  known_[digest] = loop_.now() + kKnownFor;
}

}  // namespace headwater::mqtt
