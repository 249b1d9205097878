#!/usr/bin/env bash
# Runs every bench program of a build folder, then the pipeline's figures:  tools/bench.sh build/bench
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build="${1:?build folder}"
found=0
while IFS= read -r -d '' program; do
  found=1
  printf '\n=== %s\n' "$(basename "$program")"
  "$program" --benchmark_min_time="${BENCH_SECONDS:-0.2}"
done < <(find "$build" -type f -name '*_bench' -executable -print0 | sort -z)
if [ "$found" -eq 0 ]; then
  echo "bench: no bench program in $build" >&2
  exit 1
fi
# Whole-program figures (memory, start, readings a second): one folder each, with a run.sh or run.py.
for case in tests/perf/*/run.sh tests/perf/*/run.py; do
  if [ -f "$case" ]; then
    printf '\n=== %s\n' "$(basename "$(dirname "$case")")"
    HEADWATER="$PWD/$build/headwater" "$case"
  fi
done
