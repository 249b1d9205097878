#include "compute/json_decode.h"

#include <algorithm>
#include <map>
#include <utility>

#include "compute/json_shape.h"
#include "compute/json_walk.h"

namespace headwater {
namespace {

constexpr std::size_t kMaxDepth = 256;  // the walk recurses
// A source whose messages never repeat a shape should not pay for learning each: after so many
// misses in a row only every kLearnEvery-th message is learned.
constexpr std::size_t kPatience = 64;
constexpr std::size_t kLearnEvery = 32;
constexpr std::uint8_t kStateVersion = 1;

}  // namespace

class JsonDecoder::Worker final : public JsonFields {
 public:
  explicit Worker(DecodeOptions options)
      : options_(std::move(options)),
        schema_(options_.schema),
        declared_(schema_.size()),
        mismatches_(schema_.size()),
        walker_(std::min(options_.max_depth, kMaxDepth)),
        shapes_(options_.shapes ? options_.shape_nodes : 0) {
    index_names(0);
    has_element_names_ =
        std::any_of(schema_.fields().begin(), schema_.fields().end(), [](const Field& field) {
          return field.name.find_first_of("0123456789") != std::string::npos;
        });
  }

  Status decode(Batch& batch, DecodeStats& stats, std::vector<DecodeFailure>& failures);
  void save(ByteWriter& out) const;
  Status restore(ByteReader& in);

  const Schema& schema() const { return schema_; }
  const std::vector<std::uint64_t>& mismatches() const { return mismatches_; }

  std::int32_t resolve(std::string_view name, bool in_array) override;

 private:
  void index_names(std::size_t from);
  void add_columns(Batch& batch, std::size_t from);
  bool read_by_shape(Batch& batch, std::size_t row, DecodeStats& stats);
  Result<bool> read_by_walk(Batch& batch, std::size_t row, DecodeStats& stats);
  void learn_fields(Batch& batch);
  void learn_shape(std::string_view payload, std::uint64_t ignored_arrays);
  bool store(const JsonLeaf& leaf, std::size_t row, std::string_view payload, Arena& arena) const;

  DecodeOptions options_;
  Schema schema_;
  std::size_t declared_;
  std::vector<std::uint64_t> mismatches_;  // by field
  std::map<std::string, std::int32_t, std::less<>> index_;
  bool has_element_names_ = false;
  std::size_t next_field_ = 0;  // that resolve() expects

  JsonWalker walker_;
  std::vector<FieldTarget> targets_;  // by field, into the batch at hand
  JsonShapes shapes_;
  std::size_t misses_ = 0;  // since the last match
  JsonShapes::Notes notes_;

  // Of the document at hand: names that are not known. Field schema_.size() + i is pending_[i].
  struct Pending {
    std::string name;
    std::int32_t field = JsonShapes::kUnlearned;  // once learned
  };
  std::vector<Pending> pending_;
  std::vector<JsonLeaf> leaves_;  // with final fields
};

void JsonDecoder::Worker::index_names(std::size_t from) {
  for (std::size_t i = from; i < schema_.size(); ++i) {
    index_.emplace(schema_[i].name, static_cast<std::int32_t>(i));
  }
}

std::int32_t JsonDecoder::Worker::resolve(std::string_view name, bool in_array) {
  if (in_array && !has_element_names_) {
    return kSkip;
  }
  // Fields mostly come in the order in which they were learned.
  if (!in_array && next_field_ < schema_.size() && schema_[next_field_].name == name) {
    return static_cast<std::int32_t>(next_field_++);
  }
  const auto found = index_.find(name);
  if (in_array) {
    return found != index_.end() && static_cast<std::size_t>(found->second) < declared_
               ? found->second
               : kSkip;
  }
  if (found != index_.end()) {
    next_field_ = static_cast<std::size_t>(found->second) + 1;
    return found->second;
  }
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (pending_[i].name == name) {
      return static_cast<std::int32_t>(schema_.size() + i);
    }
  }
  if (!options_.learn || schema_.size() + pending_.size() >= options_.max_fields) {
    return kIgnored;
  }
  pending_.push_back({std::string(name), JsonShapes::kUnlearned});
  return static_cast<std::int32_t>(schema_.size() + pending_.size() - 1);
}

void JsonDecoder::Worker::add_columns(Batch& batch, std::size_t from) {
  for (std::size_t i = from; i < schema_.size(); ++i) {
    batch.add_column(schema_[i].name, schema_[i].type);
  }
  // Adding moves columns; their buffers stay, but the bitmaps' vectors are new objects.
  targets_.resize(schema_.size());
  for (std::size_t i = 0; i < schema_.size(); ++i) {
    const bool as_added = i < batch.schema().size() && batch.schema()[i].name == schema_[i].name;
    Column& column = as_added ? batch.column(i) : *batch.find(schema_[i].name);
    targets_[i] = {column.type(), column.values<std::byte>().data(), column.validity().data()};
  }
}

Status JsonDecoder::Worker::decode(Batch& batch, DecodeStats& stats,
                                   std::vector<DecodeFailure>& failures) {
  add_columns(batch, 0);
  for (const std::uint32_t row : batch.selection()) {
    if ((batch.row(row).flags & kRowUndecoded) != 0) {
      continue;
    }
    ++stats.rows;
    if (read_by_shape(batch, row, stats)) {
      continue;
    }
    if (!HW_TRY(read_by_walk(batch, row, stats))) {
      ++stats.undecoded;
      batch.row(row).flags |= kRowUndecoded;
      failures.push_back({row, walker_.refusal()});
    }
  }
  return {};
}

bool JsonDecoder::Worker::read_by_shape(Batch& batch, std::size_t row, DecodeStats& stats) {
  if (!shapes_.read(batch.row(row).payload, row, targets_, batch.arena(), notes_)) {
    return false;
  }
  misses_ = 0;
  ++stats.shape_rows;
  stats.ignored_values += notes_.ignored_values;
  stats.ignored_arrays += notes_.ignored_arrays;
  if (!notes_.unfit.empty()) [[unlikely]] {
    stats.mismatches += notes_.unfit.size();
    for (const std::int32_t field : notes_.unfit) {
      ++mismatches_[static_cast<std::size_t>(field)];
    }
  }
  return true;
}

// False: refused; the walker has the reason.
Result<bool> JsonDecoder::Worker::read_by_walk(Batch& batch, std::size_t row, DecodeStats& stats) {
  const std::string_view payload = batch.row(row).payload;
  pending_.clear();
  next_field_ = declared_ == schema_.size() ? 0 : declared_;
  if (!HW_TRY(walker_.walk(payload, *this))) {
    return false;
  }
  leaves_.assign(walker_.leaves().begin(), walker_.leaves().end());
  learn_fields(batch);

  std::vector<bool> array_used(walker_.arrays());
  for (const JsonLeaf& leaf : leaves_) {
    if (leaf.field < 0) {
      stats.ignored_values += leaf.field == kIgnored && leaf.kind != JsonLeaf::Kind::kNull ? 1 : 0;
      continue;
    }
    if (leaf.array != JsonLeaf::kNoArray) {
      array_used[leaf.array] = true;
    }
    if (!store(leaf, row, payload, batch.arena())) {
      ++stats.mismatches;
      ++mismatches_[static_cast<std::size_t>(leaf.field)];
    }
  }
  const auto ignored_arrays =
      static_cast<std::uint64_t>(std::count(array_used.begin(), array_used.end(), false));
  stats.ignored_arrays += ignored_arrays;
  if (options_.shapes && walker_.complete()) {
    learn_shape(payload, ignored_arrays);
  }
  return true;
}

// Gives pending names a place in the schema, by their first value that is not null, and the leaves
// their final fields.
void JsonDecoder::Worker::learn_fields(Batch& batch) {
  if (pending_.empty()) {
    return;
  }
  const std::size_t known = schema_.size();
  for (JsonLeaf& leaf : leaves_) {
    if (leaf.field < static_cast<std::int32_t>(known)) {
      continue;
    }
    Pending& pending = pending_[static_cast<std::size_t>(leaf.field) - known];
    if (pending.field == JsonShapes::kUnlearned && leaf.kind != JsonLeaf::Kind::kNull) {
      const Type type = leaf.kind == JsonLeaf::Kind::kNumber   ? Type::kFloat64
                        : leaf.kind == JsonLeaf::Kind::kString ? Type::kString
                                                               : Type::kBool;
      pending.field = static_cast<std::int32_t>(schema_.set({pending.name, type, {}}));
    }
    leaf.field = pending.field;
  }
  if (schema_.size() != known) {
    mismatches_.resize(schema_.size());
    index_names(known);
    add_columns(batch, known);
  }
}

bool JsonDecoder::Worker::store(const JsonLeaf& leaf, std::size_t row, std::string_view payload,
                                Arena& arena) const {
  const FieldTarget& target = targets_[static_cast<std::size_t>(leaf.field)];
  bool fits = true;
  switch (leaf.kind) {
    case JsonLeaf::Kind::kNull:
      target.null(row);
      return true;
    case JsonLeaf::Kind::kFalse:
    case JsonLeaf::Kind::kTrue:
      fits = target.boolean(row, leaf.kind == JsonLeaf::Kind::kTrue);
      break;
    case JsonLeaf::Kind::kNumber:
      fits = target.number(row, leaf.number);
      break;
    case JsonLeaf::Kind::kString: {
      std::string_view text = payload.substr(leaf.begin + 1, leaf.end - leaf.begin - 2);
      if (leaf.escaped) {
        char* const room = arena.allocate(text.size());
        const std::size_t size = unescape_json(text, room).size;
        arena.shrink_last(room, size);
        text = {room, size};
      }
      fits = target.string(row, text);
      break;
    }
  }
  if (!fits) {
    target.null(row);  // of equal names the last wins
  }
  return fits;
}

void JsonDecoder::Worker::learn_shape(std::string_view payload, std::uint64_t ignored_arrays) {
  if (++misses_ > kPatience && misses_ % kLearnEvery != 0) {
    return;
  }
  shapes_.learn(payload, leaves_, ignored_arrays);
}

void JsonDecoder::Worker::save(ByteWriter& out) const {
  out.put(kStateVersion);
  out.put_varint(schema_.size() - declared_);
  for (std::size_t i = declared_; i < schema_.size(); ++i) {
    out.put_string(schema_[i].name);
    out.put(schema_[i].type);
  }
}

Status JsonDecoder::Worker::restore(ByteReader& in) {
  if (in.get<std::uint8_t>() != kStateVersion) {
    return Error::corrupt("learned fields: unknown version");
  }
  Schema schema = options_.schema;
  const std::uint64_t count = in.get_varint();
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    const std::string_view name = in.get_string();
    const auto type = in.get<Type>();
    if (!in.ok() || (type != Type::kFloat64 && type != Type::kBool && type != Type::kString)) {
      return Error::corrupt("learned fields: damaged entry {}", i);
    }
    if (!schema.find(name) && schema.size() < options_.max_fields) {
      schema.set({std::string(name), type, {}});
    }
  }
  if (!in.ok()) {
    return Error::corrupt("learned fields: cut off");
  }
  schema_ = std::move(schema);
  index_.clear();
  index_names(0);
  mismatches_.assign(schema_.size(), 0);
  shapes_.clear();
  return {};
}

JsonDecoder::JsonDecoder(DecodeOptions options)
    : worker_(std::make_unique<Worker>(std::move(options))) {}
JsonDecoder::~JsonDecoder() = default;
JsonDecoder::JsonDecoder(JsonDecoder&&) noexcept = default;
JsonDecoder& JsonDecoder::operator=(JsonDecoder&&) noexcept = default;

Status JsonDecoder::decode(Batch& batch, DecodeStats& stats, std::vector<DecodeFailure>& failures) {
  return worker_->decode(batch, stats, failures);
}
const Schema& JsonDecoder::learned() const {
  return worker_->schema();
}
const std::vector<std::uint64_t>& JsonDecoder::mismatches() const {
  return worker_->mismatches();
}
void JsonDecoder::save(ByteWriter& out) const {
  worker_->save(out);
}
Status JsonDecoder::restore(ByteReader& in) {
  return worker_->restore(in);
}

}  // namespace headwater
