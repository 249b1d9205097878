// An inspection as text, as JSON, and a graph as a picture.
#include <algorithm>
#include <map>

#include "base/strings.h"
#include "workbench/graph.h"
#include "workbench/inspect.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

std::string grouped(std::uint64_t value) {
  std::string text = std::to_string(value);
  for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out;
}

std::string quoted(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string shortened(const std::string& text, std::size_t length) {
  return text.size() <= length ? text : text.substr(0, length - 1) + "~";
}

// A node's box: its place in layers by data flow.
struct Box {
  int layer = 0;
  int column = 0;
};

std::vector<Box> layers_of(const onnx::GraphProto& graph, const GraphIndex& index, int& depth,
                           int& width) {
  std::vector<Box> boxes(static_cast<std::size_t>(graph.node_size()));
  std::map<int, int> used;
  for (int i = 0; i < graph.node_size(); ++i) {
    Box& box = boxes[static_cast<std::size_t>(i)];
    std::vector<std::string> names(graph.node(i).input().begin(), graph.node(i).input().end());
    for (auto& name : captures(graph.node(i))) {
      names.push_back(std::move(name));
    }
    for (const auto& name : names) {
      if (const int from = index.producer(name); from >= 0 && from < i) {
        box.layer = std::max(box.layer, boxes[static_cast<std::size_t>(from)].layer + 1);
      }
    }
    box.column = used[box.layer]++;
    depth = std::max(depth, box.layer + 1);
    width = std::max(width, box.column + 1);
  }
  return boxes;
}

Result<OnnxModel> load_sorted(const std::string& path) {
  OnnxModel model = HW_TRY(load_model(path));
  HW_TRY(sort_nodes(model.proto).with("model '{}'", path));
  HW_TRY(check_model(model.proto).with("model '{}'", path));
  return model;
}

}  // namespace

std::string to_text(const Inspection& made) {
  std::string text;
  const auto line = [&](std::string_view label, const std::string& value) {
    text += fmt::format("{:<12}{}\n", label, value);
  };
  line("file", fmt::format("{}, {} bytes{}", made.path, grouped(made.file_bytes),
                           made.external_bytes == 0
                               ? ""
                               : fmt::format(", and {} beside it", grouped(made.external_bytes))));
  std::string opsets;
  for (const auto& [domain, version] : made.opsets) {
    opsets += fmt::format("{}{} {}", opsets.empty() ? "" : ", ",
                          domain.empty() ? "ai.onnx" : domain, version);
  }
  line("opset", fmt::format("{} (IR {}{})", opsets.empty() ? "none" : opsets, made.ir_version,
                            made.producer.empty() ? "" : ", by " + made.producer));
  for (const auto& [name, type] : made.inputs) {
    line("input", fmt::format("{}: {}", name, type));
  }
  for (const auto& [name, type] : made.outputs) {
    line("output", fmt::format("{}: {}", name, type));
  }
  std::string types;
  for (const auto& [name, count] : made.parameter_types) {
    types += fmt::format("{}{} {}", types.empty() ? "" : ", ", grouped(count), name);
  }
  line("parameters",
       fmt::format("{}, {} bytes{}", grouped(made.parameters), grouped(made.parameter_bytes),
                   types.empty() ? "" : " (" + types + ")"));
  if (made.runs && made.run_error.empty()) {
    line("work", fmt::format("{} FLOPs a call, {} bytes of values alive at most (free dimensions "
                             "taken as small as allowed)",
                             grouped(made.flops), grouped(made.peak_activation_bytes)));
  }
  line("cpu", fmt::format("{}: int8 {}", made.cpu,
                          made.fast_int8 ? "is fast" : "is slower, and u8*s8 sums may saturate"));
  text +=
      fmt::format("\n{} nodes{}\n{:<28} {:>6} {:>16}  on this CPU in int8\n", made.nodes,
                  made.subgraphs == 0 ? "" : fmt::format(", some in {} subgraphs", made.subgraphs),
                  "operator", "nodes", "FLOPs");
  for (const OperatorUse& use : made.operators) {
    const std::string name = use.domain.empty() ? use.op : use.domain + "." + use.op;
    const char* what = use.int8 == "compute"   ? "computes"
                       : use.int8 == "moves"   ? "passes through"
                       : use.int8 == "dynamic" ? "weights (dynamic)"
                                               : "-";
    text += fmt::format("{:<28} {:>6} {:>16}  {}\n", name, use.nodes,
                        use.flops == 0 ? "" : grouped(use.flops), what);
  }
  text += made.problems.empty() ? "\nno problems found\n" : "\nto look at:\n";
  for (const Problem& problem : made.problems) {
    text += fmt::format("  {}: {}\n", problem.kind, problem.text);
  }
  return text;
}

std::string to_json(const Inspection& made) {
  std::string out = fmt::format(
      R"({{"path":{},"sha256":"{}","bytes":{},"external_bytes":{},"ir_version":{},"producer":{})",
      quoted(made.path), made.digest, made.file_bytes, made.external_bytes, made.ir_version,
      quoted(made.producer));
  const auto list = [&](const char* key, const auto& items, const auto& print) {
    out += fmt::format(",\"{}\":[", key);
    bool first = true;
    for (const auto& item : items) {
      out += first ? "" : ",";
      first = false;
      print(item);
    }
    out += "]";
  };
  list("opsets", made.opsets, [&](const auto& item) {
    out += fmt::format(R"({{"domain":{},"version":{}}})", quoted(item.first), item.second);
  });
  const auto port = [&](const auto& item) {
    out += fmt::format(R"({{"name":{},"type":{}}})", quoted(item.first), quoted(item.second));
  };
  list("inputs", made.inputs, port);
  list("outputs", made.outputs, port);
  out += fmt::format(R"(,"nodes":{},"subgraphs":{})", made.nodes, made.subgraphs);
  list("operators", made.operators, [&](const OperatorUse& use) {
    out += fmt::format(R"({{"domain":{},"op":{},"nodes":{},"flops":{},"int8":"{}"}})",
                       quoted(use.domain), quoted(use.op), use.nodes, use.flops, use.int8);
  });
  out += fmt::format(R"(,"parameters":{},"parameter_bytes":{})", made.parameters,
                     made.parameter_bytes);
  list("parameter_types", made.parameter_types, [&](const auto& item) {
    out += fmt::format(R"({{"type":{},"elements":{}}})", quoted(item.first), item.second);
  });
  out += fmt::format(
      R"(,"runs":{},"run_error":{},"runtime":{},"flops":{},"peak_activation_bytes":{},"cpu":{},"fast_int8":{})",
      made.runs && made.run_error.empty(), quoted(made.run_error), quoted(made.runtime), made.flops,
      made.peak_activation_bytes, quoted(made.cpu), made.fast_int8);
  list("problems", made.problems, [&](const Problem& problem) {
    out += fmt::format(R"({{"kind":"{}","text":{}}})", problem.kind, quoted(problem.text));
  });
  return out + "}\n";
}

Result<std::string> graph_dot(const std::string& path) {
  const OnnxModel model = HW_TRY(load_sorted(path));
  const onnx::GraphProto& graph = model.proto.graph();
  const GraphIndex index(graph);
  std::string out = "digraph model {\n  node [shape=box, fontname=sans];\n";
  for (const auto& input : graph.input()) {
    if (index.initializer(input.name()) == nullptr) {
      out += fmt::format("  {} [shape=oval];\n", quoted("in:" + input.name()));
    }
  }
  for (int i = 0; i < graph.node_size(); ++i) {
    const auto& node = graph.node(i);
    out += fmt::format("  n{} [label={}];\n", i,
                       quoted(node.op_type() + (node.name().empty() ? "" : "\n" + node.name())));
    for (const auto& name : node.input()) {
      if (const int from = index.producer(name); from >= 0) {
        out += fmt::format("  n{} -> n{} [label={}];\n", from, i, quoted(name));
      } else if (index.is_input(name) && index.initializer(name) == nullptr) {
        out += fmt::format("  {} -> n{};\n", quoted("in:" + name), i);
      }
    }
  }
  for (const auto& output : graph.output()) {
    out += fmt::format("  {} [shape=oval];\n", quoted("out:" + output.name()));
    if (const int from = index.producer(output.name()); from >= 0) {
      out += fmt::format("  n{} -> {};\n", from, quoted("out:" + output.name()));
    }
  }
  return out + "}\n";
}

Result<std::string> graph_svg(const std::string& path) {
  constexpr int kWide = 150;
  constexpr int kHigh = 34;
  constexpr int kStepX = 170;
  constexpr int kStepY = 62;
  const OnnxModel model = HW_TRY(load_sorted(path));
  const onnx::GraphProto& graph = model.proto.graph();
  const GraphIndex index(graph);
  int depth = 0;
  int width = 0;
  const std::vector<Box> boxes = layers_of(graph, index, depth, width);
  std::string lines;
  std::string rects;
  for (int i = 0; i < graph.node_size(); ++i) {
    const auto& node = graph.node(i);
    const Box& box = boxes[static_cast<std::size_t>(i)];
    const int x = 20 + box.column * kStepX;
    const int y = 20 + box.layer * kStepY;
    for (const auto& name : node.input()) {
      if (const int from = index.producer(name); from >= 0) {
        const Box& above = boxes[static_cast<std::size_t>(from)];
        lines += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n",
                             20 + above.column * kStepX + kWide / 2,
                             20 + above.layer * kStepY + kHigh, x + kWide / 2, y);
      }
    }
    const std::string kind = int8_on_cpu(node.domain(), node.op_type());
    const char* fill = kind == "compute" ? "#cfe8cf" : kind == "moves" ? "#e8eef7" : "#f3f3f3";
    rects += fmt::format(
        "<g><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\" "
        "fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\" "
        "class=\"name\">{}</text></g>\n",
        xml(describe(node)), x, y, kWide, kHigh, fill, x + kWide / 2, y + 15,
        xml(shortened(node.op_type(), 20)), x + kWide / 2, y + 28, xml(shortened(node.name(), 24)));
  }
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\">\n<style>text{{font:12px "
      "sans-serif;text-anchor:middle}}.name{{font-size:9px;fill:#555}}"
      "rect{{stroke:#888}}line{{stroke:#aaa}}</style>\n{2}{3}</svg>\n",
      40 + width * kStepX, 40 + depth * kStepY, lines, rects);
}

}  // namespace headwater::workbench
