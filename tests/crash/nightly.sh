#!/bin/sh
# The long run of torture: HW_PROGRAM, MINUTES (60) and DIR (a folder on the disk to test). Prints one JSON object;
# exit 0 only when nothing was found. The seed is the day, so that each night is another one and can be run again.
set -eu
program=${HW_PROGRAM:-build/release/headwater}
seed=${SEED:-$(date +%Y%m%d)0000}
dir=${DIR:-$(mktemp -d)}
KILLS=${KILLS:-200} SEED=$seed HW_PROGRAM=$program python3 "$(dirname "$0")/test_kill.py"
exec "$program" torture --minutes "${MINUTES:-60}" --seed "$seed" --dir "$dir" --json
