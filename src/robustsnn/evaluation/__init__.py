"""Evaluation: members, protocols, measures such as the worst case and its audit, and the report of what was measured."""

from typing import TYPE_CHECKING

from robustsnn.lazy import attributes, declared

if TYPE_CHECKING:  # the one list of what the package gives, read by `declared`
    from robustsnn.evaluation.ensemble import worst_case as worst_case
    from robustsnn.evaluation.evaluated import Evaluated as Evaluated
    from robustsnn.evaluation.intervals import Interval as Interval
    from robustsnn.evaluation.intervals import percent as percent
    from robustsnn.evaluation.intervals import wilson as wilson
    from robustsnn.evaluation.measure import Curves as Curves
    from robustsnn.evaluation.measure import Dots as Dots
    from robustsnn.evaluation.measure import Measure as Measure
    from robustsnn.evaluation.measure import Section as Section
    from robustsnn.evaluation.measures import MEASURES as MEASURES
    from robustsnn.evaluation.measures.energy import PRESETS as PRESETS
    from robustsnn.evaluation.measures.energy import Joules as Joules
    from robustsnn.evaluation.measures.energy import Operations as Operations
    from robustsnn.evaluation.measures.energy import operations as operations
    from robustsnn.evaluation.measures.examples import Example as Example
    from robustsnn.evaluation.measures.latency import correct_over_time as correct_over_time
    from robustsnn.evaluation.measures.layers import firing_rates as firing_rates
    from robustsnn.evaluation.measuring import evaluate as evaluate
    from robustsnn.evaluation.member import PUBLISHED_PATHS as PUBLISHED_PATHS
    from robustsnn.evaluation.member import STRONGER_PATHS as STRONGER_PATHS
    from robustsnn.evaluation.member import Group as Group
    from robustsnn.evaluation.member import Member as Member
    from robustsnn.evaluation.member import Sources as Sources
    from robustsnn.evaluation.member import Strongest as Strongest
    from robustsnn.evaluation.member import Transfer as Transfer
    from robustsnn.evaluation.member import members as members
    from robustsnn.evaluation.paired import Paired as Paired
    from robustsnn.evaluation.protocols import PROTOCOLS as PROTOCOLS
    from robustsnn.evaluation.protocols import Audit as Audit
    from robustsnn.evaluation.protocols import Protocol as Protocol
    from robustsnn.evaluation.protocols import protocol as protocol
    from robustsnn.evaluation.report import Report as Report
    from robustsnn.evaluation.report import Row as Row
    from robustsnn.evaluation.results import MISCLASSIFIED as MISCLASSIFIED
    from robustsnn.evaluation.results import ROBUST as ROBUST
    from robustsnn.evaluation.results import Check as Check
    from robustsnn.evaluation.results import Result as Result
    from robustsnn.evaluation.settings import Settings as Settings

__getattr__ = attributes(__name__, declared(__name__, __file__))
