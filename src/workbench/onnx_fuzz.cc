// Bytes → model → the workbench's readings and rewrites of it: no crash, bounded memory; what is
// written reads back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "workbench/graph.h"
#include "workbench/onnx_file.h"
#include "workbench/opset.h"

using namespace headwater;             // NOLINT: a fuzz entry point stands outside the namespace
using namespace headwater::workbench;  // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  auto model = parse_model({reinterpret_cast<const char*>(bytes), size}, "/nonexistent");
  if (!model) {
    return 0;
  }
  const bool sound = check_model(model->proto).ok();
  for (const auto& tensor : model->proto.graph().initializer()) {
    std::string scratch;
    if (!tensor_bytes(*model, tensor, scratch).ok() && sound && tensor.has_raw_data() &&
        type_width(tensor.data_type()) != 0 && !is_external(tensor)) {
      std::abort();  // check_model() promises bytes that fit
    }
  }
  if (sound) {
    OnnxModel lifted = *model;
    upgrade_opset(lifted);
  }
  prepare_names(model->proto);
  lift_constants(model->proto);
  drop_initializer_inputs(model->proto);
  if (sort_nodes(model->proto).ok()) {
    drop_unused(model->proto);
  }
  const GraphIndex index(model->proto.graph());
  const auto again = serialize(*model);
  if (!again.ok() ||
      (!parse_model(*again, "/nonexistent").ok() && model->proto.graph().output_size() > 0)) {
    std::abort();
  }
  return 0;
}
