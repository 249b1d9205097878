// Binding::create: names and shapes of the config against the model's ports, then a warm-up that
// measures the cost and shows the real shapes of the outputs.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include "base/strings.h"
#include "model/call.h"

namespace headwater::model {
namespace {

constexpr std::string_view kFieldsKey = "headwater.fields";
// A warm-up call of many rows that would take longer than this is made with fewer.
constexpr double kMaxWarmUpNs = 50e6;

std::string hint(std::string_view name, const std::vector<std::string_view>& names) {
  const std::string_view near = nearest_name(name, names);
  return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
}

// '"input" float32 [N, 3], "mode" int64 [N]'
std::string port_list(std::span<const PortInfo> ports) {
  std::string text;
  for (const PortInfo& port : ports) {
    text += fmt::format("{}'{}' {}", text.empty() ? "" : ", ", port.name, port.text);
  }
  return text.empty() ? "none" : text;
}

Result<std::size_t> find_port(std::span<const PortInfo> ports, std::string_view name,
                              std::string_view what) {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].name == name) {
      return i;
    }
    names.emplace_back(ports[i].name);
  }
  return Error::invalid("no {} '{}'{}; the model has {}", what, name, hint(name, names),
                        port_list(ports));
}

bool takes_one_value(const PortInfo& port) {
  return port.shape.size() == 1 || (port.shape.size() == 2 && port.shape[1] == 1);
}

// Fields of every input, in the model's order.
Result<std::vector<std::vector<std::string>>> input_fields(const Model& model,
                                                           const BindingOptions& options) {
  const auto ports = model.inputs();
  std::vector<std::vector<std::string>> fields(ports.size());
  if (!options.inputs.empty()) {
    for (const auto& [tensor, names] : options.inputs) {
      fields[HW_TRY(find_port(ports, tensor, "input"))] = names;
    }
  } else if (const auto said = model.metadata().find(std::string(kFieldsKey));
             ports.size() == 1 && said != model.metadata().end()) {
    for (const std::string_view name : split(said->second, ',')) {
      fields[0].emplace_back(trim(name));
    }
  } else if (std::all_of(ports.begin(), ports.end(), takes_one_value)) {
    for (std::size_t i = 0; i < ports.size(); ++i) {
      fields[i] = {ports[i].name};
    }
  } else {
    return Error::invalid(
        "say which fields go into the model: inputs: {{{}: [FIELD, …]}}; the model has {}",
        ports[0].name, port_list(ports));
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (fields[i].empty()) {
      return Error::invalid("input '{}' {} gets no fields", ports[i].name, ports[i].text);
    }
  }
  return fields;
}

Error wrong_arity(const PortInfo& port, std::int64_t expected, std::size_t given) {
  return Error::invalid("input '{}' is {}: it takes {} field{}, {} {} given", port.name, port.text,
                        expected, expected == 1 ? "" : "s", given, given == 1 ? "is" : "are");
}

// A fixed number of rows in one input holds for all.
Status fix_rows(Binding::Plan& plan, const PortInfo& port, std::int64_t rows) {
  if (rows == 0) {
    return Error::invalid("input '{}' is {}: it takes no rows", port.name, port.text);
  }
  const auto fixed = static_cast<std::size_t>(rows);
  if (plan.fixed_rows && *plan.fixed_rows != fixed) {
    return Error::invalid("input '{}' is {}, another input takes {} rows", port.name, port.text,
                          *plan.fixed_rows);
  }
  plan.fixed_rows = fixed;
  return {};
}

Status resolve_window(Binding::Plan& plan, const PortInfo& port, InputPlan& input) {
  const std::size_t count = input.fields.size();
  if (port.type == ElementType::kString) {
    return Error::invalid("input '{}' is {}: windows of strings are not supported", port.name,
                          port.text);
  }
  if (port.shape[2] >= 0 && port.shape[2] != static_cast<std::int64_t>(count)) {
    return wrong_arity(port, port.shape[2], count);
  }
  std::int64_t window = port.shape[1];
  const auto asked = static_cast<std::int64_t>(plan.options.window);
  if (window < 0 && asked == 0) {
    return Error::invalid("input '{}' is {}: say how many rows its window has with window: ROWS",
                          port.name, port.text);
  }
  if (window >= 0 && asked != 0 && asked != window) {
    return Error::invalid("input '{}' is {}: its window has {} rows, not {}", port.name, port.text,
                          window, asked);
  }
  window = window < 0 ? asked : window;
  if (window == 0) {
    return Error::invalid("input '{}' is {}: its window has no rows", port.name, port.text);
  }
  input.width = static_cast<std::size_t>(window) * count;
  input.shape = {-1, window, static_cast<std::int64_t>(count)};
  input.history =
      std::make_unique<History>(static_cast<std::size_t>(window), count, plan.options.max_keys);
  return {};
}

Status resolve_shape(Binding::Plan& plan, const PortInfo& port, InputPlan& input) {
  const std::size_t count = input.fields.size();
  const auto fields = static_cast<std::int64_t>(count);
  input.width = count;
  switch (port.shape.size()) {
    case 0:  // the file says nothing about the shape
      input.shape = {-1, fields};
      return {};
    case 1:
      if (port.shape[0] > 1 && port.shape[0] == fields) {
        input.shape = {fields};
        input.has_rows = false;
        return {};
      }
      if (count != 1) {
        return wrong_arity(port, port.shape[0] > 1 ? port.shape[0] : 1, count);
      }
      input.shape = {-1};
      break;
    case 2:
      if (port.shape[1] >= 0 && port.shape[1] != fields) {
        return wrong_arity(port, port.shape[1], count);
      }
      input.shape = {-1, fields};
      break;
    case 3:
      HW_TRY(resolve_window(plan, port, input));
      break;
    default:
      return Error::invalid(
          "input '{}' is {}: only [rows], [rows, fields] and [rows, window, fields] can be filled "
          "from fields",
          port.name, port.text);
  }
  return port.shape[0] >= 0 ? fix_rows(plan, port, port.shape[0]) : Status{};
}

std::size_t field_index(Binding::Plan& plan, const std::string& name) {
  const auto found = std::find(plan.fields.begin(), plan.fields.end(), name);
  if (found != plan.fields.end()) {
    return static_cast<std::size_t>(found - plan.fields.begin());
  }
  plan.fields.push_back(name);
  plan.uses.push_back({.nan_allowed = plan.options.on_missing == OnMissing::kNan});
  return plan.fields.size() - 1;
}

void note_use(FieldUse& use, ElementType type) {
  const bool floats = type == ElementType::kFloat32 || type == ElementType::kFloat64;
  use.number = use.number || type != ElementType::kString;
  use.text = use.text || type == ElementType::kString;
  use.whole = use.whole || type == ElementType::kInt64 || type == ElementType::kInt32;
  use.narrow = use.narrow || type == ElementType::kInt32;
  use.nan_allowed = use.nan_allowed && floats;
}

Status resolve_inputs(Binding::Plan& plan) {
  const auto ports = plan.model->inputs();
  if (ports.empty()) {
    return Error::invalid("the model has no inputs");
  }
  const auto fields = HW_TRY(input_fields(*plan.model, plan.options));
  bool single = false;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const PortInfo& port = ports[i];
    if (!port.supported || port.is_sequence_of_maps) {
      return Error::invalid(
          "input '{}' is {}, which is not supported; float32, float64, int64, int32, bool and "
          "string are",
          port.name, port.text);
    }
    InputPlan& input = plan.inputs.emplace_back();
    input.port = i;
    input.type = port.type;
    for (const std::string& name : fields[i]) {
      if (name.empty()) {
        return Error::invalid("input '{}' is given a field without a name", port.name);
      }
      input.fields.push_back(field_index(plan, name));
      note_use(plan.uses[input.fields.back()], port.type);
    }
    HW_TRY(resolve_shape(plan, port, input));
    single = single || !input.has_rows;
  }
  for (std::size_t i = 0; i < plan.fields.size(); ++i) {
    if (plan.uses[i].number && plan.uses[i].text) {
      return Error::invalid("field '{}' goes into a tensor of numbers and a tensor of strings",
                            plan.fields[i]);
    }
  }
  if (single && plan.fixed_rows.value_or(1) != 1) {
    return Error::invalid("one input takes a single row, another {} rows", *plan.fixed_rows);
  }
  plan.rows_per_call =
      single ? 1 : plan.fixed_rows.value_or(std::max<std::size_t>(1, plan.options.max_rows));
  for (InputPlan& input : plan.inputs) {
    input.buffer.reset(input.type, plan.rows_per_call * input.width);
    if (plan.fixed_rows) {
      input.padded.reset(input.type, plan.rows_per_call * input.width);
    }
    plan.window.resize(std::max(plan.window.size(), input.width));
    plan.values.resize(std::max(plan.values.size(), input.fields.size()));
  }
  return {};
}

// A column as the config wants it: all of a tensor, or one class of it.
struct Wanted {
  std::string column{};
  std::size_t port = 0;
  std::string pick{};       // class or index; "": what the header's table says
  bool classifier = false;  // of the default: one column, the last class
  std::optional<ColumnPlan::Error> error{};
};

Result<Wanted> parse_error_output(const Model& model, const std::string& column,
                                  const Reconstruction& reconstruction) {
  Wanted wanted{.column = column};
  wanted.port = HW_TRY(
      find_port(model.outputs(), reconstruction.output, "output").with("column '{}'", column));
  const std::size_t input =
      HW_TRY(find_port(model.inputs(), reconstruction.input, "input").with("column '{}'", column));
  for (const PortInfo* port : {&model.outputs()[wanted.port], &model.inputs()[input]}) {
    if (port->is_sequence_of_maps ||
        (port->type != ElementType::kFloat32 && port->type != ElementType::kFloat64)) {
      return Error::invalid("column '{}': an error is between float tensors; '{}' is {}", column,
                            port->name, port->text);
    }
  }
  wanted.error = ColumnPlan::Error{reconstruction.measure, input};
  return wanted;
}

Result<Wanted> parse_output(const Model& model, const std::string& column,
                            const std::string& text) {
  const auto ports = model.outputs();
  Wanted wanted{.column = column};
  const bool whole = std::any_of(ports.begin(), ports.end(),
                                 [&](const PortInfo& port) { return port.name == text; });
  if (const auto reconstruction = parse_reconstruction(text); reconstruction && !whole) {
    return parse_error_output(model, column, *reconstruction);
  }
  std::string_view tensor = text;
  if (!whole && tensor.ends_with(']') && tensor.find('[') != std::string_view::npos) {
    const std::size_t open = tensor.rfind('[');
    wanted.pick = std::string(trim(tensor.substr(open + 1, tensor.size() - open - 2)));
    tensor = trim(tensor.substr(0, open));
    if (wanted.pick.empty()) {
      return Error::invalid("column '{}': '{}' names no class between the brackets", column, text);
    }
  }
  wanted.port = HW_TRY(find_port(ports, tensor, "output").with("column '{}'", column));
  return wanted;
}

bool is_label(const PortInfo& port) {
  return (port.type == ElementType::kInt64 || port.type == ElementType::kString) &&
         !port.is_sequence_of_maps && port.supported && port.shape.size() <= 2;
}

bool is_probabilities(const PortInfo& port) {
  return port.is_sequence_of_maps ||
         (port.supported && port.shape.size() <= 2 &&
          (port.type == ElementType::kFloat32 || port.type == ElementType::kFloat64));
}

Result<std::vector<Wanted>> wanted_outputs(const Model& model, const BindingOptions& options) {
  const auto ports = model.outputs();
  std::vector<Wanted> wanted;
  if (!options.outputs.empty()) {
    for (const auto& [column, text] : options.outputs) {
      wanted.push_back(HW_TRY(parse_output(model, column, text)));
    }
    return wanted;
  }
  if (ports.size() == 1) {
    wanted.push_back({.column = "score", .port = 0});
    return wanted;
  }
  if (ports.size() == 2 && is_label(ports[0]) && is_probabilities(ports[1])) {
    wanted.push_back({.column = "label", .port = 0});
    wanted.push_back({.column = "score", .port = 1, .classifier = true});
    return wanted;
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].name == "score") {
      wanted.push_back({.column = "score", .port = i});
      return wanted;
    }
  }
  if (ports.empty()) {
    return Error::invalid("the model has no outputs");
  }
  return Error::invalid("say which outputs to take: outputs: {{score: TENSOR}}; the model has {}",
                        port_list(ports));
}

Status plan_outputs(Binding::Plan& plan, const std::vector<Wanted>& wanted) {
  const auto ports = plan.model->outputs();
  for (const Wanted& want : wanted) {
    const PortInfo& port = ports[want.port];
    if (!port.supported) {
      return Error::invalid("output '{}' is {}, which is not supported", port.name, port.text);
    }
    plan.which.push_back(want.port);
  }
  std::sort(plan.which.begin(), plan.which.end());
  plan.which.erase(std::unique(plan.which.begin(), plan.which.end()), plan.which.end());
  for (const std::size_t port : plan.which) {
    OutputPlan& output = plan.outputs.emplace_back();
    output.port = port;
    output.type = ports[port].type;
    output.any_rank = std::all_of(wanted.begin(), wanted.end(), [&](const Wanted& want) {
      return want.port != port || want.error.has_value();
    });
  }
  plan.in.resize(plan.inputs.size());
  plan.out.resize(plan.outputs.size());
  return {};
}

void fill(Buffer& buffer, std::size_t elements, double value) {
  if (buffer.type() != ElementType::kString) {
    const std::vector<double> values(elements, value);
    store_doubles(values, buffer, 0);
  }
}

// One call with made-up rows; the outputs' shapes are learnt from it.
Status try_call(Binding::Plan& plan, std::size_t rows) {
  for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
    InputPlan& input = plan.inputs[i];
    if (input.has_rows) {
      input.shape[0] = static_cast<std::int64_t>(rows);
    }
    plan.in[i] = {.type = input.type, .shape = input.shape, .data = input.buffer.at(0)};
  }
  for (TensorView& out : plan.out) {
    out = TensorView{};
  }
  return plan.model->run(plan.in, plan.which, plan.out);
}

// Nanoseconds of the fastest of three calls.
Result<double> time_call(Binding::Plan& plan, std::size_t rows) {
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    HW_TRY(try_call(plan, rows));
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    best = i == 0 ? took.count() : std::min(best, took.count());
    if (best > kMaxWarmUpNs) {
      break;
    }
  }
  return best;
}

// Width of each output's row, from a call of `rows` rows.
Status learn_widths(Binding::Plan& plan, std::size_t rows) {
  for (std::size_t i = 0; i < plan.outputs.size(); ++i) {
    OutputPlan& output = plan.outputs[i];
    const PortInfo& port = plan.model->outputs()[output.port];
    const auto shape = plan.out[i].shape;
    const auto elements = static_cast<std::size_t>(element_count(shape));
    const bool by_row =
        rows == 1 || (!shape.empty() && shape[0] == static_cast<std::int64_t>(rows));
    if (!by_row || elements % rows != 0 || elements == 0 ||
        (shape.size() > 2 && !output.any_rank)) {
      return Error::invalid(
          "output '{}' gives [{}] for {} row{}: it is not a value or a list per row", port.name,
          fmt::join(shape, ", "), rows, rows == 1 ? "" : "s");
    }
    output.width = elements / rows;
    output.in_place = plan.inputs[0].has_rows && output.type != ElementType::kString &&
                      !port.is_sequence_of_maps && !shape.empty() &&
                      shape[0] == static_cast<std::int64_t>(rows);
    output.shape.assign(shape.begin(), shape.end());
  }
  return {};
}

Status warm_up(Binding::Plan& plan) {
  const std::size_t smallest = plan.fixed_rows.value_or(1);
  for (const double value : {1.0, 0.0}) {
    for (InputPlan& input : plan.inputs) {
      fill(input.buffer, plan.rows_per_call * input.width, value);
    }
    if (Status ran = try_call(plan, smallest); ran) {
      break;
    } else if (value == 0.0) {
      return std::move(ran).error().with("first call");
    }
  }
  const double few = HW_TRY(time_call(plan, smallest));
  if (smallest == plan.rows_per_call) {
    plan.cost.per_row_ns = few / static_cast<double>(smallest);
    return learn_widths(plan, smallest);
  }
  // More than one row, so that an output that is not by row shows; as many as time allows.
  const double affordable = kMaxWarmUpNs / few;
  const std::size_t rows = affordable >= static_cast<double>(plan.rows_per_call)
                               ? plan.rows_per_call
                               : std::max<std::size_t>(2, static_cast<std::size_t>(affordable));
  const double many = HW_TRY(time_call(plan, rows).with("a call of {} rows", rows));
  plan.cost.per_row_ns = std::max(0.0, (many - few) / static_cast<double>(rows - 1));
  plan.cost.fixed_ns = std::max(0.0, few - plan.cost.per_row_ns);
  return learn_widths(plan, rows);
}

// Index of a class in a row of `width` elements; `classes` are the keys of a map, else empty.
Result<std::size_t> find_class(const PortInfo& port, std::span<const std::string> classes,
                               std::size_t width, const std::string& pick) {
  const auto named = std::find(classes.begin(), classes.end(), pick);
  if (named != classes.end()) {
    return static_cast<std::size_t>(named - classes.begin());
  }
  if (!classes.empty()) {
    return Error::invalid("output '{}' has no class '{}'; it has {}", port.name, pick,
                          fmt::join(classes, ", "));
  }
  std::int64_t index = 0;
  const auto [end, error] = std::from_chars(pick.data(), pick.data() + pick.size(), index);
  const auto size = static_cast<std::int64_t>(width);
  if (error != std::errc{} || end != pick.data() + pick.size() || index >= size || index < -size) {
    return Error::invalid("output '{}' has {} values a row; '{}' is not one of them (0 to {})",
                          port.name, width, pick, width - 1);
  }
  return static_cast<std::size_t>(index < 0 ? index + size : index);
}

Status add_column(Binding::Plan& plan, std::string name, Type type, ColumnPlan column_plan) {
  if (std::find(plan.fields.begin(), plan.fields.end(), name) != plan.fields.end()) {
    return Error::invalid("the output column '{}' has the name of an input field", name);
  }
  for (const Field& column : plan.columns) {
    if (column.name == name) {
      return Error::invalid("two outputs want the column '{}'", name);
    }
  }
  plan.columns.push_back({.name = std::move(name), .type = type, .unit = {}});
  plan.column_plans.push_back(column_plan);
  return {};
}

Status plan_columns(Binding::Plan& plan, const std::vector<Wanted>& wanted) {
  for (const Wanted& want : wanted) {
    const PortInfo& port = plan.model->outputs()[want.port];
    const auto index = static_cast<std::size_t>(
        std::lower_bound(plan.which.begin(), plan.which.end(), want.port) - plan.which.begin());
    const OutputPlan& output = plan.outputs[index];
    const Type type = column_type(output.type);
    if (want.error) {
      const InputPlan& input = plan.inputs[want.error->input];
      if (input.width != output.width) {
        return Error::invalid(
            "column '{}': output '{}' has {} values a row and input '{}' {}: only tensors of one "
            "shape can be compared",
            want.column, port.name, output.width, plan.model->inputs()[input.port].name,
            input.width);
      }
      HW_TRY(add_column(plan, want.column, Type::kFloat64, {.output = index, .error = want.error}));
      continue;
    }
    const auto classes = plan.model->classes(want.port);
    std::string pick = want.pick;
    if (pick.empty() && output.width > 1) {
      pick = plan.options.anomalous_class;
      const bool last = output.width == 2 && (want.classifier || port.is_sequence_of_maps);
      if (pick.empty() && last) {
        pick = classes.empty() ? "-1" : classes.back();
      }
    }
    if (!pick.empty()) {
      const std::size_t element =
          HW_TRY(find_class(port, classes, output.width, pick).with("column '{}'", want.column));
      HW_TRY(add_column(plan, want.column, type, {.output = index, .element = element}));
    } else if (output.width == 1) {
      HW_TRY(add_column(plan, want.column, type, {.output = index}));
    } else {
      for (std::size_t i = 0; i < output.width; ++i) {
        const std::string suffix = classes.empty() ? std::to_string(i) : classes[i];
        HW_TRY(add_column(plan, fmt::format("{}_{}", want.column, suffix), type,
                          {.output = index, .element = i}));
      }
    }
  }
  return {};
}

}  // namespace

Status resolve(Binding::Plan& plan) {
  HW_TRY(resolve_inputs(plan));
  const auto wanted = HW_TRY(wanted_outputs(*plan.model, plan.options));
  HW_TRY(plan_outputs(plan, wanted));
  HW_TRY(warm_up(plan));
  HW_TRY(plan_columns(plan, wanted));
  for (OutputPlan& output : plan.outputs) {
    if (output.in_place) {
      output.buffer.reset(output.type, plan.rows_per_call * output.width);
    }
  }
  plan.sources.resize(plan.fields.size());
  plan.places.resize(plan.fields.size());
  plan.whole.resize(plan.fields.size());
  plan.unmarked.resize(plan.fields.size());
  for (const InputPlan& input : plan.inputs) {
    for (const std::size_t field : input.fields) {
      FieldUse& use = plan.uses[field];
      use.shows_nan |= !use.whole && !use.nan_allowed && !use.text &&
                       (input.type == ElementType::kFloat32 || input.type == ElementType::kFloat64);
    }
  }
  plan.targets.resize(plan.columns.size());
  return {};
}

}  // namespace headwater::model
