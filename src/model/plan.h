// Binding's inside: what was resolved at create() and the buffers that are reused between calls.
// For the .cc files of Binding: resolve.cc makes it, gather.cc and scatter.cc move values,
// binding.cc drives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/binding.h"
#include "model/reconstruction.h"

namespace headwater::model {

// Elements of one tensor, of any type.
class Buffer {
 public:
  void reset(ElementType type, std::size_t elements) {
    type_ = type;
    if (type == ElementType::kString) {
      strings_.assign(elements, {});
    } else {
      bytes_.assign(elements * element_width(type), std::byte{0});
    }
  }
  ElementType type() const { return type_; }
  std::size_t width() const {
    return type_ == ElementType::kString ? sizeof(std::string_view) : element_width(type_);
  }
  void* at(std::size_t element) {
    return type_ == ElementType::kString ? static_cast<void*>(strings_.data() + element)
                                         : bytes_.data() + element * width();
  }
  template <class T>
  T* as() {
    return static_cast<T*>(at(0));
  }

 private:
  ElementType type_ = ElementType::kFloat32;
  std::vector<std::byte> bytes_;
  std::vector<std::string_view> strings_;
};

struct InputPlan {
  std::size_t port = 0;
  ElementType type = ElementType::kFloat32;
  std::vector<std::size_t> fields;   // indices into Plan::fields
  std::size_t width = 0;             // elements of one row
  bool has_rows = true;              // false: shape [fields], one row a call
  std::vector<std::int64_t> shape;   // of a call; shape[0] is set to its rows if has_rows
  std::unique_ptr<History> history;  // of a window input
  Buffer buffer;                     // rows_per_call rows
  Buffer padded;                     // of a fixed number of rows: the call's rows, padded
};

// One tensor that is asked for. `port` and `index` as in Model::run(in, which, out).
struct OutputPlan {
  std::size_t port = 0;
  ElementType type = ElementType::kFloat32;
  std::size_t width = 0;  // elements of one row
  bool any_rank = false;  // only compared with an input: [rows, …]
  bool in_place = false;  // numbers: the model writes to `buffer`
  std::vector<std::int64_t> shape;
  Buffer buffer;
};

// A column takes element `element` of each row of output `output`, or how far that is from an
// input.
struct ColumnPlan {
  struct Error {
    ErrorMeasure measure = ErrorMeasure::kMse;
    std::size_t input = 0;  // in Plan::inputs
  };
  std::size_t output = 0;
  std::size_t element = 0;
  std::optional<Error> error{};
};

// How a field is read, decided by all inputs that take it.
struct FieldUse {
  bool number = false;       // by a tensor of numbers
  bool text = false;         // by a tensor of strings
  bool whole = false;        // by int64 or int32: must be finite and in range
  bool narrow = false;       // by int32
  bool nan_allowed = false;  // missing becomes NaN
  bool shows_nan = false;    // by a tensor of floats, and neither whole nor nan_allowed
};

struct Binding::Plan {
  std::unique_ptr<Model> model;
  BindingOptions options;
  CostCurve cost;
  std::size_t rows_per_call = 1;
  std::optional<std::size_t> fixed_rows;  // the model's own number of rows
  std::vector<std::string> fields;
  std::vector<FieldUse> uses;  // by field
  std::vector<Field> columns;
  std::vector<ColumnPlan> column_plans;  // by column
  std::vector<InputPlan> inputs;         // in the model's order
  std::vector<OutputPlan> outputs;       // ascending by port
  std::vector<std::size_t> which;        // their ports
  std::string last_failure;
  std::function<void(std::size_t rows, Nanos took)> on_call;

  // Scratch of score().
  std::vector<const Column*> sources;    // by field; null: the batch has no such column
  std::vector<Column*> targets;          // by column
  std::vector<std::size_t> places;       // by field: where its column was in the last batch
  std::vector<std::uint8_t> whole;       // by field: no null among its values
  std::vector<std::uint8_t> unmarked;    // by field: NaN are looked for in the tensor
  std::vector<std::uint8_t> missing;     // by row of the batch
  std::vector<std::uint32_t> ready;      // rows that can be scored, where not all can
  std::vector<std::uint32_t> kept;       // what `ready` becomes
  std::vector<std::uint32_t> full;       // of window inputs: rows of one call
  std::span<const std::uint32_t> call;   // rows of one call
  std::vector<std::uint8_t> not_finite;  // by row of the call
  std::vector<double> values;            // one row of a window input
  std::vector<double> window;
  std::vector<TensorView> in;
  std::vector<TensorView> out;
};

// True if a column of `from` can fill a tensor of `to`.
bool convertible(Type from, ElementType to);

// Whether a NaN is among these elements; never in a buffer of another type than floats.
bool has_nan(Buffer& buffer, std::size_t first, std::size_t count);

// Marks the rows of the batch (not only selected ones) whose `source` cannot be used. False: there
// is none, and nothing was marked.
bool mark_missing(const Column* source, const FieldUse& use, std::span<std::uint8_t> missing);

// Writes source[rows[i]] to element i × stride + offset of `to`, as its type; NaN where null.
// `whole`: the column has no null.
void gather(const Column* source, bool whole, std::span<const std::uint32_t> rows, Buffer& to,
            std::size_t stride, std::size_t offset);

// The same for four columns without nulls at once, to the elements from `offset` on. False: not for
// these types and rows; nothing was written.
bool gather_four(std::span<const Column* const, 4> sources, std::span<const std::uint32_t> rows,
                 Buffer& to, std::size_t stride, std::size_t offset);

// Writes element i × stride + offset of `from` to row rows[i]. Values that are not finite become
// null and set flags[i]. Strings are copied into `arena`.
void scatter(const TensorView& from, std::size_t stride, std::size_t offset,
             std::span<const std::uint32_t> rows, Column& to, Arena& arena,
             std::span<std::uint8_t> not_finite);

// Column type of a tensor's values.
Type column_type(ElementType type);

}  // namespace headwater::model
