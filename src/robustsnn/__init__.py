"""Adversarially robust spiking neural networks: train a robust ANN, convert it, finetune it, and measure its robustness."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # provided by `__getattr__`
    from robustsnn.allocator import keep_memory as keep_memory
    from robustsnn.certification import certify as certify
    from robustsnn.checkpoint import load as load
    from robustsnn.checkpoint import save as save
    from robustsnn.conversion import convert as convert
    from robustsnn.deploy import from_snntorch as from_snntorch
    from robustsnn.deploy import from_spikingjelly as from_spikingjelly
    from robustsnn.evaluation import attack as attack
    from robustsnn.evaluation import evaluate as evaluate
    from robustsnn.evaluation import firing_rates as firing_rates
    from robustsnn.evaluation import judged as judged
    from robustsnn.recipes import run as run
    from robustsnn.spiking import LIF as LIF
    from robustsnn.spiking import PLIF as PLIF
    from robustsnn.spiking import Analog as Analog
    from robustsnn.spiking import Constant as Constant
    from robustsnn.spiking import Dynamics as Dynamics
    from robustsnn.spiking import Exponential as Exponential
    from robustsnn.spiking import Frames as Frames
    from robustsnn.spiking import Rate as Rate
    from robustsnn.spiking import Rectangle as Rectangle
    from robustsnn.spiking import SpikingNetwork as SpikingNetwork
    from robustsnn.spiking import StraightThrough as StraightThrough
    from robustsnn.spiking import Surrogate as Surrogate
    from robustsnn.spiking import Triangle as Triangle
    from robustsnn.threats import L2 as L2
    from robustsnn.threats import Flips as Flips
    from robustsnn.threats import Linf as Linf
    from robustsnn.threats import Retiming as Retiming
    from robustsnn.training import train as train

__version__ = "0.1.0"

HOMES = {
    "allocator": ("keep_memory",),
    "certification": ("certify",),
    "checkpoint": ("load", "save"),
    "conversion": ("convert",),
    "deploy": ("from_snntorch", "from_spikingjelly"),
    "evaluation": ("attack", "evaluate", "firing_rates", "judged"),
    "recipes": ("run",),
    "spiking": (
        *("LIF", "PLIF", "Constant", "Frames", "Analog", "Dynamics", "Exponential", "Rate", "Rectangle", "SpikingNetwork"),
        *("StraightThrough", "Surrogate", "Triangle"),
    ),
    "threats": ("L2", "Flips", "Linf", "Retiming"),
    "training": ("train",),
}
__all__ = [name for names in HOMES.values() for name in names]


def __getattr__(name: str) -> Any:
    """Import the package's functions, classes and modules when they are first used (PEP 562)."""
    home = next((home for home, names in HOMES.items() if name in names), name)
    try:
        found = import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{home}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return found if home == name else getattr(found, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
