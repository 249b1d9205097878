#!/bin/sh
# Starts a webhook and the edge, posts readings in three formats, stops both. All it writes goes to ./run, which is made
# anew. HEADWATER names the program, PORT and WEBHOOK_PORT the two ports.
set -eu
cd "$(dirname "$0")"
headwater=${HEADWATER:-headwater}
for program in "$headwater" curl python3; do
    command -v "$program" >/dev/null || { echo "run.sh: needs $program; HEADWATER may hold the path of headwater" >&2; exit 66; }
done
address=127.0.0.1:${PORT:-8088}
webhook_port=${WEBHOOK_PORT:-8099}
# Tokens for this run only.
READINGS_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
WEBHOOK_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export READINGS_TOKEN WEBHOOK_TOKEN
rm -rf run
mkdir run
receiver='' edge=''
trap 'kill $receiver $edge 2>/dev/null || true' EXIT

# ready PID LOG WORDS: waits until the log has the words.
ready() {
    until grep -qs "$3" "$2"; do
        kill -0 "$1" 2>/dev/null || { cat "$2" >&2; exit 75; }
        sleep 0.1
    done
}

python3 receiver.py "$webhook_port" >run/alarms.txt 2>run/receiver.log &
receiver=$!
ready "$receiver" run/alarms.txt 'webhook on'
"$headwater" run edge.yaml --set edge.data_dir=run/data --set "sources.hook.address=$address" \
    --set "sinks.webhook.url=http://127.0.0.1:$webhook_port/alerts/\${device_id}" 2>run/edge.log &
edge=$!
ready "$edge" run/edge.log msg=ready

post() {
    curl -sS "http://$address/readings" -H "Authorization: Bearer $READINGS_TOKEN" -H "Content-Type: $2" --data-binary "@$1"
    echo "   $1"
}
post readings-1.json application/json
post readings-2.jsonl application/x-ndjson
post readings-3.csv text/csv
echo "once more, as after a lost answer:"
post readings-3.csv text/csv

kill -TERM "$edge"    # delivers what is left, then ends
wait "$edge"
cat run/alarms.txt
