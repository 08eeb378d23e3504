"""Evaluation: members, protocols, the worst case, the audit, and the report of what was measured."""

from robustsnn.evaluation.audit import Audit
from robustsnn.evaluation.energy import firing_rates
from robustsnn.evaluation.evaluate import evaluate
from robustsnn.evaluation.members import (
    PATHS,
    PUBLISHED_PATHS,
    STRONGER_PATHS,
    Group,
    Member,
    Sources,
    Strongest,
    Transfer,
    members,
)
from robustsnn.evaluation.protocols import PROTOCOLS, Protocol, protocol
from robustsnn.evaluation.results import MISCLASSIFIED, ROBUST, Check, Interval, Report, Result, wilson
from robustsnn.evaluation.worst import worst_case

__all__ = [
    "MISCLASSIFIED",
    "PATHS",
    "PROTOCOLS",
    "PUBLISHED_PATHS",
    "ROBUST",
    "STRONGER_PATHS",
    "Audit",
    "Check",
    "Group",
    "Interval",
    "Member",
    "Protocol",
    "Report",
    "Result",
    "Sources",
    "Strongest",
    "Transfer",
    "evaluate",
    "firing_rates",
    "members",
    "protocol",
    "wilson",
    "worst_case",
]
