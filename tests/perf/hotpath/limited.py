"""A group of cgroup v1 with a part of a CPU and bounded memory. Needs root and the controllers cpu and memory of version 1."""

import os
import pathlib

import subjects

ROOT = pathlib.Path("/sys/fs/cgroup")
PERIOD_US = 100_000


class Group:
    def __init__(self, name, cpus, bytes):
        self.folders = {controller: ROOT / controller / f"{name}-{os.getpid()}" for controller in ("cpu", "memory")}
        self.values = {"cpu": [("cpu.cfs_period_us", PERIOD_US), ("cpu.cfs_quota_us", round(PERIOD_US * cpus))],
                       "memory": [("memory.limit_in_bytes", bytes)]}

    def __enter__(self):
        for controller, folder in self.folders.items():
            if not (ROOT / controller / "tasks").exists():
                raise subjects.Skip(f"no cgroup v1 controller '{controller}' under {ROOT}")
        try:
            for controller, folder in self.folders.items():
                folder.mkdir()
                for file, value in self.values[controller]:
                    (folder / file).write_text(str(value))
        except OSError as why:
            self.__exit__()
            raise subjects.Skip(f"cannot make a cgroup: {why}") from why
        return self

    def __exit__(self, *_):
        for folder in self.folders.values():
            if folder.exists():
                folder.rmdir()

    def command(self):
        """What to put in front of a command so that it runs in the group from its start."""
        joins = "; ".join(f"echo $$ > {folder}/tasks" for folder in self.folders.values())
        return ["sh", "-c", f'{joins}; exec "$@"', "sh"]
