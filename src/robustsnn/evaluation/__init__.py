"""Evaluation: members, protocols, the worst case, the audit, and the report of what was measured."""

from robustsnn.evaluation.energy import PRESETS, Joules, Operations, operations
from robustsnn.evaluation.ensemble import worst_case
from robustsnn.evaluation.evaluate import evaluate
from robustsnn.evaluation.figures import firing_rates
from robustsnn.evaluation.intervals import Interval, wilson
from robustsnn.evaluation.latency import correct_over_time
from robustsnn.evaluation.members import (
    PUBLISHED_PATHS,
    STRONGER_PATHS,
    Group,
    Member,
    Sources,
    Strongest,
    Transfer,
    members,
)
from robustsnn.evaluation.paired import Paired
from robustsnn.evaluation.protocols import PROTOCOLS, Audit, Protocol, protocol
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Check, Example, Report, Result

__all__ = [
    "MISCLASSIFIED",
    "PRESETS",
    "PROTOCOLS",
    "PUBLISHED_PATHS",
    "ROBUST",
    "STRONGER_PATHS",
    "Audit",
    "Check",
    "Example",
    "Group",
    "Interval",
    "Joules",
    "Member",
    "Operations",
    "Paired",
    "Protocol",
    "Report",
    "Result",
    "Sources",
    "Strongest",
    "Transfer",
    "correct_over_time",
    "evaluate",
    "firing_rates",
    "members",
    "operations",
    "protocol",
    "wilson",
    "worst_case",
]
