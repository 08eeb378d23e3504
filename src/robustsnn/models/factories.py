"""Bodies from other packages: any callable that returns an ``nn.Module``, written as ``package.module:factory``."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from robustsnn.names import nearest
from robustsnn.seeds import randomness


def outside(ann: str, seed: int = 0, **options: Any) -> nn.Module:
    """Create a network by the factory ``package.module:factory``. This runs the code of that module.

    The network must map pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits ``[N,K]``; any normalisation must be part of it.

    Arguments:
        ann: path of the factory in an importable module.
        seed: of the initial weights; torch's global generators are restored afterwards.
        options: arguments of the factory.

    Raises:
        ValueError: the module or factory does not exist, fails, or returns something other than an ``nn.Module``.

    >>> outside("torch.nn:Linear", in_features=2, out_features=3)
    Linear(in_features=2, out_features=3, bias=True)
    """
    place, colon, name = ann.partition(":")
    if not (place and colon and name):
        raise ValueError(f"ann {ann!r} does not name a factory: write package.module:factory")
    try:
        module = importlib.import_module(place)
    except ImportError as error:
        remedy = "install the package or put its folder on PYTHONPATH"
        if place.endswith(".py"):
            remedy = f"write the module without .py, as in {place.removesuffix('.py').replace('/', '.')}:{name}"
        raise ValueError(f"ann {ann!r}: {error}; {remedy}") from error
    except Exception as error:  # any error of that module
        raise ValueError(f"ann {ann!r}: importing {place} fails: {type(error).__name__}: {error}") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"ann {ann!r}: {place} has no factory {name!r}: {nearest(name, known)}")
    with randomness(seed, "initial weights"):
        try:
            net = factory(**options)
        except Exception as error:  # any error of that factory
            given = options or "no arguments"
            raise ValueError(f"ann {ann!r} cannot be made with {given}: {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"ann {ann!r} returns a {type(net).__name__}: let it return an nn.Module")
    return net
