// Differential: messages (separated by NUL bytes) through a decoder with shapes and one without
// must give the same columns, failures and learned fields; and what is accepted must be what
// simdjson's DOM accepts, but for the differences that json_decode.h declares.
#include <simdjson.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "compute/json_decode.h"

namespace {

using namespace headwater;

[[noreturn]] void fail(const char* what, std::string_view message) {
  std::fprintf(stderr, "%s: %.*s\n", what, static_cast<int>(message.size()), message.data());
  std::abort();
}

struct Decoded {
  explicit Decoded(bool shapes, std::size_t shape_nodes = DecodeOptions{}.shape_nodes)
      : decoder({.schema = Schema({{"i", Type::kInt64, ""},
                                   {"f", Type::kFloat32, ""},
                                   {"t", Type::kTimestamp, ""},
                                   {"a.1", Type::kFloat64, ""}}),
                 .max_depth = 8,
                 .max_fields = 12,
                 .shapes = shapes,
                 .shape_nodes = shape_nodes}) {}

  void run(const std::vector<std::string_view>& messages) {
    batch.clear();
    failures.clear();
    stats = {};
    for (const std::string_view message : messages) {
      Row row;
      row.payload = batch.arena().copy(message);
      batch.add_row(row);
    }
    if (!decoder.decode(batch, stats, failures)) {
      std::abort();
    }
  }

  JsonDecoder decoder;
  Batch batch;
  DecodeStats stats;
  std::vector<DecodeFailure> failures;
};

void same(const Decoded& a, const Decoded& b, const std::vector<std::string_view>& messages) {
  if (!(a.decoder.learned() == b.decoder.learned())) {
    fail("learned fields differ", "");
  }
  if (a.stats.mismatches != b.stats.mismatches || a.stats.undecoded != b.stats.undecoded ||
      a.stats.ignored_arrays != b.stats.ignored_arrays ||
      a.stats.ignored_values != b.stats.ignored_values ||
      a.decoder.mismatches() != b.decoder.mismatches()) {
    fail("counts differ", messages.back());
  }
  if (a.failures.size() != b.failures.size()) {
    fail("failures differ", "");
  }
  for (std::size_t i = 0; i < a.failures.size(); ++i) {
    if (a.failures[i].row != b.failures[i].row || a.failures[i].reason != b.failures[i].reason) {
      fail("failure differs", messages[a.failures[i].row]);
    }
  }
  for (std::size_t c = 0; c < a.batch.schema().size(); ++c) {
    const Column& left = a.batch.column(c);
    const Column* const right = b.batch.find(a.batch.schema()[c].name);
    if (right == nullptr || right->type() != left.type()) {
      fail("columns differ", a.batch.schema()[c].name);
    }
    for (std::size_t row = 0; row < messages.size(); ++row) {
      bool equal = left.valid(row) == right->valid(row);
      if (left.type() == Type::kString) {
        equal =
            equal && left.values<std::string_view>()[row] == right->values<std::string_view>()[row];
      } else {
        // Null rows are zero in both.
        const std::size_t width = type_width(left.type());
        equal = equal && std::memcmp(left.values<char>().data() + row * width,
                                     right->values<char>().data() + row * width, width) == 0;
      }
      if (!equal) {
        fail("values differ", messages[row]);
      }
    }
  }
}

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

void check_oracle(const Decoded& decoded, const std::vector<std::string_view>& messages) {
  simdjson::dom::parser parser;
  std::size_t next = 0;
  for (std::size_t row = 0; row < messages.size(); ++row) {
    simdjson::dom::element element;
    const auto error = parser.parse(simdjson::padded_string(messages[row])).get(element);
    const bool refused = next < decoded.failures.size() && decoded.failures[next].row == row;
    if (!refused && error != simdjson::SUCCESS && error != simdjson::NUMBER_ERROR) {
      fail("accepted what simdjson refuses", messages[row]);
    }
    if (refused) {
      const std::string& reason = decoded.failures[next++].reason;
      if (error == simdjson::SUCCESS && element.is_object() && !has(reason, "deeper") &&
          !has(reason, "longer") && !has(reason, "escape")) {
        fail(reason.c_str(), messages[row]);
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(bytes), size);
  std::vector<std::string_view> messages;
  for (std::size_t at = 0; at <= input.size() && messages.size() < 32;) {
    const std::size_t end = std::min(input.find('\0', at), input.size());
    messages.push_back(input.substr(at, end - at));
    at = end + 1;
  }
  Decoded with(true);
  Decoded few(true, 12);  // full at once: starts anew
  Decoded without(false);
  for (int round = 0; round < 2; ++round) {
    with.run(messages);
    without.run(messages);
    same(with, without, messages);
    few.run(messages);
    same(few, without, messages);
  }
  check_oracle(without, messages);
  return 0;
}
