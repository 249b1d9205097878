#!/bin/sh
# The long run of the crash tests: HW_PROGRAM, MINUTES (60) of torture and DIR (a folder on the disk to test). HW_PROGRAM's build
# folder holds the tools of the tests. Kills, a soak of half the time, the order of syncs, cuts of a file system, an outage side
# by side, torture. The last output is torture's JSON object; exit 0 only when nothing was found. The seed is the day, so that
# each night is another one and can be run again.
set -eu
program=${HW_PROGRAM:-build/release/headwater}
seed=${SEED:-$(date +%Y%m%d)0000}
dir=${DIR:-$(mktemp -d)}
here=$(dirname "$0")
export HW_PROGRAM="$program"
tools=$(dirname "$program")/tests/crash
KILLS=${KILLS:-200} SEED=$seed python3 "$here/test_kill.py"
SOAK_SECONDS=${SOAK_SECONDS:-$((${MINUTES:-60} * 30))} python3 "$here/soak.py"
if [ -x "$tools/logged_disk" ]; then
  export HW_SYSCALL_LOG="$tools/syscall_log" HW_LOGGED_DISK="$tools/logged_disk"
  ROWS=${ROWS:-20000} python3 "$here/test_sync_order.py"
  CUTS=${CUTS:-100} SEED=$seed python3 "$here/test_disk_cut.py"
else
  echo "skipped: order of syncs and cuts of a file system; a build with tests has their tools" >&2
fi
python3 "$here/outage.py"
exec "$program" torture --minutes "${MINUTES:-60}" --seed "$seed" --dir "$dir" --json
