#include "expr/expression.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/strings.h"
#include "expr/checker.h"
#include "expr/interpreter.h"
#include "expr/program.h"

namespace headwater::expr {
namespace {

constexpr std::size_t kMaxPrograms = 8;  // schemas in alternation; the least recent gives way
constexpr std::array<std::string_view, 7> kRowFacts = {"device", "device_id", "topic",   "sender",
                                                       "time",   "timestamp", "received"};

// In nested names a suggestion needs the whole name.
std::string hint(const Names& names, std::string_view name) {
  std::vector<std::string_view> candidates;
  for (const Names::Entry& entry : names.entries()) {
    candidates.push_back(entry.name);
  }
  if (names.has_row_facts()) {
    candidates.insert(candidates.end(), kRowFacts.begin(), kRowFacts.end());
  }
  const std::string_view nearest = nearest_name(name, candidates);
  return nearest.empty() ? std::string() : fmt::format(", did you mean '{}'?", nearest);
}

void locate(std::string_view text, Problem& problem) {
  problem.offset = std::min(problem.offset, text.size());
  problem.line = 1;
  problem.column = 1;
  for (const char c : text.substr(0, problem.offset)) {
    if (c == '\n') {
      ++problem.line;
      problem.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) {
      ++problem.column;
    }
  }
}

// The line of the text that the problem is in, cut to a width that a terminal shows, and a caret.
std::string frame(std::string_view text, const Problem& problem) {
  constexpr std::size_t kBefore = 60;
  constexpr std::size_t kAfter = 40;
  std::size_t begin = problem.offset;
  std::size_t before = 0;  // code points between begin and the problem
  while (begin > 0 && text[begin - 1] != '\n' && before < kBefore) {
    --begin;
    before += (static_cast<unsigned char>(text[begin]) & 0xc0) != 0x80 ? 1 : 0;
  }
  std::size_t end = std::min(text.find('\n', problem.offset), text.size());
  end = std::min(end, problem.offset + kAfter);
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    ++end;
  }
  std::string line(text.substr(begin, end - begin));
  for (char& c : line) {
    c = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return fmt::format("\n  {}\n  {}^", line, std::string(before, ' '));
}

}  // namespace

struct Expression::Source {
  std::string text;
  Names names;
  Type want = Type::kDyn;
  bool lenient = false;
  Tree parsed;   // with slots, without types
  Tree checked;  // by the names that were known at compile time
  std::vector<std::string> fields;
};

struct Expression::Scratch {
  struct Bound {
    std::vector<std::int32_t> columns;   // by field
    std::vector<headwater::Type> types;  // by field, where it has a column
    std::unique_ptr<Program> program;    // null when the types do not fit
    std::string failure;
  };
  std::vector<Bound> bound;  // most recent last
};

namespace {

std::optional<Type> known_type(const Names& names, std::string_view name) {
  for (const Names::Entry& entry : names.entries()) {
    if (entry.name == name) {
      return entry.type;
    }
  }
  return std::nullopt;
}

// What each name means; a name that has no meaning gets none here and fails in the checker.
void place_names(const Names& names, Tree& tree, std::vector<std::string>& fields) {
  for (Node& node : tree.nodes) {
    if (node.op != Op::kName && node.op != Op::kHas) {
      continue;
    }
    const std::string& text = tree.names[node.name];
    const auto fact = node.quoted || !names.has_row_facts() ? std::nullopt : row_fact(text);
    if (fact) {
      node.slot = kFactSlot + static_cast<std::uint32_t>(*fact);
      continue;
    }
    const bool is_type = !node.quoted && text != "type" && type_by_name(text).has_value();
    if (!known_type(names, text) && (!names.is_open() || is_type)) {
      continue;
    }
    const auto at = std::find(fields.begin(), fields.end(), text);
    node.slot = static_cast<std::uint32_t>(at - fields.begin());
    if (at == fields.end()) {
      fields.push_back(text);
    }
  }
}

NameTypes static_types(const Names& names) {
  return [&names](std::string_view name, bool quoted) -> std::optional<NameInfo> {
    if (!quoted && names.has_row_facts()) {
      if (const auto fact = row_fact(name)) {
        return NameInfo{row_fact_type(*fact)};
      }
    }
    if (const auto type = known_type(names, name)) {
      return NameInfo{*type};
    }
    if (names.is_open() && (quoted || name == "type" || !type_by_name(name))) {
      return NameInfo{};
    }
    return std::nullopt;
  };
}

}  // namespace

Result<Expression> compile(std::string_view text, const Names& names, const CompileOptions& options,
                           Problem* problem) {
  auto source = std::make_shared<Expression::Source>();
  Fault fault;
  const auto refuse = [&] {
    Problem found;
    found.offset = fault.offset;
    found.message = fault.message;
    locate(text, found);
    const std::string shown = fmt::format("{}:{}:{}: {}{}", options.origin, found.line,
                                          found.column, found.message, frame(text, found));
    if (problem != nullptr) {
      *problem = std::move(found);
    }
    return Error::invalid("{}", shown);
  };
  if (text.size() > options.max_bytes) {
    fault = {0, fmt::format("the expression has {} bytes, more than {}", text.size(),
                            options.max_bytes)};
    return refuse();
  }
  if (!is_utf8(text)) {
    fault = {0, "the expression is not UTF-8"};
    return refuse();
  }
  source->text = std::string(text);
  source->names = names;
  source->want = options.want;
  source->lenient = options.lenient;
  if (!parse(text, options, source->parsed, fault)) {
    return refuse();
  }
  place_names(names, source->parsed, source->fields);
  source->checked = source->parsed;
  const CheckOptions check_options{options.want, options.lenient};
  if (!check(source->checked, static_types(source->names), check_options, fault)) {
    constexpr std::string_view kNoField = "no field '";
    if (fault.message.starts_with(kNoField)) {
      const std::string_view name =
          std::string_view(fault.message)
              .substr(kNoField.size(), fault.message.size() - kNoField.size() - 1);
      fault.message += hint(names, name);
    }
    return refuse();
  }
  return Expression(std::move(source));
}

Expression::Expression(std::shared_ptr<const Source> source)
    : source_(std::move(source)), scratch_(std::make_unique<Scratch>()) {}
Expression::Expression(const Expression& other) : Expression(other.source_) {}
Expression& Expression::operator=(const Expression& other) {
  if (this != &other) {
    *this = Expression(other);
  }
  return *this;
}
Expression::Expression(Expression&&) noexcept = default;
Expression& Expression::operator=(Expression&&) noexcept = default;
Expression::~Expression() = default;

const std::string& Expression::text() const {
  return source_->text;
}

Type Expression::type() const {
  const Type type = source_->checked.nodes.back().type;
  return source_->want != Type::kDyn ? source_->want : type;
}

std::optional<headwater::Type> Expression::column_type() const {
  return column_type_of(type());
}

std::span<const std::string> Expression::fields() const {
  return source_->fields;
}

// Finds or makes the program for the batch's types.
const Expression::Scratch* Expression::bind(const Batch& batch) const {
  using Bound = Scratch::Bound;
  const Source& source = *source_;
  const auto fits = [&](Bound& bound) {
    for (std::size_t field = 0; field < source.fields.size(); ++field) {
      const std::int32_t column = bound.columns[field];
      const std::string& name = source.fields[field];
      // The place is remembered; a batch of another layout is looked through.
      const Schema& schema = batch.schema();
      const bool same_place = column >= 0 && static_cast<std::size_t>(column) < schema.size() &&
                              schema[static_cast<std::size_t>(column)].name == name;
      const auto found =
          same_place ? std::optional(static_cast<std::size_t>(column)) : schema.find(name);
      if (found.has_value() != (column >= 0) ||
          (found && batch.column(*found).type() != bound.types[field])) {
        return false;
      }
      bound.columns[field] = found ? static_cast<std::int32_t>(*found) : -1;
    }
    return true;
  };
  std::vector<Bound>& cache = scratch_->bound;
  for (std::size_t index = cache.size(); index-- > 0;) {
    if (fits(cache[index])) {
      std::rotate(cache.begin() + static_cast<std::ptrdiff_t>(index),
                  cache.begin() + static_cast<std::ptrdiff_t>(index) + 1, cache.end());
      return scratch_.get();
    }
  }
  if (cache.size() == kMaxPrograms) {
    cache.erase(cache.begin());
  }
  Bound bound;
  for (const std::string& name : source.fields) {
    const auto found = batch.schema().find(name);
    bound.columns.push_back(found ? static_cast<std::int32_t>(*found) : -1);
    bound.types.push_back(found ? batch.column(*found).type() : headwater::Type::kFloat64);
  }
  const NameTypes declared = static_types(source.names);
  const NameTypes types = [&](std::string_view name, bool quoted) -> std::optional<NameInfo> {
    auto info = declared(name, quoted);
    if (!info || (!quoted && source.names.has_row_facts() && row_fact(name))) {
      return info;
    }
    const auto field = std::find(source.fields.begin(), source.fields.end(), name);
    const auto index = static_cast<std::size_t>(field - source.fields.begin());
    info->absent = bound.columns[index] < 0;
    if (!info->absent) {
      info->type = from_column_type(bound.types[index]);
    }
    return info;
  };
  Tree tree = source.parsed;
  Fault fault;
  if (check(tree, types, {source.want, source.lenient}, fault)) {
    bound.program = std::make_unique<Program>(std::move(tree), source.want);
  } else {
    bound.failure = fmt::format("the batch's types do not fit: {}", fault.message);
  }
  cache.push_back(std::move(bound));
  return scratch_.get();
}

void Expression::evaluate(const Batch& batch, Arena& arena, Column& out, EvalStats& stats) const {
  const Scratch::Bound& bound = bind(batch)->bound.back();
  if (bound.program != nullptr) {
    bound.program->run(batch, bound.columns, arena, out, stats);
    return;
  }
  out.reset(column_type().value_or(headwater::Type::kFloat64), batch.rows());
  stats.rows += batch.selected();
  stats.nulls += batch.selected();
  stats.errors += batch.selected();
  if (stats.first_error.empty() && batch.selected() != 0) {
    stats.first_error = bound.failure;
  }
}

Result<Value> Expression::evaluate_row(const Batch& batch, std::size_t row) const {
  const Scratch::Bound& bound = bind(batch)->bound.back();
  if (bound.program == nullptr) {
    return Error::invalid("{}", bound.failure);
  }
  Value value = bound.program->evaluate_row(batch, bound.columns, row);
  if (value.is_error()) {
    return Error::invalid("{}", value.as_error());
  }
  return value;
}

Result<Value> Expression::evaluate_scalar(const Bindings& bindings) const {
  const Tree& tree = source_->checked;
  const Lookup lookup = [&](const Node& node) {
    const auto found = bindings.find(tree.names[node.name]);
    const bool present = found != bindings.end() && !found->second.is_null();
    if (node.op == Op::kHas) {
      return Value::boolean(present);
    }
    if (!present) {
      return Value();
    }
    const Type type = found->second.type();
    if (node.type == Type::kDyn || type == node.type) {
      return found->second;
    }
    // What was checked holds only for values of the types that were declared.
    if (node.type == Type::kDouble && type == Type::kInt) {
      return Value::number(static_cast<double>(found->second.as_int()));
    }
    return Value::error(
        fmt::format("'{}' is {}, not {}", found->first, type_name(type), type_name(node.type)));
  };
  Value value = Interpreter(tree, lookup).run();
  if (value.is_error()) {
    return Error::invalid("{}", value.as_error());
  }
  if (source_->want == Type::kDouble && value.type() == Type::kInt) {
    return Value::number(static_cast<double>(value.as_int()));
  }
  if (source_->want != Type::kDyn && !value.is_null() && value.type() != source_->want) {
    return Error::invalid("the result is {}, not {}", type_name(value.type()),
                          type_name(source_->want));
  }
  return value;
}

std::size_t to_flags(const Column& column, std::span<std::uint8_t> flags) {
  std::fill(flags.begin(), flags.end(), std::uint8_t{0});
  if (column.type() != headwater::Type::kBool) {
    return 0;
  }
  const auto values = column.values<std::uint8_t>();
  std::size_t set = 0;
  // Null rows hold 0, so the values are the flags.
  for (std::size_t row = 0; row < std::min(flags.size(), values.size()); ++row) {
    flags[row] = values[row];
    set += values[row];
  }
  return set;
}

}  // namespace headwater::expr
