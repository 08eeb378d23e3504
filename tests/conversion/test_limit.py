"""Conversion is exact in the limit: with soft reset, start 1/2, scale 1 and percentile 100, a spiking network comes to its ANN
as time steps grow, whatever its body is."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustsnn import LIF, Dynamics, convert

IMAGES = torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))


class Drawn(nn.Module):
    """A body of blocks that a seed draws: plain, residual, joined or pooled, with biases and norms, then linear layers."""

    def __init__(self, seed):
        super().__init__()
        draw = random.Random(seed)
        self.layers, self.plan, width, size = nn.ModuleList(), [], 2, 8
        for _ in range(draw.randint(1, 4)):
            kind = draw.choice(["plain", "plain", "residual", "join", "pool"])
            if kind == "pool" and size > 2 and self.plan:
                self.plan.append(("pool", []))
                size //= 2
                continue
            out = width if kind == "residual" and self.plan else draw.randint(2, 4)
            grow = kind == "residual" and bool(self.plan)
            kind = "residual" if grow else "join" if kind == "join" else "plain"
            parts = [self._weights(draw, width, out)]
            if grow:
                parts.append(self._weights(draw, out, out))
            if kind == "join":
                parts.append(self._weights(draw, width, draw.randint(1, 3)))
                out += parts[-1][0].out_channels
            self.plan.append((kind, [self._add(part) for part in parts]))
            width = out
        hidden = draw.randint(3, 8)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(width * size * size, hidden, bias=draw.random() < 0.7), nn.ReLU(), nn.Linear(hidden, 4)
        )

    def _weights(self, draw, width, out):
        norm = draw.choice([[], [nn.BatchNorm2d(out)]])
        return nn.Sequential(nn.Conv2d(width, out, draw.choice([1, 3]), padding="same", bias=draw.random() < 0.7), *norm)

    def _add(self, part):
        self.layers.append(part)
        return len(self.layers) - 1

    def forward(self, x):
        for kind, parts in self.plan:
            if kind == "pool":
                x = F.avg_pool2d(x, 2)
            elif kind == "plain":
                x = F.relu(self.layers[parts[0]](x))
            elif kind == "join":
                x = torch.cat([F.relu(self.layers[part](x)) for part in parts], 1)
            else:
                x = F.relu(self.layers[parts[1]](F.relu(self.layers[parts[0]](x))) + x)
        return self.head(x)


def made(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Drawn(seed)
        for name, value in net.named_parameters():
            if name.endswith("bias"):
                nn.init.uniform_(value, -0.3, 0.3)
        net.train()
        for _ in range(30):
            net(IMAGES)
    return net.eval()


@pytest.mark.parametrize("seed", range(200))
def test_many_time_steps_are_the_ann(seed):
    ann = made(seed)
    settings = {"scale": 1.0, "percentile": 100.0, "batch_norm": "keep"}
    snn = convert(ann, [IMAGES], Dynamics(256, LIF(reset="subtract", start=0.5)), **settings).eval()
    with torch.no_grad():
        expected = ann(IMAGES)
        far, near = ((snn.replace(timesteps=t)(IMAGES) - expected).abs().max() / expected.abs().max() for t in (16, 256))
    assert near < 0.03, (float(far), float(near))
    assert near <= max(far, 1e-3)
