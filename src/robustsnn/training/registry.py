"""Objectives as recipes write them: ``Regularized(Trades(beta=6), SparseGradients(), 0.01)``."""

from robustsnn.names import build, named
from robustsnn.spiking import PATHS, SURROGATES
from robustsnn.threats import THREATS
from robustsnn.training.along import Along
from robustsnn.training.certified import FlippedEvents, GaussianNoise, ProvenMargin, SmoothAdv
from robustsnn.training.distill import ARD, Distilled
from robustsnn.training.fast import FastAdversarial, NoisyFast
from robustsnn.training.hire import Hire
from robustsnn.training.objectives import Adversarial, Mart, Natural, RobustFinetuning, Trades, WeightPerturbed
from robustsnn.training.regularizers import REGULARIZERS, Regularized
from robustsnn.training.steady import Steady
from robustsnn.types import Objective

OBJECTIVES: dict[str, type[Objective]] = named(
    *(Natural, Adversarial, FastAdversarial, NoisyFast, Trades, Mart, WeightPerturbed, Along, RobustFinetuning, Hire),
    *(Steady, Distilled, ARD, Regularized, FlippedEvents, GaussianNoise, SmoothAdv, ProvenMargin),
)


def objective(text: str) -> Objective:
    """Build an objective from its text.

    Raises:
        ValueError: the text cannot be parsed, or is only a regulariser, a threat or a gradient path.

    >>> objective("Trades(beta=6, threat=L2(0.5))").eps
    0.5
    >>> objective("WeightPerturbed(Trades(beta=6), gamma=0.01)").gamma
    0.01
    """
    value = build("objective", {**OBJECTIVES, **REGULARIZERS, **PATHS, **SURROGATES, **THREATS}, text)
    if type(value).__name__ in {**PATHS, **SURROGATES}:
        raise ValueError(f"{text} is a gradient path, not an objective: write Along(RobustFinetuning(), [{text}])")
    if type(value).__name__ not in OBJECTIVES:
        way = f"Trades(threat={text})" if type(value).__name__ in THREATS else f"Regularized(Natural(), {text}, 0.1)"
        raise ValueError(f"{text} is not an objective but a part of one: write {way} or use it with another objective")
    return value  # type: ignore[no-any-return]
