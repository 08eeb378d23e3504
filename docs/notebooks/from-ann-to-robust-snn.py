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
# # From an ANN to a robust spiking network
#
# The whole method on 8x8 digits, in well under a minute: train a robust ANN, convert it, finetune thresholds and weights,
# measure. Open this file in Jupyter with jupytext, or run it: it is plain Python. The numbers here show the steps, not what
# the method can do: training is far too short for that. `make demo` does the same job properly.

# %%
import matplotlib.pyplot as plt
import torch

from robustsnn import Dynamics, Linf, Surrogate, Triangle, convert, evaluate, train
from robustsnn.attacks import PGD
from robustsnn.data import digits
from robustsnn.evaluation import Audit
from robustsnn.models import create
from robustsnn.seeds import generator
from robustsnn.training import RobustFinetuning, Schedule, ThresholdFloor, Trades

data = digits()
images, validation, test = data.train.first(256), data.test.take(torch.arange(400, 450)), data.test.first(30)

# %% [markdown]
# ## 1. A robust ANN
# TRADES balances accuracy on images against agreement with predictions nearby.

# %%
ann = create("digits", 10, size=8, channels=1, mean=data.mean, std=data.std, width=0.25)
train(ann, images, validation, Trades(beta=6, eps=0.1, steps=3), Schedule(epochs=4, batch=32, lr=0.1), probe=None)
report = evaluate(ann, test, protocol="quick", eps=0.1, check=Audit(images=0))
print("ANN: clean", report.clean, "PGD-10", report.result("PGD-10", 0.1).robust)

# %% [markdown]
# ## 2. Conversion
# Every ReLU becomes a layer of neurons whose threshold is a percentile of what they receive, scaled down. The ANN is left as
# it is.

# %%
batches = [x for x, _, _ in images.batches(64)]
snn = convert(ann, batches, Dynamics(timesteps=4), calibration_timesteps=20)
print(snn.conversion_report)
print({name: round(float(threshold), 3) for name, threshold in snn.thresholds.items()})

# %% [markdown]
# ## 3. Finetuning
# Thresholds and weights together, on adversarial images. A floor keeps thresholds away from zero.

# %%
train(
    snn,
    images,
    validation,
    RobustFinetuning(eps=0.1, alpha=0.05),
    Schedule(epochs=2, batch=32, lr=0.01),
    after_step=[ThresholdFloor(0.03)],
    probe=None,
)

# %% [markdown]
# ## 4. What it withstands
# One gradient is not enough: spikes hide it. An image counts as robust only if it survives all of them. (The audit, left out
# here to be quick, has a place in the other notebook.)

# %%
report = evaluate(snn, test, protocol="quick", eps=0.1, check=Audit(images=0))
result = report.result("PGD-10", 0.1)
print("SNN: clean", report.clean, "PGD-10", result.robust)
for name, broken in zip(result.members, result.broken, strict=True):
    print(f"{broken} images broken first along {name}")

# %%
x, y = test.batch(torch.arange(6))
adversarial = PGD(steps=10)(Surrogate(Triangle(1.0))(snn), x, y, Linf(0.1), rng=generator(0, "notebook"))
figure, rows = plt.subplots(2, 6, figsize=(8, 3))
for row, pixels in zip(rows, (x, adversarial), strict=True):
    for axis, image, label in zip(row, pixels, snn(pixels).argmax(1), strict=True):
        axis.imshow(image[0], cmap="gray", vmin=0, vmax=1)
        axis.set(title=int(label), xticks=[], yticks=[])

# %% [markdown]
# ## 5. Time
# Logits of every step come out of the same pass, so accuracy against T costs nothing.

# %%
with torch.no_grad():
    pixels, labels = data.test.batch(torch.arange(200))
    steps = snn.steps(pixels)
so_far = steps.cumsum(0) / torch.arange(1, len(steps) + 1).view(-1, 1, 1)
print("accuracy after 1, 2, ... steps:", [round(float((s.argmax(1) == labels).float().mean()), 3) for s in so_far])
