"""How much of an ANN's robustness its spiking network keeps."""

from __future__ import annotations

from robustsnn.evaluation import Report
from robustsnn.reporting.report import RunReport
from robustsnn.reporting.tables import Table, columns


def retention(report: RunReport) -> Table:
    """Head and rows of the table of retention: of every spiking network whose ANN was measured in the same run, the worst case
    over the ANN's, threat by threat."""
    threats = list(dict.fromkeys(threat for _, threat in columns(report)))
    anns = {row.network.removesuffix(" ANN"): row.report for row in report.rows if row.network.endswith(" ANN")}
    head = ["network", *(f"ε={threat.spelled}" for threat in threats)]
    rows = []
    for row in report.rows:
        source, spiking, _ = row.network.partition(" SNN")
        if spiking and source in anns:
            rows.append([row.network, *(_kept(row.report, anns[source], threat.eps) for threat in threats)])
    return head, rows


def _kept(network: Report, source: Report, eps: float) -> str:
    kept, whole = network.worst(eps), source.worst(eps)
    if kept is None or whole is None or not whole.value:
        return "-"
    return f"{kept.value / whole.value:.2f} ({100 * kept.value:.1f} of {100 * whole.value:.1f})"
