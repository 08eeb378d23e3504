"""Evaluation: protocols and their members, measures such as the worst case and its audit, and reports."""

from robustsnn.evaluation.attacking import Judged, attack, judged
from robustsnn.evaluation.ensemble import worst_case
from robustsnn.evaluation.evaluated import Evaluated
from robustsnn.evaluation.intervals import Interval, percent, wilson
from robustsnn.evaluation.measure import Curves, Dots, Measure, Section
from robustsnn.evaluation.measures import MEASURES
from robustsnn.evaluation.measures.energy import PRESETS, Joules, Operations, operations
from robustsnn.evaluation.measures.examples import Example
from robustsnn.evaluation.measures.latency import correct_over_time
from robustsnn.evaluation.measures.layers import firing_rates
from robustsnn.evaluation.measuring import evaluate
from robustsnn.evaluation.member import PUBLISHED_PATHS, STRONGER_PATHS, Group, Member, Sources, Strongest, Transfer, members
from robustsnn.evaluation.meter import Expense
from robustsnn.evaluation.paired import Paired
from robustsnn.evaluation.protocols import PROTOCOLS, Audit, Protocol, protocol
from robustsnn.evaluation.report import Report, Row
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Check, Result
from robustsnn.evaluation.sponging import LaterDecision, MoreSpikes, Sponged, sponge
from robustsnn.settings import Settings

__all__ = [
    "MEASURES",
    "MISCLASSIFIED",
    "PRESETS",
    "PROTOCOLS",
    "PUBLISHED_PATHS",
    "ROBUST",
    "STRONGER_PATHS",
    "Audit",
    "Check",
    "Curves",
    "Dots",
    "Evaluated",
    "Example",
    "Expense",
    "Group",
    "Interval",
    "Joules",
    "Judged",
    "LaterDecision",
    "Measure",
    "Member",
    "MoreSpikes",
    "Operations",
    "Paired",
    "Protocol",
    "Report",
    "Result",
    "Row",
    "Section",
    "Settings",
    "Sources",
    "Sponged",
    "Strongest",
    "Transfer",
    "attack",
    "correct_over_time",
    "evaluate",
    "firing_rates",
    "judged",
    "members",
    "operations",
    "percent",
    "protocol",
    "sponge",
    "wilson",
    "worst_case",
]
