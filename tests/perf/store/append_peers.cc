// Durable appends of the same 200-byte records into the spool, SQLite (WAL, synchronous=FULL) and
// RocksDB (sync), alternating: one commit per batch, the next batch when it is on disk.
//
//   append_peers DIR BATCH RECORDS ROUNDS
//
// Each subject gets a fresh folder per round, as its package or our default makes it; what it left
// to the kernel is written back before the next begins. SQLite: a table with an integer key.
// RocksDB: 8-byte keys, one WriteBatch a commit, zstd. The spool: the record is the payload of a
// row that also has topic, device, times and position; a commit is submit() and flush(). spool_full
// is a store at its limit, which writes into files of its own past; spool one that grows. Prints
// one JSON object: records a second and CPU of each round, and bytes of the folder.
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#if __has_include(<rocksdb/db.h>)
#define WITH_ROCKSDB 1
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>
#endif

#include "io/files.h"
#include "store/spool.h"

namespace {

constexpr std::size_t kRecordBytes = 200;
constexpr std::size_t kRecords = 50'000;  // distinct; then again from the first
constexpr std::size_t kDevices = 64;
constexpr std::uint64_t kSmallStore = std::uint64_t{256} << 20;

[[noreturn]] void fail(std::string_view who, std::string_view what) {
  std::fprintf(stderr, "append_peers: %.*s: %.*s\n", static_cast<int>(who.size()), who.data(),
               static_cast<int>(what.size()), what.data());
  std::exit(1);
}

// Readings as devices send them: much repeats, the digits do not.
std::vector<std::string> make_records() {
  std::mt19937_64 random(20'261'124);
  std::vector<std::string> records(kRecords);
  for (std::size_t i = 0; i < kRecords; ++i) {
    std::array<char, 2 * kRecordBytes> text{};
    const auto digits = [&](std::uint64_t below) {
      return static_cast<unsigned long long>(random() % below);
    };
    const unsigned long long numbers[] = {digits(1000), digits(1000), digits(1'000'000),
                                          digits(1'000'000), digits(1'000'000'000)};
    std::snprintf(text.data(), text.size(),
                  R"({"device_id":"press-%04zu","timestamp":"2026-11-24T11:22:33.%03lluZ",)"
                  R"("temperature":59.%03llu,"pressure":101.%06llu,"vibration":0.%06llu,)"
                  R"("serial":"%09llu","seq":%zu,"line":"hall 2","ok":true)",
                  i % kDevices, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], i);
    records[i] = text.data();
    records[i].resize(kRecordBytes, ' ');
    records[i].back() = '}';
  }
  return records;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

class Subject {
 public:
  virtual ~Subject() = default;
  virtual void put(std::uint64_t sequence, const std::string& record) = 0;
  virtual void commit() = 0;  // returns when all that was put is on disk
};

class OurSpool final : public Subject {
 public:
  // `full`: a small store that has reached its limit, so that segments are recycled files.
  OurSpool(const std::string& dir, bool full) {
    headwater::SpoolOptions options;
    options.dir = dir;
    options.max_bytes = full ? kSmallStore : options.max_bytes;
    options.commit_delay = headwater::Nanos{0};
    auto opened = headwater::Spool::open(headwater::io::real_files(), options);
    if (!opened) {
      fail("spool", opened.error().text());
    }
    spool_ = std::move(opened).value();
    for (std::size_t i = 0; i < kDevices; ++i) {
      std::array<char, 16> name{};
      std::snprintf(name.data(), name.size(), "press-%04zu", i);
      devices_.emplace_back(name.data());
      topics_.push_back("site/1/" + devices_.back() + "/m");
    }
    if (full) {
      const std::string record(kRecordBytes, 'x');
      for (std::uint64_t i = 0; spool_->stats().written_bytes < kSmallStore + kSmallStore / 4;) {
        for (int row = 0; row < 4096; ++row) {
          put(++i, record);
        }
        commit();
      }
    }
  }
  void put(std::uint64_t sequence, const std::string& record) override {
    const std::size_t device = sequence % kDevices;
    headwater::StoredRow row;
    row.device = devices_[device];
    row.topic = topics_[device];
    row.sender = devices_[device];
    row.payload = record;
    row.time = {1'700'000'000'000'000'000 + static_cast<std::int64_t>(sequence) * 1'000'000};
    row.received = {row.time.ns + 300'000};
    row.partition = static_cast<std::uint32_t>(device);
    row.position = sequence / kDevices + 1;
    transaction_.append(headwater::Lane::kReadings, 0, row);
  }
  void commit() override {
    if (auto submitted = spool_->submit(transaction_); !submitted) {
      fail("spool", submitted.error().text());
    }
    if (auto flushed = spool_->flush(std::chrono::seconds(30)); !flushed) {
      fail("spool", flushed.error().text());
    }
  }

 private:
  std::unique_ptr<headwater::Spool> spool_;
  headwater::Transaction transaction_;
  std::vector<std::string> devices_;
  std::vector<std::string> topics_;
};

class Sqlite final : public Subject {
 public:
  explicit Sqlite(const std::string& dir) {
    std::filesystem::create_directories(dir);
    check(sqlite3_open((dir + "/records.db").c_str(), &db_));
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=FULL");
    run("CREATE TABLE records(sequence INTEGER PRIMARY KEY, record BLOB NOT NULL)");
    check(sqlite3_prepare_v2(db_, "INSERT INTO records VALUES(?, ?)", -1, &insert_, nullptr));
    run("BEGIN");
  }
  ~Sqlite() override {
    sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    sqlite3_finalize(insert_);
    sqlite3_close(db_);
  }
  void put(std::uint64_t sequence, const std::string& record) override {
    sqlite3_bind_int64(insert_, 1, static_cast<sqlite3_int64>(sequence));
    sqlite3_bind_blob(insert_, 2, record.data(), static_cast<int>(record.size()), SQLITE_STATIC);
    if (sqlite3_step(insert_) != SQLITE_DONE) {
      fail("sqlite", sqlite3_errmsg(db_));
    }
    sqlite3_reset(insert_);
  }
  void commit() override {
    run("COMMIT");
    run("BEGIN");
  }

 private:
  void check(int status) {
    if (status != SQLITE_OK) {
      fail("sqlite", sqlite3_errmsg(db_));
    }
  }
  void run(const char* sql) { check(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr)); }
  sqlite3* db_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

#ifdef WITH_ROCKSDB
class Rocks final : public Subject {
 public:
  explicit Rocks(const std::string& dir) {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kZSTD;
    rocksdb::DB* db = nullptr;
    check(rocksdb::DB::Open(options, dir, &db));
    db_.reset(db);
    write_.sync = true;
  }
  void put(std::uint64_t sequence, const std::string& record) override {
    std::array<char, 8> key{};
    for (std::size_t i = 0; i < key.size(); ++i) {
      key[i] = static_cast<char>(sequence >> (8 * (7 - i)));
    }
    check(batch_.Put(rocksdb::Slice(key.data(), key.size()), record));
  }
  void commit() override {
    check(db_->Write(write_, &batch_));
    batch_.Clear();
  }

 private:
  static void check(const rocksdb::Status& status) {
    if (!status.ok()) {
      fail("rocksdb", status.ToString());
    }
  }
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::WriteBatch batch_;
  rocksdb::WriteOptions write_;
};
#endif

std::uint64_t folder_bytes(const std::string& dir) {
  std::uint64_t sum = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir)) {
    sum += entry.is_regular_file() ? entry.file_size() : 0;
  }
  return sum;
}

// What a subject left to the kernel must not be written during the next one's time.
void settle(const std::string& dir) {
  const int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0 || syncfs(fd) != 0) {
    fail("sync", dir);
  }
  close(fd);
}

struct Round {
  double rate = 0;
  double cpu_us = 0;
  std::uint64_t bytes = 0;
};

Round measure(const std::function<std::unique_ptr<Subject>(const std::string&)>& make,
              const std::string& dir, const std::vector<std::string>& records, std::size_t batch,
              std::uint64_t total) {
  const std::string own = dir + "/append_peers.data";
  std::filesystem::remove_all(own);
  settle(dir);
  auto subject = make(own);
  std::uint64_t sequence = 0;
  const auto commit = [&] {
    for (std::size_t i = 0; i < batch; ++i, ++sequence) {
      subject->put(sequence + 1, records[sequence % records.size()]);
    }
    subject->commit();
  };
  for (int i = 0; i < 4; ++i) {
    commit();  // what happens once is not of interest
  }
  const std::uint64_t from = sequence;
  const double cpu = cpu_seconds();
  const double began = seconds_now();
  while (sequence - from < total) {
    commit();
  }
  const double took = seconds_now() - began;
  const auto written = static_cast<double>(sequence - from);
  Round round{written / took, (cpu_seconds() - cpu) / written * 1e6, folder_bytes(own)};
  subject.reset();
  std::filesystem::remove_all(own);
  return round;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: append_peers DIR BATCH RECORDS ROUNDS\n", stderr);
    return 64;
  }
  const std::string dir = argv[1];
  const auto batch = static_cast<std::size_t>(std::atoll(argv[2]));
  const auto total = static_cast<std::uint64_t>(std::atoll(argv[3]));
  const int rounds = std::atoi(argv[4]);
  if (batch == 0 || rounds < 1) {
    fail("arguments", "BATCH and ROUNDS are at least 1");
  }
  const std::vector<std::string> records = make_records();
  std::vector<std::pair<std::string, std::function<std::unique_ptr<Subject>(const std::string&)>>>
      subjects = {
          {"spool", [](const std::string& own) { return std::make_unique<OurSpool>(own, false); }},
          {"spool_full",
           [](const std::string& own) { return std::make_unique<OurSpool>(own, true); }},
          {"sqlite", [](const std::string& own) { return std::make_unique<Sqlite>(own); }},
#ifdef WITH_ROCKSDB
          {"rocksdb", [](const std::string& own) { return std::make_unique<Rocks>(own); }},
#endif
      };
  std::map<std::string, std::vector<Round>> results;
  for (int round = 0; round < rounds; ++round) {
    for (const auto& [name, make] : subjects) {
      results[name].push_back(measure(make, dir, records, batch, total));
    }
  }
  std::printf(R"({"batch":%zu,"records":%llu)", batch, static_cast<unsigned long long>(total));
  for (const auto& [name, list] : results) {
    std::printf(R"(,"%s":[)", name.c_str());
    for (std::size_t i = 0; i < list.size(); ++i) {
      std::printf(R"(%s{"rate":%.0f,"cpu_us":%.3f,"folder_bytes":%llu})", i == 0 ? "" : ",",
                  list[i].rate, list[i].cpu_us, static_cast<unsigned long long>(list[i].bytes));
    }
    std::printf("]");
  }
  std::puts("}");
  return 0;
}
