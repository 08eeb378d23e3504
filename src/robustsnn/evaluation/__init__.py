"""Evaluation: members, protocols, the worst case, and the report of what was measured."""

from robustsnn.evaluation.energy import firing_rates
from robustsnn.evaluation.evaluate import evaluate, worst_case
from robustsnn.evaluation.members import PUBLISHED_PATHS, Member, members
from robustsnn.evaluation.protocols import PROTOCOLS, Protocol
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Interval, Report, Result, wilson

__all__ = [
    "MISCLASSIFIED",
    "PROTOCOLS",
    "PUBLISHED_PATHS",
    "ROBUST",
    "Interval",
    "Member",
    "Protocol",
    "Report",
    "Result",
    "evaluate",
    "firing_rates",
    "members",
    "wilson",
    "worst_case",
]
