"""What every attack of this package checks and leaves behind when it is called."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import Tensor

from robustsnn.types import Attack


def entered(kind: type[Attack]) -> None:
    """Let attacks of a kind refuse samples and labels that are none, take labels of any integer type, and leave inference
    mode, in which every gradient is 0. Otherwise they follow the model as the caller runs it, autocast included."""
    own = kind.__call__

    @wraps(own)
    def call(self: Attack, model: Any, x: Tensor, y: Tensor, *args: Any, **options: Any) -> Tensor:
        if not x.is_floating_point():
            raise ValueError(f"attacks move floats in [0, 1], not {x.dtype}: give x.float() / 255 of bytes")
        if y.is_floating_point() or y.shape != x.shape[:1]:
            raise ValueError(f"labels must be integers [{len(x)}], one per sample, not {y.dtype} {list(y.shape)}")
        if not torch.is_inference_mode_enabled():
            return own(self, model, x, y.long(), *args, **options)
        with torch.inference_mode(False):
            return own(self, model, x.clone(), y.clone().long(), *args, **options)

    kind.__call__ = call  # type: ignore[method-assign]
