"""Augmentation of whole batches on their device, drawn from an explicit generator."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustsnn.ranges import Ranged, Whole


@dataclass(frozen=True)
class Augment(Ranged):
    """Augmentation of training images, applied in the order below; the default changes nothing.

    Arguments:
        resized_crop: random crop of 8 % to 100 % of the area, aspect ratio 3:4 to 4:3, resized to full size.
        pad: random crop after zero padding of this many pixels on every side.
        flip: mirror half of the images horizontally.
        cutout: side in pixels of one random square per image that is filled with ``fill`` (DeVries & Taylor 2017).
        fill: value per channel, usually the mean of the data.
    """

    pad: Whole = 0
    flip: bool = False
    cutout: Whole = 0
    fill: tuple[float, ...] = (0.0,)
    resized_crop: bool = False

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return augmented copies of ``x [N,C,H,W]``, drawn from ``rng``, a generator on the CPU. All frames of a sample in
        ``[N,T,C,H,W]`` are changed alike."""
        if x.dim() == 5:
            fill = self.fill * (x.shape[1] if len(self.fill) > 1 else 1)
            alike = replace(self, fill=fill)(x.flatten(1, 2), rng)
            return alike.reshape(x.shape)
        if self.resized_crop:
            x = _resized_crop(x, rng)
        if self.pad or self.flip:
            x = _crop_and_flip(x, self.pad, self.flip, rng)
        if self.cutout:
            x = _cutout(x, self.cutout, self.fill, rng)
        return x


def _crop_and_flip(x: Tensor, pad: int, flip: bool, rng: torch.Generator) -> Tensor:
    n, _, height, width = x.shape
    rows, columns = torch.arange(height).expand(n, -1), torch.arange(width).expand(n, -1)
    if flip:
        columns = torch.where(torch.rand(n, 1, generator=rng) < 0.5, columns.flip(1), columns)
    if pad:
        x = F.pad(x, [pad] * 4)
        rows = rows + torch.randint(2 * pad + 1, (n, 1), generator=rng)
        columns = columns + torch.randint(2 * pad + 1, (n, 1), generator=rng)
    rows, columns = rows.to(x.device), columns.to(x.device)
    images = torch.arange(n, device=x.device)[:, None, None]
    picked = x.movedim(1, -1)[images, rows[:, :, None], columns[:, None, :]]
    return picked.movedim(-1, 1).contiguous()


def _cutout(x: Tensor, side: int, fill: tuple[float, ...], rng: torch.Generator) -> Tensor:
    n, channels, height, width = x.shape
    inside = []
    for length in (height, width):
        first = torch.randint(length, (n, 1), generator=rng) - side // 2
        position = torch.arange(length)
        inside.append(((position >= first) & (position < first + side)).to(x.device))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    value = torch.tensor(fill, dtype=x.dtype, device=x.device).expand(channels)[:, None, None]
    return torch.where(hole, value, x)


def _resized_crop(x: Tensor, rng: torch.Generator) -> Tensor:
    n = len(x)
    area = torch.empty(n).uniform_(0.08, 1, generator=rng)
    ratio = torch.empty(n).uniform_(math.log(3 / 4), math.log(4 / 3), generator=rng).exp()
    wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # fractions of the sides
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide, high
    theta[:, 0, 2] = (1 - wide) * (2 * torch.rand(n, generator=rng) - 1)
    theta[:, 1, 2] = (1 - high) * (2 * torch.rand(n, generator=rng) - 1)
    grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
