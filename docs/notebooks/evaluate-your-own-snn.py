# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Evaluate your own spiking network
#
# The network below is built and trained with snnTorch alone (`pip install snntorch`). Nothing of it changes in order to be
# measured: a wrapper makes a classifier of it, and gradient paths get in at its neurons' spike function. SpikingJelly works
# alike: `from_spikingjelly`.

# %%
import snntorch as snn
import torch
from torch import nn

from robustsnn import Rate, Surrogate, Triangle, evaluate
from robustsnn.data import digits
from robustsnn.deploy import from_snntorch
from robustsnn.evaluation import Audit

data = digits()

# %% [markdown]
# ## Your network

# %%
theirs = nn.Sequential(
    nn.Flatten(),
    nn.Linear(64, 32),
    snn.Leaky(beta=0.9, init_hidden=True),
    nn.Linear(32, 10),
    snn.Leaky(beta=0.9, init_hidden=True, output=True),
)
optimiser = torch.optim.Adam(theirs.parameters(), lr=5e-3)
for _ in range(4):
    for x, y, _ in data.train.batches(64):
        for module in theirs.modules():
            if isinstance(module, snn.Leaky):
                module.reset_mem()
        spikes = torch.stack([theirs(x)[0] for _ in range(4)])
        optimiser.zero_grad()
        nn.functional.cross_entropy(spikes.sum(0), y).backward()
        optimiser.step()

# %% [markdown]
# ## A classifier of it
# Four steps a call, and no state between calls.

# %%
net = from_snntorch(theirs, timesteps=4).eval()
x, y = data.test.batch(torch.arange(100))
with torch.no_grad():
    print("accuracy", float((net(x).argmax(1) == y).float().mean()))
print("steps", net.steps(x).shape, "neurons", list(net.neurons))

# %% [markdown]
# ## Why one gradient is not enough
# The share of images for which a path gives no gradient at all. Attacks along such a path do nothing, and robustness looks
# good.

# %%
for path in (Surrogate(Triangle(0.25)), Surrogate(Triangle(1.0)), Rate()):
    pixels = x.clone().requires_grad_()
    nn.functional.cross_entropy(path(net)(pixels), y).backward()
    print(f"{path!s:24} {float((pixels.grad == 0).flatten(1).all(1).float().mean()):.0%} without gradient")

# %% [markdown]
# ## The number, and whether it means anything
# `quick` is for looking around. For a claim, use `protocol="rigorous"`, all test images, and the audit as it is.

# %%
report = evaluate(net, data.test.first(15), protocol="quick", eps=0.05, check=Audit(images=2, steps=5, queries=10))
result = report.result("PGD-10", 0.05)
print("clean", report.clean)
print("PGD-10", result.robust, dict(zip(result.members, result.broken, strict=True)))
for check in report.audit:
    print(f"{check.name:12} {check.verdict:5} {check.figure:.3g}")
