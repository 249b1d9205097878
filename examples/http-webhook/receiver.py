#!/usr/bin/env python3
"""A webhook for trying the example out: prints each alarm once. WEBHOOK_TOKEN is what callers must show.

    ./receiver.py PORT
"""

import hmac
import http.server
import json
import os
import sys

TOKEN = "Bearer " + os.environ["WEBHOOK_TOKEN"]
known = set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if hmac.compare_digest(self.headers.get("Authorization", ""), TOKEN):
            alert = json.loads(body)
            # After a crash the edge may send the last ones again: the id and the event tell them.
            if (alert["id"], alert["event"]) not in known:
                known.add((alert["id"], alert["event"]))
                print(self.path, alert["event"], alert["rule"], alert["timestamp"], alert["raw_data"]["temperature"], flush=True)
            self.send_response(204)
        else:
            self.send_response(401)
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
print(f"webhook on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
