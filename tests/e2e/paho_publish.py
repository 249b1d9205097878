"""Publishes numbered readings with Paho for Python: paho_publish.py '{"port": 1884, "version": 5, "qos": 1, "client": "a", …}'

The same options as node/publish.mjs. Run it with the interpreter that has the package (Debian's: /usr/bin/python3).
"""

import json
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

options = json.loads(sys.argv[1])
done = set()
connected = []
arguments = {"client_id": options["client"], "protocol": mqtt.MQTTv5 if options["version"] == 5 else mqtt.MQTTv311}
if options["version"] == 4:
    arguments["clean_session"] = not options.get("keep")
if hasattr(mqtt, "CallbackAPIVersion"):          # 2.0 and later
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, **arguments)
else:
    client = mqtt.Client(**arguments)
client.on_publish = lambda client, userdata, mid: done.add(mid)
client.on_connect = lambda *_: connected.append(True)
client.reconnect_delay_set(min_delay=1, max_delay=1)
client.max_inflight_messages_set(50)
client.max_queued_messages_set(0)
more = {}
if options["version"] == 5:
    more["clean_start"] = False if options.get("keep") else mqtt.MQTT_CLEAN_START_FIRST_ONLY
    if options.get("keep"):
        more["properties"] = Properties(PacketTypes.CONNECT)
        more["properties"].SessionExpiryInterval = 3600
client.connect("127.0.0.1", options["port"], keepalive=30, **more)
client.loop_start()
end = time.monotonic() + 60
while not connected and time.monotonic() < end:
    time.sleep(0.01)
for seq in range(options["count"]):
    client.publish(options["topic"], json.dumps({"seq": seq, "temperature": 60 + seq % 7}), qos=options["qos"])
    time.sleep(options.get("every_ms", 0) / 1000)
while len(done) < options["count"]:
    if time.monotonic() > end:
        sys.exit(f"only {len(done)} of {options['count']} were acknowledged")
    time.sleep(0.01)
client.disconnect()
client.loop_stop()
