"""The measures of an evaluation, one file per measure, and the table that lists them."""

from typing import Any

from robustsnn.evaluation.measure import Measure
from robustsnn.evaluation.measures.activity import ACTIVITY
from robustsnn.evaluation.measures.audit import AUDIT
from robustsnn.evaluation.measures.energy import ENERGY
from robustsnn.evaluation.measures.examples import EXAMPLES
from robustsnn.evaluation.measures.flips import FLIPS
from robustsnn.evaluation.measures.latency import LATENCY
from robustsnn.evaluation.measures.layers import LAYERS
from robustsnn.evaluation.measures.pilot import PILOT
from robustsnn.evaluation.measures.worst_case import WORST_CASE

__all__ = ["ACTIVITY", "AUDIT", "ENERGY", "EXAMPLES", "FLIPS", "LATENCY", "LAYERS", "MEASURES", "PILOT", "WORST_CASE"]

MEASURES: dict[str, Measure[Any]] = {
    each.name: each for each in (WORST_CASE, EXAMPLES, FLIPS, PILOT, AUDIT, LATENCY, LAYERS, ACTIVITY, ENERGY)
}
"""All measures by name, in report order. A measure may request the result of another one."""
