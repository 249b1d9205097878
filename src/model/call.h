// One model call of a Binding. For its .cc files.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "data/arena.h"
#include "model/plan.h"

namespace headwater::model {

// Fills the plan from its model and options, and warms the model up (resolve.cc).
Status resolve(Binding::Plan& plan);

// Runs the model on rows [first, first + count) of the input buffers; plan.out has the outputs
// then. With a fixed number of rows the rest is padded.
Status run_call(Binding::Plan& plan, std::size_t first, std::size_t count);

// Writes plan.out to the columns, for plan.call[first …]. Returns the rows with a value that is not
// finite.
std::size_t scatter_call(Binding::Plan& plan, std::size_t first, std::size_t count, Arena& arena);

// Values to elements `offset`… of a tensor of numbers, as its type.
void store_doubles(std::span<const double> values, Buffer& to, std::size_t offset);

}  // namespace headwater::model
