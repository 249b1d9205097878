// Subcommands of the program: one add_…() each, one file each.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace CLI {
class App;
}

namespace headwater {

// Set by the subcommand that was chosen; main() runs it. Returns the exit status.
using Action = std::function<int()>;

void add_run(CLI::App& app, Action& action);
void add_check(CLI::App& app, Action& action);
void add_simulate(CLI::App& app, Action& action);
void add_store(CLI::App& app, Action& action);
void add_expr(CLI::App& app, Action& action);
void add_reference(CLI::App& app, Action& action);
void add_top(CLI::App& app, Action& action);
void add_tap(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
// Without `whole` only its name and description: its flags would stay in the memory of every edge.
void add_model(CLI::App& app, Action& action, bool whole);
void add_torture(CLI::App& app, Action& action);

// "0.1.0"
std::string version();
// Prints "headwater: TEXT" to standard error; returns the exit status of the error's code.
int fail(const Error& error);
// Whether standard error is a terminal that takes colours (NO_COLOR is respected).
bool coloured();

}  // namespace headwater
