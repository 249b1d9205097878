#!/bin/sh
# The long run: kills, a soak of half the time, then torture. HW_PROGRAM, MINUTES (60) of torture and DIR (a folder on the disk to test). Prints one JSON object;
# exit 0 only when nothing was found. The seed is the day, so that each night is another one and can be run again.
set -eu
program=${HW_PROGRAM:-build/release/headwater}
seed=${SEED:-$(date +%Y%m%d)0000}
dir=${DIR:-$(mktemp -d)}
KILLS=${KILLS:-200} SEED=$seed HW_PROGRAM=$program python3 "$(dirname "$0")/test_kill.py"
SOAK_SECONDS=${SOAK_SECONDS:-$((${MINUTES:-60} * 30))} HW_PROGRAM=$program python3 "$(dirname "$0")/soak.py"
exec "$program" torture --minutes "${MINUTES:-60}" --seed "$seed" --dir "$dir" --json
