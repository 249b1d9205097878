#include "workbench/compare.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "workbench/onnx_file.h"

namespace headwater::workbench {
namespace {

double ratio_db(double signal, double noise) {
  if (noise == 0) {
    return kEqual;
  }
  // A silent reference: any error counts as an error as large as the signal.
  return signal == 0 ? 0 : 10 * std::log10(signal / noise);
}

bool same_ports(const Tensor& a, const Tensor& b) {
  return a.type == b.type && a.shape == b.shape;
}

std::size_t largest_at(std::span<const double> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

bool is_float(int type) {
  using T = onnx::TensorProto;
  return type == T::FLOAT || type == T::DOUBLE || type == T::FLOAT16 || type == T::BFLOAT16;
}

}  // namespace

Result<std::vector<double>> as_doubles(const Tensor& tensor) {
  onnx::TensorProto proto;
  proto.set_data_type(tensor.type);
  proto.mutable_dims()->Assign(tensor.shape.begin(), tensor.shape.end());
  proto.set_raw_data(tensor.bytes);
  return tensor_values<double>(OnnxModel{}, proto);
}

std::string snr_text(double snr) {
  return std::isinf(snr) && snr > 0 ? "equal" : fmt::format("{:.1f} dB", snr);
}

Comparer::Comparer(std::span<const Port> outputs) : sums_(outputs.size()) {
  for (const Port& port : outputs) {
    outputs_.push_back({.name = port.name, .text = port.text});
  }
}

Status Comparer::add(std::span<const Tensor> reference, std::span<const Tensor> other) {
  if (reference.size() != outputs_.size() || other.size() != outputs_.size()) {
    return Error::invalid("{} outputs against {}", reference.size(), other.size());
  }
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if (!same_ports(reference[i], other[i])) {
      return Error::invalid("output '{}' has another type or shape in the second model",
                            outputs_[i].name);
    }
  }
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    OutputError& out = outputs_[i];
    Sums one;
    if (reference[i].type == onnx::TensorProto::STRING) {
      for (std::size_t k = 0; k < reference[i].strings.size(); ++k) {
        const bool equal = reference[i].strings[k] == other[i].strings.at(k);
        out.different += equal ? 0 : 1;
        one.signal += 1;
        one.noise += equal ? 0 : 1;
      }
      out.elements += reference[i].strings.size();
    } else {
      const std::vector<double> a = HW_TRY(as_doubles(reference[i]));
      const std::vector<double> b = HW_TRY(as_doubles(other[i]));
      for (std::size_t k = 0; k < a.size(); ++k) {
        const bool equal = a[k] == b[k] || (std::isnan(a[k]) && std::isnan(b[k]));
        const double size = std::isfinite(a[k]) ? a[k] : 1;
        double error = equal ? 0 : b[k] - a[k];
        error = std::isfinite(error) ? error : std::max(std::abs(size), 1.0);
        out.different += equal ? 0 : 1;
        out.largest = std::max(out.largest, std::abs(error));
        one.signal += size * size;
        one.noise += error * error;
        one.absolute += std::abs(error);
      }
      out.elements += a.size();
      const auto classes =
          reference[i].shape.empty() ? 0 : static_cast<std::size_t>(reference[i].shape.back());
      if (is_float(reference[i].type) && classes > 1) {
        for (std::size_t k = 0; k + classes <= a.size(); k += classes) {
          out.rows += 1;
          out.agree += largest_at(std::span(a).subspan(k, classes)) ==
                               largest_at(std::span(b).subspan(k, classes))
                           ? 1
                           : 0;
        }
      }
    }
    sums_[i].signal += one.signal;
    sums_[i].noise += one.noise;
    sums_[i].absolute += one.absolute;
    out.by_sample.push_back(ratio_db(one.signal, one.noise));
    if (out.by_sample.back() < out.worst_snr) {
      out.worst_snr = out.by_sample.back();
      out.worst_sample = samples_;
    }
  }
  ++samples_;
  return {};
}

Comparison Comparer::result() const {
  Comparison result{.outputs = outputs_, .samples = samples_};
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    OutputError& out = result.outputs[i];
    out.snr = ratio_db(sums_[i].signal, sums_[i].noise);
    out.mean = out.elements == 0 ? 0 : sums_[i].absolute / static_cast<double>(out.elements);
    result.snr = std::min(result.snr, out.snr);
    result.worst_snr = std::min(result.worst_snr, out.worst_snr);
  }
  return result;
}

Result<Comparison> compare(Session& reference, Session& other, const Feeds& feeds,
                           const Progress& progress) {
  const auto ports = reference.outputs();
  if (ports.size() != other.outputs().size()) {
    return Error::invalid("the first model has {} outputs, the second {}", ports.size(),
                          other.outputs().size());
  }
  std::vector<std::size_t> order;  // which output of `other` belongs to each of the reference's
  for (std::size_t i = 0; i < ports.size(); ++i) {
    std::size_t at = i;
    for (std::size_t k = 0; k < other.outputs().size(); ++k) {
      if (other.outputs()[k].name == ports[i].name) {
        at = k;
      }
    }
    order.push_back(at);
  }
  Comparer comparer(ports);
  for (std::size_t i = 0; i < feeds.size(); ++i) {
    report(progress, "compare", i, feeds.size());
    const Feed feed = HW_TRY(feeds.read(i));
    const std::vector<Tensor> a = HW_TRY(reference.run(feed).with("first model, input {}", i));
    const std::vector<Tensor> b = HW_TRY(other.run(feed, order).with("second model, input {}", i));
    HW_TRY(comparer.add(a, b).with("input {}", i));
  }
  report(progress, "compare", feeds.size(), feeds.size());
  return comparer.result();
}

}  // namespace headwater::workbench
