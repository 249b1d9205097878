"""The peer in Node.js (../shared/peers/node_base.cjs) in a folder of its own, with its packages from npm."""

import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PEERS = ROOT.parent / "shared/peers"


def folder():
    """PEER_NODE names one that is there; else build/perf/node, made at first use. RuntimeError: it cannot be made."""
    if named := os.environ.get("PEER_NODE"):
        return pathlib.Path(named)
    made = ROOT / "build/perf/node"
    if not PEERS.exists():
        raise RuntimeError(f"no {PEERS}")
    made.mkdir(parents=True, exist_ok=True)
    for name in ("node_base.cjs", "package.json"):
        shutil.copyfile(PEERS / name, made / name)
    if not (made / "node_modules/onnxruntime-node").exists():
        done = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=made,
                              stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(f"npm install ended with {done.returncode} in {made}")
    return made
