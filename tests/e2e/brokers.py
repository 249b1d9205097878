"""A real mosquitto for tests: its port stays the same over restarts, and what it holds too."""

import pathlib
import shutil
import socket
import subprocess
import tempfile

from harness import wait_for

MOSQUITTO = shutil.which("mosquitto") or ("/usr/sbin/mosquitto" if pathlib.Path("/usr/sbin/mosquitto").exists() else None)


class Broker:
    def __init__(self, extra="", inflight=1000):
        """`extra` are lines of its config, such as those for TLS."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="headwater-broker-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        anonymous = "" if "allow_anonymous" in extra else "allow_anonymous true\n"
        (self.folder / "conf").write_text(
            f"listener {self.port} 127.0.0.1\n{anonymous}persistence true\npersistence_location {self.folder}/\n"
            f"max_inflight_messages {inflight}\nmax_queued_messages 100000\nset_tcp_nodelay true\nlog_dest none\n"
            f"user root\n{extra}\n")
        self.process = None
        self.start()

    @property
    def address(self):
        return "127.0.0.1", self.port

    def start(self):
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.folder / "conf")], stderr=subprocess.DEVNULL)

        def up():
            if self.process.poll() is not None:
                raise AssertionError(f"mosquitto ended with {self.process.returncode}")
            try:
                socket.create_connection(self.address, timeout=1).close()
                return True
            except OSError:
                return False

        wait_for("the broker listens", up)

    def stop(self):
        """It writes its persistence file before it ends."""
        self.process.terminate()
        self.process.wait()

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
