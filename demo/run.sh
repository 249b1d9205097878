#!/usr/bin/env bash
# The main job on a real recording, with embedded defaults only: `make demo`, or this after `make build`.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/run.py" "$@"
