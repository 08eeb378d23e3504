"""What conversion looks at: the first batches of what users hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from robustsnn.data import as_samples
from robustsnn.seeds import generator

BATCH = 64
"""How many samples make a batch, where the data come without batches."""


def first_batches(data: Any, limit: int, net: nn.Module) -> list[Tensor]:
    """Inputs of the first ``limit`` batches, on the device of ``net``.

    Arguments:
        data: batches, as a list, an iterator or a ``DataLoader`` gives them: tensors ``[N, ...]`` or tuples that begin with
            those. Or samples as `as_samples` takes them: batches of `BATCH` are then drawn from all of them, always the same.

    Raises:
        ValueError: no batches, or inputs that are no floats in ``[0, 1]``.
    """
    if isinstance(data, Tensor):
        raise ValueError(f"calibration takes batches of images, not one tensor {list(data.shape)}: put it into a list")
    if isinstance(data, list | Iterator | DataLoader):
        used = [_checked(batch[0] if isinstance(batch, list | tuple) and batch else batch) for batch in islice(data, limit)]
    else:
        samples = as_samples(data)
        used = [x for x, _, _ in islice(samples.batches(BATCH, generator(0, "calibration")), limit)]
    if not used:
        raise ValueError("calibration needs at least one batch of images")
    device = next((parameter.device for parameter in net.parameters()), used[0].device)
    return [x.to(device) for x in used]


def _checked(x: Any) -> Tensor:
    """A batch, if it is one."""
    if not isinstance(x, Tensor):
        raise ValueError(f"a batch for calibration must be a tensor of images, or begin with one, not {type(x).__name__}")
    if not len(x):
        raise ValueError("calibration needs at least one batch of images, and none that is empty")
    if not x.is_floating_point():
        raise ValueError(f"calibration images must be floats in [0, 1], not {x.dtype}: divide by 255")
    if not x.isfinite().all():
        raise ValueError("calibration images hold NaN or infinity: clean them first")
    if not 0 <= float(x.min()) <= float(x.max()) <= 1:
        raise ValueError(
            f"calibration images must be in [0, 1], but range over {float(x.min()):.4g} .. {float(x.max()):.4g}: "
            "divide by 255, and leave normalisation to the network"
        )
    return x
