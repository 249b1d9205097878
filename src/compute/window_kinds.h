// Makers of the kinds of windows, for Window::create(): the options are valid. Internal to compute.
#pragma once

#include <memory>

#include "compute/window.h"

namespace headwater {

std::unique_ptr<Window> make_sliding_window(WindowOptions options);
std::unique_ptr<Window> make_tumbling_window(WindowOptions options);

}  // namespace headwater
