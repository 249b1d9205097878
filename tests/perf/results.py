"""The rows of a performance script: printed as they come, kept for its JSON object."""


class Results:
    def __init__(self):
        self.lines, self.detail = [], {}

    def add(self, row, what, value, bar=None, ok=None, unit="", note=""):
        self.lines.append({"row": row, "what": what, "value": value, "unit": unit, "bar": bar, "pass": ok, "note": note})
        verdict = {True: "pass", False: "MISSED", None: ""}[ok]
        shown = f"{value:,.3f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"
        print(f"{row:11} {what:56} {shown + ' ' + unit:>18}  {bar or '':14} {verdict:7} {note}", flush=True)

    def most(self, row, what, value, bar, unit="", note=""):
        self.add(row, what, value, f"<= {bar:g}", value <= bar, unit, note)

    def least(self, row, what, value, bar, unit="", note=""):
        self.add(row, what, value, f">= {bar:,g}" if bar < 1000 else f">= {bar:,}", value >= bar, unit, note)

    def skip(self, row, why):
        self.lines.append({"row": row, "skipped": why})
        print(f"{row:11} SKIPPED: {why}", flush=True)

    def failed(self, row, why):
        self.lines.append({"row": row, "failed": why, "pass": False})
        print(f"{row:11} FAILED: {why}", flush=True)
