// Joins a residual Add and the LayerNorm behind it into com.microsoft's SkipLayerNormalization.
//
// ONNX Runtime's own fusion needs the shapes of both summands and gives up where they hang on the
// call; its kernel for LayerNormalization alone takes three times as long (24 × 256, Zen 4: 35 µs
// against 12 µs). Shapes are taken from running the model instead, with one feed and with the same
// feed twice, so that a summand that is broadcast over the batch is told from one that is not.
#pragma once

#include "base/result.h"
#include "workbench/onnx_file.h"
#include "workbench/session.h"

namespace headwater::workbench {

// LayerNorm written out (ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add) or as one node
// of opset 17, over the last axis of float32 [batch, rows, columns]. Returns how many were joined.
Result<int> join_residual_norms(OnnxModel& model, const Feed& feed);

}  // namespace headwater::workbench
