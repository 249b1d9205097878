#!/usr/bin/env bash
# Builds with clang and a sanitizer, then runs the unit tests:  tools/test_sanitized.sh asan|tsan
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:?asan or tsan}"
jobs="${JOBS:-$(nproc)}"

tools/setup.sh build test sanitize
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" -j"$jobs"

export UBSAN_OPTIONS=print_stacktrace=1
export ASAN_OPTIONS=detect_leaks=1:check_initialization_order=1:strict_string_checks=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
if [ -f tools/lsan.supp ]; then
  export LSAN_OPTIONS="suppressions=$PWD/tools/lsan.supp:print_suppressions=0"
fi
run=(ctest --output-on-failure -j"$jobs" --test-dir "build/$preset" -L unit)
# clang 14's shadow memory does not fit where the kernel randomises addresses by more than 28 bits.
if setarch "$(uname -m)" -R true 2>/dev/null; then
  run=(setarch "$(uname -m)" -R "${run[@]}")
fi
"${run[@]}"
