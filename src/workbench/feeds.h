// Feeds: inputs for a model, read one call at a time.
//
//   const Feeds feeds = HW_TRY(Feeds::open("feeds/", session->inputs(), {}));
//   for (std::size_t i = 0; i < feeds.size(); ++i) run(HW_TRY(feeds.read(i)));
//
// Where they come from, told by what `where` is:
//   folder with manifest.txt   the recorded format: a line per tensor, "FEED FILE TYPE RANK DIMS…
//   INPUT"
//                              (TYPE: ONNX element type), FILE raw little-endian
//   folder of folders          one feed each: files INPUT.npy, INPUT.pb, INPUT.raw, or input_0.pb,
//                              input_1.pb, … in the order of the model's inputs (ONNX test data)
//   folder of files            files named after the inputs: one feed; else, for a model with one
//                              input, one feed a file
//   file .npy                  for a model with one input: cut along the first axis into feeds
//   file .csv, .jsonl          a row is a feed; named fields make up the inputs
//   (FeedOptions::fields)
//   ""                         synthetic, only with allow_synthetic: seeded noise in the inputs'
//                              shapes. Says nothing about accuracy; callers must report it
// Images and rows of a spool are not read yet.
//
// Memory: one feed at a time; rows of .csv and .jsonl are kept as text. Thread-safe once open.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "workbench/session.h"

namespace headwater::workbench {

struct FeedOptions {
  // Of rows: the fields that make up an input, in order. An input that is not in it takes the field
  // of its own name; a field may hold an array (.jsonl).
  std::map<std::string, std::vector<std::string>> fields{};
  bool allow_synthetic = false;
  std::size_t synthetic_count = 32;
  std::int64_t free_dimension = 1;  // of synthetic inputs, for dimensions that the call decides
  std::uint64_t max_synthetic_bytes = std::uint64_t{1} << 30;  // of one call, all inputs together
  std::size_t max_feeds = 100'000;                             // more is an error: cut the file
};

class Feeds {
 public:
  static Result<Feeds> open(const std::string& where, std::span<const Port> inputs,
                            const FeedOptions& options);

  std::size_t size() const { return source_->size(); }
  // Errors name the file (and line) and the input.
  Result<Feed> read(std::size_t index) const { return source_->read(index); }
  const std::string& where() const { return where_; }
  bool synthetic() const { return where_.empty(); }
  // SHA-256 over names, types, shapes and elements of all feeds, 64 hex digits.
  Result<std::string> digest() const;

  // What a kind of source is.
  class Source {
   public:
    virtual ~Source() = default;
    virtual std::size_t size() const = 0;
    virtual Result<Feed> read(std::size_t index) const = 0;
  };

 private:
  Feeds(std::shared_ptr<const Source> source, std::string where)
      : source_(std::move(source)), where_(std::move(where)) {}

  std::shared_ptr<const Source> source_;
  std::string where_;
};

// One tensor from a file: .npy (little-endian, C order, no objects) or .pb (TensorProto).
Result<Tensor> read_npy(const std::string& path);
Result<Tensor> parse_npy(std::string_view bytes);
Result<Tensor> read_tensor_pb(const std::string& path);

// The kinds, for feeds.cc.
Result<std::shared_ptr<const Feeds::Source>> open_folder(const std::string& path,
                                                         std::span<const Port> inputs,
                                                         const FeedOptions& options);
Result<std::shared_ptr<const Feeds::Source>> open_rows(const std::string& path,
                                                       std::span<const Port> inputs,
                                                       const FeedOptions& options);

}  // namespace headwater::workbench
