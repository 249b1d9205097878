#!/bin/sh
# Two edges share one broker's readings; one of them is killed on the way and comes back. All it writes goes to ./run,
# which is made anew. HEADWATER names the program, PORT the broker's port.
set -eu
cd "$(dirname "$0")"
headwater=${HEADWATER:-headwater}
PATH=$PATH:/usr/sbin
for program in "$headwater" mosquitto; do
    command -v "$program" >/dev/null || { echo "run.sh: needs $program; HEADWATER may hold the path of headwater" >&2; exit 66; }
done
port=${PORT:-1883}
url=mqtt://127.0.0.1:$port
rm -rf run
mkdir run
broker='' a='' b=''
trap 'kill $broker $a $b 2>/dev/null || true' EXIT

# ready PID LOG WORDS: waits until the log has the words.
ready() {
    until grep -qs "$3" "$2"; do
        kill -0 "$1" 2>/dev/null || { cat "$2" >&2; exit 75; }
        sleep 0.1
    done
}

# edge NAME: starts that edge, its process id in $started.
edge() {
    HEADWATER_EDGE_ID=edge-$1 HEADWATER_EDGE_DATA_DIR=run/data-$1 "$headwater" run edge.yaml \
        --set "sources.broker.url=$url" --set "sinks.upstream.url=$url" 2>"run/edge-$1.log" &
    started=$!
    ready "$started" "run/edge-$1.log" 'msg=connected source=broker'
}

# rows NAME: how many readings that edge has stored.
rows() { "$headwater" store cat "run/data-$1" | wc -l; }

{ echo "listener $port 127.0.0.1"; grep -v '^listener' mosquitto.conf; } >run/mosquitto.conf
mosquitto -c run/mosquitto.conf 2>run/mosquitto.log &
broker=$!
ready "$broker" run/mosquitto.log running
edge a; a=$started
edge b; b=$started

echo "4000 messages at 1000/s, each with an id of its own:"
"$headwater" simulate readings.jsonl --to "$url" --message-id id --repeat 100 --rate 1000 --quiet &
player=$!
sleep 1
kill -KILL "$b"
echo "edge-b is killed"
wait "$player"
sleep 1
echo "edge-a has stored $(rows a), edge-b $(rows b); the broker keeps the rest for edge-b"
edge b; b=$started
echo "edge-b is back"
tries=0
while [ $(($(rows a) + $(rows b))) -lt 4000 ] && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
echo "edge-a has stored $(rows a), edge-b $(rows b); different ids among them: $(
    for name in a b; do "$headwater" store cat run/data-$name; done | grep -o '"id":"[^"]*"' | sort -u | wc -l)"
kill -TERM "$a" "$b"
wait "$a" "$b"
