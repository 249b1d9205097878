// Durable appends of 200-byte rows, one commit per batch, as in the measurements that the spool was
// designed by; and what a row costs the worker that builds the transaction.
//
//   HW_BENCH_DIR=/mnt/disk build/bench/src/store/spool_bench
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "io/loop.h"
#include "store/fsck.h"
#include "store/spool.h"

namespace headwater {
namespace {

constexpr std::size_t kPayload = 170;  // with topic, times and lengths about 200 bytes

std::string bench_dir() {
  const char* dir = std::getenv("HW_BENCH_DIR");
  return (dir == nullptr ? std::filesystem::current_path().string() : std::string(dir)) +
         "/spool_bench.data";
}

double cpu_seconds() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

struct Rows {
  explicit Rows(std::size_t count) : payload(kPayload, 'x') {
    for (std::size_t i = 0; i < 64; ++i) {
      devices.push_back("press-00" + std::to_string(10 + i));
      topics.push_back("site/1/" + devices.back() + "/m");
    }
    rows.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      StoredRow& row = rows[i];
      row.device = devices[i % 64];
      row.topic = topics[i % 64];
      row.sender = devices[i % 64];
      row.payload = payload;
      row.time = {1'700'000'000'000'000'000 + static_cast<std::int64_t>(i) * 1'000'000};
      row.received = {row.time.ns + 300'000};
      row.partition = static_cast<std::uint32_t>(i % 64);
      row.position = i / 64 + 1;
    }
  }
  std::string payload;
  std::vector<std::string> devices;
  std::vector<std::string> topics;
  std::vector<StoredRow> rows;
};

// Arguments: rows a batch; 1 when segments are recycled ones, 0 when they are fresh.
void append_and_commit(benchmark::State& state) {
  const auto batch = static_cast<std::size_t>(state.range(0));
  const bool recycled = state.range(1) != 0;
  std::filesystem::remove_all(bench_dir());
  SpoolOptions options;
  options.dir = bench_dir();
  options.max_bytes = std::uint64_t{2} << 30;
  options.segment_bytes = std::uint64_t{64} << 20;
  options.commit_delay = Nanos{0};
  options.zero_fill = recycled;
  auto spool = Spool::open(io::real_files(), options);
  if (!spool) {
    state.SkipWithError(spool.error().text().c_str());
    return;
  }
  const Rows rows(batch);
  Transaction transaction;
  const double cpu = cpu_seconds();
  for (auto _ : state) {
    for (const StoredRow& row : rows.rows) {
      transaction.append(Lane::kReadings, 0, row);
    }
    if (!(*spool)->submit(transaction) || !(*spool)->flush(std::chrono::seconds(10))) {
      state.SkipWithError("the disk refuses");
      break;
    }
  }
  const double items = static_cast<double>(state.iterations()) * static_cast<double>(batch);
  const SpoolStats stats = (*spool)->stats();
  state.counters["rows/s"] = benchmark::Counter(items, benchmark::Counter::kIsRate);
  state.counters["cpu_us/row"] = 1e6 * (cpu_seconds() - cpu) / items;
  state.counters["commit_p50_us"] = static_cast<double>(stats.commit_p50.count()) / 1e3;
  state.counters["commit_p99_us"] = static_cast<double>(stats.commit_p99.count()) / 1e3;
  state.counters["disk_B/row"] = static_cast<double>(stats.written_bytes) / items;
  (*spool).reset();
  std::filesystem::remove_all(bench_dir());
}
BENCHMARK(append_and_commit)
    ->ArgsProduct({{1, 32, 512, 4096}, {0, 1}})
    ->ArgNames({"batch", "zeroed"})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime()
    ->MinTime(1.5);

// One submit after the other without waiting: what a loop at full speed sees.
void append_pipelined(benchmark::State& state) {
  const auto batch = static_cast<std::size_t>(state.range(0));
  std::filesystem::remove_all(bench_dir());
  SpoolOptions options;
  options.dir = bench_dir();
  auto spool = Spool::open(io::real_files(), options);
  if (!spool) {
    state.SkipWithError(spool.error().text().c_str());
    return;
  }
  const Rows rows(batch);
  Transaction transaction;
  const double cpu = cpu_seconds();
  for (auto _ : state) {
    for (const StoredRow& row : rows.rows) {
      transaction.append(Lane::kReadings, 0, row);
    }
    while (!(*spool)->submit(transaction)) {
      (void)(*spool)->flush(std::chrono::seconds(10));
    }
  }
  (void)(*spool)->flush(std::chrono::seconds(10));
  const double items = static_cast<double>(state.iterations()) * static_cast<double>(batch);
  const SpoolStats stats = (*spool)->stats();
  state.counters["rows/s"] = benchmark::Counter(items, benchmark::Counter::kIsRate);
  state.counters["cpu_us/row"] = 1e6 * (cpu_seconds() - cpu) / items;
  state.counters["commit_p50_us"] = static_cast<double>(stats.commit_p50.count()) / 1e3;
  state.counters["rows/commit"] = items / static_cast<double>(stats.commits);
  (*spool).reset();
  std::filesystem::remove_all(bench_dir());
}
BENCHMARK(append_pipelined)
    ->Arg(1)
    ->Arg(512)
    ->ArgName("batch")
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime()
    ->MinTime(1.5);

void encode_rows(benchmark::State& state) {
  const Rows rows(512);
  RowEncoder encoder;
  for (auto _ : state) {
    encoder.clear();
    for (const StoredRow& row : rows.rows) {
      encoder.append(row);
    }
    benchmark::DoNotOptimize(encoder.bytes().data());
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * 512);
}
BENCHMARK(encode_rows);

void decode_rows(benchmark::State& state) {
  const Rows rows(512);
  RowEncoder encoder;
  for (const StoredRow& row : rows.rows) {
    encoder.append(row);
  }
  for (auto _ : state) {
    RowDecoder decoder(encoder.bytes());
    StoredRow row;
    while (decoder.next(&row)) {
      benchmark::DoNotOptimize(row.payload.data());
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * 512);
}
BENCHMARK(decode_rows);

// Opening a spool that holds much: the time must not follow the size.
void reopen(benchmark::State& state) {
  std::filesystem::remove_all(bench_dir());
  SpoolOptions options;
  options.dir = bench_dir();
  const Rows rows(4096);
  {
    auto spool = Spool::open(io::real_files(), options);
    Transaction transaction;
    const auto megabytes = static_cast<std::uint64_t>(state.range(0));
    while (spool && (*spool)->stats().written_bytes < megabytes << 20) {
      for (const StoredRow& row : rows.rows) {
        transaction.append(Lane::kReadings, 0, row);
      }
      if (!(*spool)->submit(transaction) || !(*spool)->flush(std::chrono::seconds(10))) {
        state.SkipWithError("the disk refuses");
        return;
      }
    }
  }
  for (auto _ : state) {
    auto spool = Spool::open(io::real_files(), options);
    benchmark::DoNotOptimize(spool);
    state.PauseTiming();
    spool->reset();
    state.ResumeTiming();
  }
  std::filesystem::remove_all(bench_dir());
}
BENCHMARK(reopen)
    ->Arg(60)
    ->Arg(1000)
    ->ArgName("MiB")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->Iterations(5);

// A recording (lines of JSON with device_id; HW_BENCH_RECORDING) as one commit a batch, plain and
// compressed: what a row costs on the disk and of the CPU.
void append_recording(benchmark::State& state) {
  const char* const path = std::getenv("HW_BENCH_RECORDING");
  std::ifstream in(path == nullptr ? "examples/readings.jsonl" : path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    lines.push_back(line);
  }
  if (lines.empty()) {
    state.SkipWithError("no recording: set HW_BENCH_RECORDING");
    return;
  }
  std::filesystem::remove_all(bench_dir());
  SpoolOptions options;
  options.dir = bench_dir();
  options.commit_delay = Nanos{0};
  options.compression = state.range(0) != 0 ? Compression::kZstd : Compression::kNone;
  const auto batch = static_cast<std::size_t>(state.range(1));
  auto spool = Spool::open(io::real_files(), options);
  const Rows rows(batch);
  Transaction transaction;
  const double cpu = cpu_seconds();
  std::size_t at = 0;
  for (auto _ : state) {
    for (StoredRow row : rows.rows) {
      row.payload = lines[at++ % lines.size()];
      transaction.append(Lane::kReadings, 0, row);
    }
    if (!(*spool)->submit(transaction) || !(*spool)->flush(std::chrono::seconds(10))) {
      state.SkipWithError("the disk refuses");
      break;
    }
  }
  const double items = static_cast<double>(state.iterations()) * static_cast<double>(batch);
  state.counters["cpu_us/row"] = 1e6 * (cpu_seconds() - cpu) / items;
  state.counters["disk_B/row"] = static_cast<double>((*spool)->stats().written_bytes) / items;
  state.counters["rows/s"] = benchmark::Counter(items, benchmark::Counter::kIsRate);
  (*spool).reset();
  std::filesystem::remove_all(bench_dir());
}
BENCHMARK(append_recording)
    ->ArgsProduct({{0, 1}, {8, 64, 512}})
    ->ArgNames({"zstd", "batch"})
    ->Unit(benchmark::kMicrosecond)
    ->UseRealTime()
    ->MinTime(1.0);

// The rows of one minute of a spool of a gigabyte, with and without a filter. HW_BENCH_KEEP leaves
// the spool there, for `headwater store cat`.
void read_minute(benchmark::State& state) {
  SpoolOptions options;
  options.dir = bench_dir();
  std::filesystem::remove_all(bench_dir());
  {
    Rows rows(4096);
    auto spool = Spool::open(io::real_files(), options);
    Transaction transaction;
    while (spool && (*spool)->stats().written_bytes < std::uint64_t{1100} << 20) {
      for (StoredRow& row : rows.rows) {
        row.time.ns += 4'096'000'000;  // a row each millisecond
        transaction.append(Lane::kReadings, 0, row);
      }
      transaction.decide({.pipeline = "main",
                          .lane = Lane::kReadings,
                          .stream = 0,
                          .first = 0,
                          .count = 4096,
                          .sequences = {},
                          .own_rows = true,
                          .model_digest = {},
                          .revision = 1,
                          .scores = {},
                          .alerted = {}});
      if (!(*spool)->submit(transaction) || !(*spool)->flush(std::chrono::seconds(10))) {
        state.SkipWithError("the disk refuses");
        return;
      }
    }
  }
  ReadFilter filter;
  filter.from = {1'700'000'000'000'000'000 + 1'000'000'000'000};
  filter.to = {filter.from.ns + 60'000'000'000};
  std::size_t found = 0;
  for (auto _ : state) {
    found = 0;
    auto view = SpoolView::open(io::real_files(), options.dir);
    const auto reader = (*view)->read(Lane::kReadings, 1,
                                      {.stream = std::nullopt,
                                       .decisions = false,
                                       .filter = state.range(0) != 0 ? &filter : nullptr});
    for (auto item = reader->next(); item && *item != ReadItem::kEnd; item = reader->next()) {
      const WallTime time = reader->row().row.time;
      found += *item == ReadItem::kRow && time >= filter.from && time < filter.to ? 1 : 0;
    }
  }
  state.counters["rows"] = static_cast<double>(found);
  if (std::getenv("HW_BENCH_KEEP") == nullptr) {
    std::filesystem::remove_all(bench_dir());
  }
}
BENCHMARK(read_minute)
    ->Arg(0)
    ->Arg(1)
    ->ArgName("filter")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->Iterations(3);

}  // namespace
}  // namespace headwater

BENCHMARK_MAIN();
