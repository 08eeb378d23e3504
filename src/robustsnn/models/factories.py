"""Bodies from outside: any callable that makes an ``nn.Module``, named as ``package.module:factory``."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from robustsnn.names import nearest
from robustsnn.seeds import randomness


def outside(ann: str, seed: int = 0, **options: Any) -> nn.Module:
    """The network that ``package.module:factory`` makes of ``options``. This runs the code of that module.

    The network must map pixels ``[N,C,H,W]`` in ``[0, 1]`` to logits ``[N,K]``: its normalisation, if any, is inside it.

    Arguments:
        ann: where the factory is, in an importable module.
        seed: what its initial weights are drawn from; torch's global generators are left as they were.
        options: handed to the factory.

    Raises:
        ValueError: no such module or factory, one that fails, or one that makes something else.

    >>> outside("torch.nn:Linear", in_features=2, out_features=3)
    Linear(in_features=2, out_features=3, bias=True)
    """
    place, colon, name = ann.partition(":")
    if not (place and colon and name):
        raise ValueError(f"ann {ann!r} names no factory: write package.module:factory")
    try:
        module = importlib.import_module(place)
    except ImportError as error:
        raise ValueError(f"ann {ann!r}: {error}; install the package or put its folder on PYTHONPATH") from error
    except Exception as error:  # that module's own
        raise ValueError(f"ann {ann!r}: importing {place} fails: {type(error).__name__}: {error}") from error
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"ann {ann!r}: {place} has no factory {name!r}: {nearest(name, known)}")
    with randomness(seed, "initial weights"):
        try:
            net = factory(**options)
        except Exception as error:  # that factory's own
            given = options or "no arguments"
            raise ValueError(f"ann {ann!r} cannot be made with {given}: {type(error).__name__}: {error}") from error
    if not isinstance(net, nn.Module):
        raise ValueError(f"ann {ann!r} makes a {type(net).__name__}, not an nn.Module")
    return net
