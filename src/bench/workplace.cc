#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/strings.h"
#include "bench/trial.h"

namespace headwater::bench {
namespace {

namespace fs = std::filesystem;

constexpr Nanos kLongestCommitWait = std::chrono::milliseconds(20);  // of commit_delay: auto
constexpr std::uint64_t kLeastBytes = std::uint64_t{16} << 20;

std::uint64_t device_of(const fs::path& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 ? facts.st_dev : 0;
}

}  // namespace

Result<std::unique_ptr<Workplace>> Workplace::make(const std::string& data_dir,
                                                   const std::string& parent) {
  std::error_code error;
  fs::path where = parent;
  if (parent.empty()) {
    const fs::path data = fs::absolute(data_dir, error).lexically_normal();
    where = data.has_filename() ? data.parent_path() : data.parent_path().parent_path();
    if (fs::is_directory(data, error) && device_of(data) != device_of(where)) {
      where = data;
    }
    while (!fs::is_directory(where, error) && where.has_relative_path()) {
      where = where.parent_path();
    }
  }
  std::string path = (where / "headwater-bench-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) {
    return Error::from_errno(
        errno, fmt::format("make a folder in {}; name another by --dir", where.string()));
  }
  const fs::space_info space = fs::space(path, error);
  const std::uint64_t most = error ? 0 : space.available / 2;
  std::unique_ptr<Workplace> place(new Workplace(std::move(path), most));
  if (most < kLeastBytes) {
    return Error::exhausted("{} has {} free, a benchmark needs {}; name another folder by --dir",
                            where.string(), format_size(most * 2), format_size(kLeastBytes * 2));
  }
  return place;
}

Workplace::~Workplace() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Nanos commit_wait_of(const StoreConfig& store) {
  const Result<Nanos> delay = parse_duration(store.commit_delay);
  return delay ? *delay : store.write_budget ? kLongestCommitWait : Nanos{0};
}

std::vector<std::string> trial_sets(const Plan& plan, const Workplace& place, Mode mode,
                                    std::string_view source) {
  std::vector<std::string> sets = {"edge.data_dir=" + place.path()};
  const StoreConfig& store = plan.config().store;
  if (store.max_bytes.bytes > place.most_bytes()) {
    sets.push_back(fmt::format("store.max_bytes={}", place.most_bytes()));
  }
  sets.push_back("store.min_free=0B");
  if (mode == Mode::kListener) {
    sets.push_back(fmt::format("sources.{}.address=127.0.0.1:0", source));
    sets.push_back(fmt::format("sources.{}.anonymous=yes", source));
    if (plan.config().sources.find(source)->find("password_file") != nullptr) {
      sets.push_back(fmt::format("sources.{}.password_file=", source));
    }
  }
  return sets;
}

}  // namespace headwater::bench
