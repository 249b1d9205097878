#!/bin/sh
# Starts the edge, plays recording.csv at it as a device would, stops the edge. All it writes goes to ./run, which is made anew.
# HEADWATER names the program, PORT the port of the listener.
set -eu
cd "$(dirname "$0")"
headwater=${HEADWATER:-headwater}
command -v "$headwater" >/dev/null || { echo "run.sh: put headwater into PATH, or its path into HEADWATER" >&2; exit 66; }
address=127.0.0.1:${PORT:-1884}
rm -rf run
mkdir run

"$headwater" run edge.yaml --set edge.data_dir=run/data --set "sources.devices.address=$address" \
    --set admin.address=127.0.0.1:0 2>run/edge.log &
edge=$!
trap 'kill "$edge" 2>/dev/null || true' EXIT
until grep -qs msg=ready run/edge.log; do
    kill -0 "$edge" 2>/dev/null || { cat run/edge.log >&2; exit 75; }
    sleep 0.1
done

"$headwater" simulate recording.csv --to "mqtt://$address" --device machine-1 --rename value temperature --quiet
kill -TERM "$edge"    # finishes what was taken, then ends
wait "$edge"
