"""What the demo says about its run: from /api/v1/status, `headwater store ls --json` and the files."""

import os


def settled(status, rows):
    """Whether every reading has come in, been decided and its alerts delivered."""
    sources, pipelines, sinks = status["sources"], status["pipelines"], status["sinks"]
    return (
        sum(s["received"] for s in sources) >= rows
        and all(s["in_flight"] == 0 for s in sources)
        and all(p["pending_rows"] == 0 and p["behind_rows"] == 0 for p in pipelines)
        and all(s.get("pending", 0) == 0 for s in sinks)
    )


def size(count):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def milliseconds(seconds):
    return f"{seconds * 1000:.2f} ms"


def on_disk(folder):
    """Bytes that the folder's files occupy, also where they are allocated but not yet used."""
    return sum(
        os.stat(os.path.join(path, name)).st_blocks * 512 for path, _, names in os.walk(folder) for name in names
    )


def lines(status, store, folder, peak, seconds):
    sources, pipeline, spool = status["sources"], status["pipelines"][0], status["store"]

    def total(outcome):
        return sum(s[outcome] for s in sources)

    raw = total("received_bytes")
    outcomes = ("duplicate", "filtered", "dead_letter", "stored", "refused", "in_flight")
    adds_up = total("received") == sum(total(o) for o in outcomes)
    stored = {name: lane["rows"] for name, lane in store["lanes"].items()}
    return [
        "What happened",
        f"  readings in      {total('received')} in {seconds:.1f} s, {size(raw)} of JSON",
        f"  filtered         {total('filtered')}; duplicate {total('duplicate')}, undecodable {total('dead_letter')}, "
        f"refused {total('refused')}",
        f"  stored           {total('stored')}; " + ("received = the sum of all outcomes" if adds_up
                                                     else "DOES NOT ADD UP with the outcomes above"),
        f"  read back        {stored.get('readings', 0)} readings and {stored.get('alerts', 0)} alert messages "
        "from the store after the edge had ended",
        f"  scored           {pipeline['scored']}; {pipeline['unscored']} had less than a day behind them or came late",
        f"  alerts           {pipeline['alerts']} raised, {pipeline['cleared']} cleared",
        f"  on disk          {size(store['bytes'])} of log for {size(raw)} of JSON ({store['bytes'] / max(1, raw):.1f} x: "
        f"{spool['commits']} commits, {total('stored') / max(1, spool['commits']):.1f} readings each); "
        f"{size(on_disk(folder))} set aside",
        f"  model calls      {pipeline['model_calls']}, {pipeline['rows_per_call']:.1f} rows per call",
        f"  arrival to decision   p50 {milliseconds(pipeline['latency_p50_s'])}, p99 {milliseconds(pipeline['latency_p99_s'])}",
        f"  commit                p50 {milliseconds(spool['commit_p50_s'])}, p99 {milliseconds(spool['commit_p99_s'])}",
        f"  memory at most   {size(peak)}; CPU {status['process']['cpu_s']:.1f} s",
    ]
