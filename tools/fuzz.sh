#!/usr/bin/env bash
# Runs every fuzzer of a build folder for some seconds:  tools/fuzz.sh build/fuzz 60
# New inputs go to build/fuzz/corpus/NAME, crashes to build/fuzz/crashes; the committed corpus is read only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build="${1:?build folder}"
seconds="${2:-60}"
mkdir -p "$build/crashes"
found=0
while IFS= read -r -d '' program; do
  found=1
  name="$(basename "$program")"
  corpus=("$build/corpus/$name")
  mkdir -p "${corpus[0]}"
  [ -d "tests/fuzz/corpus/$name" ] && corpus+=("tests/fuzz/corpus/$name")
  printf '\n=== %s, %s s\n' "$name" "$seconds"
  "$program" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="$build/crashes/$name-" "${corpus[@]}" 2>&1 | tail -n 12
done < <(find "$build" -type f -name '*_fuzz' -executable -print0 | sort -z)
if [ "$found" -eq 0 ]; then
  echo "fuzz: no fuzzer in $build" >&2
  exit 1
fi
