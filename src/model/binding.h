// Binding: the contract between a batch's columns and a model's tensors.
//
//   BindingOptions options{.inputs = {{"input", {"temperature", "pressure", "vibration"}}}};
//   auto binding = HW_TRY(Binding::create(std::move(model), std::move(options)));
//   HW_TRY(binding->check(schema));            // at config time, if the columns are known
//   HW_TRY(binding->score(batch, &counts));    // adds the column "score"; one model call
//
// Inputs. A tensor takes one or more fields. Shapes, with `rows` dynamic or fixed:
//   [rows, fields]   [rows] and [rows, 1] (one field)   [fields] (one row a call)
//   [rows, window, fields]: the last `window` rows of the row's device, oldest first
//   (model/history.h)
// A fixed number of rows is served in chunks; the last chunk is padded by repeating its last row.
// Element types float32, float64, int64, int32, bool from number and bool columns; string from
// string columns.
//
// Outputs. `column: tensor`, or `column: tensor[class]` to take one column of [rows, k] (an index,
// negative counts from the end) or one class of a scikit-learn map. Without a class:
//   [rows], [rows, 1]         one column
//   [rows, k]                 k columns column_0 … column_{k-1}
//   map of 2 classes          the probability of the greater class (scikit-learn: classes_[1])
//   map of k classes          k columns column_CLASS
// `column: mse(tensor, input)`, for an autoencoder: how far the output is from the input, both of
// floats and of one shape, windows included; also mae and max_error (model/reconstruction.h). One
// float64 column.
// Default when nothing is said: a single output is `score`; a classifier's (label, probabilities)
// is `label` and `score`, where score is the probability of `anomalous_class`; an output named
// "score" is `score`. Otherwise it is an error that lists the outputs.
//
// Rows. Every selected row is scored, or has null outputs and is counted: a required field is null,
// NaN or not convertible, the window is not full yet, or the model refuses the row. If a call
// fails, its rows are tried again in halves, so that a bad row fails alone. A batch without one of
// the fields is a batch of rows without it.
//
// Thread rule: one thread at a time, as the Model it owns. No allocation per row; buffers grow to
// the largest call and stay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "data/batch.h"
#include "model/history.h"
#include "model/model.h"

namespace headwater::model {

enum class OnMissing : std::uint8_t {
  kSkip,  // a row with a missing field gets no score
  kNan,   // float inputs get NaN instead (tree models route it); other element types still skip
};

struct BindingOptions {
  // Tensor → fields. Empty: the model's metadata "headwater.fields" (names separated by commas),
  // for the one input that the model has.
  std::map<std::string, std::vector<std::string>> inputs{};
  // Column → tensor, tensor[class] or mse(tensor, input). Empty: the defaults above.
  std::map<std::string, std::string> outputs{};
  OnMissing on_missing = OnMissing::kSkip;
  // Rows per model call at most (BATCH_SIZE); a fixed number of rows in the model wins.
  std::size_t max_rows = 512;
  // Rows of a window input whose length the model leaves open; 0: it must be in the model.
  std::size_t window = 0;
  // Devices whose windows are kept.
  std::size_t max_keys = 100'000;
  // Class whose probability is the default `score` of a classifier; "": the last one.
  std::string anomalous_class{};
};

// Cost of a call as the warm-up at create() measured it, a start for who learns it: fixed + per_row
// × rows, in nanoseconds.
struct CostCurve {
  double fixed_ns = 0;
  double per_row_ns = 0;

  Nanos predict(std::size_t rows) const {
    return Nanos(static_cast<std::int64_t>(fixed_ns + per_row_ns * static_cast<double>(rows)));
  }
};

// Sums over the life of the caller's struct; score() adds to it.
// selected rows = scored + missing + warming + failed.
struct ScoreCounts {
  std::uint64_t scored = 0;
  std::uint64_t missing = 0;     // a field null, NaN or not convertible
  std::uint64_t warming = 0;     // window not full yet
  std::uint64_t failed = 0;      // the model refused the row
  std::uint64_t not_finite = 0;  // of `scored`: an output was NaN or infinite, its column is null
  std::uint64_t calls = 0;       // model calls
};

class Binding {
 public:
  // Resolves names and shapes and warms the model up. kInvalid with the nearest name, the expected
  // and given number of fields, or the type that is not supported.
  static Result<std::unique_ptr<Binding>> create(std::unique_ptr<Model> model,
                                                 BindingOptions options);
  ~Binding();
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

  const Model& model() const;
  // Fields it reads, each once, in the order of the inputs.
  std::span<const std::string> fields() const;
  // Columns it adds, with their types.
  std::span<const Field> columns() const;
  const CostCurve& cost() const;
  // Rows of one call at most: max_rows, or the model's fixed number.
  std::size_t rows_per_call() const;

  // Errors that are known before any data: a field that `schema` lacks (with the nearest name) or
  // whose type cannot be converted.
  Status check(const Schema& schema) const;

  // Scores the selected rows and adds columns(). Fails only if something other than a row is wrong
  // (kInternal); the batch has the columns then, null. When the model refused rows, `failed` counts
  // them and last_failure() says why.
  Status score(Batch& batch, ScoreCounts* counts);
  // Told of each model call of score() that went well: its rows, those that fill up a fixed number
  // included, and the time inside it.
  void on_call(std::function<void(std::size_t rows, Nanos took)> call);
  const std::string& last_failure() const;

  // State of window inputs, for the stage's checkpoint; nothing for models without one.
  bool has_state() const;
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);

  struct Plan;  // model/plan.h, for the .cc files of this library

 private:
  explicit Binding(std::unique_ptr<Plan> plan);
  std::unique_ptr<Plan> plan_;
};

}  // namespace headwater::model
