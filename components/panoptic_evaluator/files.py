"""Names of the files in an evaluation artifact. Imports nothing."""

METRICS_FILE = "metrics.json"
GATE_FILE = "gate.json"
REPORT_FILE = "report.html"
