"""Makes `small.npz`: what docs/method.md claims, computed for a small network in plain torch and nothing of this package.

    python tests/golden/make.py

The network: conv 8, average pool, conv 16, conv 16, average pool, conv 32, linear 128-16, linear 16-10, of random weights,
on random images of 8x8 pixels. Every neuron is a loop over time steps differentiated by autograd, and time is folded into
the batch. Keys are those of the published layout, as in test_golden.py.
"""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

T, EPS, ALPHA, COUNT = 4, 2 / 255, 1 / 255, 12
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2023, 0.1994, 0.2010]).view(3, 1, 1)
CONVS = {"features.0": (3, 8), "features.4": (8, 16), "features.7": (16, 16), "features.11": (16, 32)}
NORMS = {"features.0": "features.1", "features.4": "features.5", "features.7": "features.8", "features.11": "features.12"}
NEURONS = {"features.0": "features.2", "features.4": "features.6", "features.7": "features.9", "features.11": "features.13"}
POOLED = ("features.0", "features.7")
SURROGATES = {
    **{f"PCW.{w}": lambda u, w=w: (w - u.abs()).clamp(min=0) / w**2 for w in (1.0, 2.0, 3.0, 0.5, 0.25)},
    **{f"EXP-D.{b}": lambda u, b=b: 0.3 * (-b * u.abs()).exp() for b in (0.5, 1.0, 2.0)},
    **{f"EXP.{b}": lambda u, b=b: (-b * u.abs()).exp() for b in (0.5, 1.0, 2.0)},
    **{f"RECT.{w}": lambda u, w=w: (u.abs() < w / 2).float() / w for w in (0.25, 0.5, 1.0, 2.0, 4.0)},
    "STE.1.0": torch.ones_like,
}


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, surrogate):
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return (u >= 0).float()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.surrogate(ctx.saved_tensors[0]), None


class WhereFired(torch.autograd.Function):
    """Spikes ``[T, N, ...]`` whose gradient passes where a neuron fired at least once."""

    @staticmethod
    def forward(ctx, current, spikes):
        ctx.save_for_backward(spikes.amax(0))
        return spikes.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


def lif(current, threshold, surrogate):
    """Integrate-and-fire with reset to zero, ``[T, N, ...]``."""
    v, spikes = torch.zeros_like(current[0]), []
    for step in current:
        v = v + step
        s = Spike.apply(v - threshold, surrogate)
        v = (1 - s) * v
        spikes.append(s)
    return torch.stack(spikes)


def run(weights, x, steps, activate, batch_statistics=False, seen=None):
    """Logits ``[steps, N, K]``; ``activate(name, current [steps*N, ...])`` gives spikes or ReLU; ``seen`` takes statistics."""
    x = ((x - MEAN) / STD).repeat(steps, 1, 1, 1)
    for conv, norm in NORMS.items():
        x = F.conv2d(x, weights[f"{conv}.weight"], weights[f"{conv}.bias"], padding=1)
        if seen is not None:
            seen.setdefault(norm, []).append((x.mean((0, 2, 3)), x.var((0, 2, 3))))
        running = (None, None) if batch_statistics else (weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"])
        x = F.batch_norm(x, *running, weights[f"{norm}.weight"], weights[f"{norm}.bias"], training=batch_statistics)
        x = activate(NEURONS[conv], x)
        if conv in POOLED:
            x = F.avg_pool2d(x, 2)
    x = F.linear(x.flatten(1), weights["classifier.1.weight"], weights["classifier.1.bias"])
    x = activate("classifier.2", x)
    return F.linear(x, weights["classifier.3.weight"], weights["classifier.3.bias"]).unflatten(0, (steps, -1))


def fire(thresholds, steps, surrogate=SURROGATES["PCW.1.0"]):
    return lambda name, x: lif(x.unflatten(0, (steps, -1)), thresholds[name], surrogate).flatten(0, 1)


def by_rate(thresholds):
    def activate(name, x):
        current = x.unflatten(0, (T, -1))
        return WhereFired.apply(current, lif(current.detach(), thresholds[name], torch.ones_like)).flatten(0, 1)

    return activate


def relu(name, x):
    return x.relu()


class Received(Exception):
    pass


def calibrated(weights, batches, steps=16, percentile=99.7):
    """Layer by layer the largest percentile of what neurons receive, layers before firing at scale 1."""
    found = {}
    for layer in [*NEURONS.values(), "classifier.2"]:
        largest = -float("inf")
        for x in islice(batches, 11):

            def activate(name, current, layer=layer):
                if name != layer:
                    return fire(found, steps)(name, current)
                raise Received(current.flatten())

            try:
                run(weights, x, steps, activate, batch_statistics=True)
            except Received as stop:
                values = stop.args[0].sort().values
                largest = max(largest, float(values[round(0.01 * percentile * (len(values) - 1))]))
        found[layer] = torch.tensor(largest)
    return found


def with_statistics(weights, batches, steps, activate):
    """Batch norms' statistics as their mean over the batches."""
    seen = {}
    for x in batches:
        run(weights, x, steps, activate, batch_statistics=True, seen=seen)
    found = dict(weights)
    for norm, moments in seen.items():
        found[f"{norm}.running_mean"], found[f"{norm}.running_var"] = (
            torch.stack(m).mean(0) for m in zip(*moments, strict=True)
        )
    return found


def divergence(z, other):
    """KL(z || other), summed over classes, averaged over images."""
    return (z.softmax(1) * (z.log_softmax(1) - other.log_softmax(1))).sum(1).mean()


def pictures(count, rng):
    """Smooth random images, uint8."""
    rough = torch.rand(count, 3, 4, 4, generator=rng)
    return (F.interpolate(rough, size=8, mode="bilinear") * 255).round().to(torch.uint8)


def main():
    rng = torch.Generator().manual_seed(0)
    weights = {}
    for conv, (ins, outs) in CONVS.items():
        weights[f"{conv}.weight"] = torch.randn(outs, ins, 3, 3, generator=rng) * (2 / (9 * outs)) ** 0.5
        weights[f"{conv}.bias"] = torch.randn(outs, generator=rng) / 20
        weights[f"{NORMS[conv]}.weight"] = 1 + torch.rand(outs, generator=rng) / 2
        weights[f"{NORMS[conv]}.bias"] = torch.randn(outs, generator=rng) / 10
    for layer, (ins, outs) in {"classifier.1": (128, 16), "classifier.3": (16, 10)}.items():
        weights[f"{layer}.weight"] = torch.randn(outs, ins, generator=rng) * 2 * ins**-0.5
        weights[f"{layer}.bias"] = torch.randn(outs, generator=rng) / 20
    calib, x8, y = pictures(88, rng), pictures(COUNT, rng), torch.randint(10, (COUNT,), generator=rng)
    sign = torch.randn(COUNT, 3, 8, 8, generator=rng).sign()
    batches, x = (calib.float() / 255).split(8), x8.float() / 255
    with torch.no_grad():
        ann = with_statistics(weights, batches, 1, relu)
        thresholds = calibrated(weights, batches)
        scaled = {name: 0.3 * value for name, value in thresholds.items()}
        snn = with_statistics(weights, batches, T, fire(scaled, T))
        made = {
            "ann_logits": run(ann, x, 1, relu)[0],
            "snn_logits_t": run(snn, x, T, fire(scaled, T)),
            "thresholds_T16_p99.7": torch.stack(list(thresholds.values())),
        }
    ways = {f"grad.{name}": (T, fire(scaled, T, surrogate)) for name, surrogate in SURROGATES.items()}
    for key, (steps, activate) in {**ways, "grad.BPTR": (T, by_rate(scaled)), "grad.ACT": (1, relu)}.items():
        pixels = x.clone().requires_grad_()
        F.cross_entropy(run(snn, pixels, steps, activate).mean(0), y).backward()
        made[key] = pixels.grad
    start = (x + ALPHA * sign).clamp(0, 1).requires_grad_()
    clean = run(snn, x, T, fire(scaled, T)).mean(0)
    divergence(clean.detach(), run(snn, start, T, fire(scaled, T)).mean(0)).backward()
    moved = start.detach() + (EPS - ALPHA) * start.grad.sign()
    adv = made["rfgsm_adv"] = torch.max(torch.min(moved, x + EPS), x - EPS).clamp(0, 1)
    learnt = {
        name: value.clone().requires_grad_()
        for name, value in {**weights, **{f"{n}.v_th": v for n, v in scaled.items()}}.items()
    }
    firing = fire({name: learnt[f"{name}.v_th"] for name in scaled}, T)
    z, attacked = (run(learnt, each, T, firing, batch_statistics=True).mean(0) for each in (x, adv))
    loss = F.cross_entropy(z, y) + 2 * divergence(z, attacked)
    loss.backward()
    own = {name for name in ann if name.endswith(("running_mean", "running_var"))}
    made |= {f"ann.{name}": ann[name] for name in own} | {f"snn.{name}": value for name, value in snn.items()}
    made |= {f"snn.{name}.v_th": value for name, value in scaled.items()}
    made |= {f"ftgrad.{name}": value.grad for name, value in learnt.items() if name.endswith("v_th")}
    made |= {"calib_x": calib, "x": x8, "y": y, "rfgsm_noise_sign": sign.to(torch.int8), "finetune_loss": loss.detach()}
    np.savez_compressed(Path(__file__).with_name("small.npz"), **{key: value.detach().numpy() for key, value in made.items()})


if __name__ == "__main__":
    main()
