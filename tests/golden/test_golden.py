"""An independent computation of the whole method: by `make.py` for a small network, and, where they are at hand, the published
formulas' own numbers (shared/golden/README.md)."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from robustsnn.attacks import KullbackLeibler, ascend
from robustsnn.checkpoint import import_published
from robustsnn.conversion import calibrate, spiking
from robustsnn.conversion.calibration import calibrating, received
from robustsnn.models import create
from robustsnn.spiking import Analog, Dynamics, Exponential, Rate, Rectangle, StraightThrough, Surrogate, Triangle
from robustsnn.threats import Linf

HERE = Path(__file__).resolve()
FOLDER = Path(os.environ.get("ROBUSTSNN_GOLDEN", HERE.parents[3] / "shared/golden"))
pytestmark = pytest.mark.usefixtures("unchecked")
NORMALISED = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}
SMALL = {"size": 8, "plan": [8, "A", 16, 16, "A", 32], "hidden": [16]}
BODIES = {
    "small": lambda: create("vgg", 10, conv_bias=True, **SMALL, **NORMALISED),
    "vggmini": lambda: create("vggmini", 10, conv_bias=True, **NORMALISED),
    "resnet20": lambda: create("resnet20", 10, **NORMALISED),
}

PATHS = {
    **{f"PCW.{width}": Surrogate(Triangle(width)) for width in (1.0, 2.0, 3.0, 0.5, 0.25)},
    **{f"EXP-D.{rate}": Surrogate(Exponential(0.3, rate)) for rate in (0.5, 1.0, 2.0)},
    **{f"EXP.{rate}": Surrogate(Exponential(1.0, rate)) for rate in (0.5, 1.0, 2.0)},
    **{f"RECT.{width}": Surrogate(Rectangle(width)) for width in (0.25, 0.5, 1.0, 2.0, 4.0)},
    "STE.1.0": Surrogate(StraightThrough()),
    "BPTR": Rate(),
    "ACT": Analog(),
}


@pytest.fixture(scope="module", params=BODIES)
def network(request):
    return request.param


@pytest.fixture(scope="module")
def golden(network):
    path = (HERE.parent if network == "small" else FOLDER) / f"{network}.npz"
    if not path.exists():
        pytest.skip(f"no golden numbers at {path}; ROBUSTSNN_GOLDEN names their folder")
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.fixture
def x(golden):
    return golden["x"].float() / 255


@pytest.fixture
def y(golden):
    return golden["y"]


def published(golden, kind):
    """The published state dict of ``kind``: ann or snn."""
    return {key.removeprefix(f"{kind}."): value for key, value in golden.items() if key.startswith(f"{kind}.")}


@pytest.fixture
def ann(network, golden):
    """The weights of the ANN; a network that shares them with the SNN has statistics of its own."""
    shared = {key: value for key, value in published(golden, "snn").items() if not key.endswith(".v_th")}
    return import_published(BODIES[network](), shared | published(golden, "ann")).eval()


@pytest.fixture
def snn(ann, x, golden):
    return import_published(spiking(ann, x, Dynamics(4)), published(golden, "snn")).eval()


def relative(ours, golden):
    """Image by image, ``|ours - golden| / |golden|``."""
    size = golden.flatten(1).norm(dim=1)  # where the golden gradient is zero, ours must be
    return (ours - golden).flatten(1).norm(dim=1) / size.clamp(min=1e-30)


def test_ann_logits(ann, x, golden):
    torch.testing.assert_close(ann(x), golden["ann_logits"], rtol=1e-4, atol=1e-5)


def test_calibrated_thresholds(network, ann, x, golden):
    batches, expected = list(golden["calib_x"].float().div(255).split(8)), golden["thresholds_T16_p99.7"].tolist()
    net = spiking(ann, x)
    if network != "resnet20":
        found = list(calibrate(net, batches, timesteps=16).values())
    else:
        found = with_the_published_slip(net, batches, expected)
    assert found == pytest.approx(expected, rel=1e-4)


def with_the_published_slip(net, batches, before):
    """The second threshold of a block is the maximum over both its neurons, on ten further batches.

    Each layer is calibrated behind the golden thresholds of those before: over 19 layers, single spikes that rounding flips
    would add up to a percent in the last ones.
    """
    names = list(net.thresholds)
    found = []
    for i, name in enumerate(names):
        first = name.removesuffix("act2") + "act1"
        seen, looked_at = (batches[11:21], {first, name}) if name.endswith("act2") else (batches[:11], {name})
        prefix = calibrating(net, 16).replace(dict(zip(names[:i], before, strict=False)))
        found.append(max(received(prefix, layer, images, 99.7) for images in seen for layer in looked_at))
    return found


def test_the_golden_network_has_the_calibrated_thresholds_at_scale(snn, golden):
    expected = 0.3 * golden["thresholds_T16_p99.7"]
    torch.testing.assert_close(torch.stack(list(snn.thresholds.values())).detach(), expected)


def test_step_logits(snn, x, golden):
    error = (snn.steps(x) - golden["snn_logits_t"]).abs().amax((0, 2))
    assert (error <= 1e-4).float().mean() >= 0.9


@pytest.mark.parametrize("name", PATHS)
def test_gradients(snn, x, y, golden, name):
    pixels = x.clone().requires_grad_()
    cross_entropy(PATHS[name](snn)(pixels), y).backward()
    error = relative(pixels.grad, golden[f"grad.{name}"])
    assert error.median() <= 1e-3
    assert error.quantile(0.9) <= 1e-2


def test_all_gradients_are_compared(golden):
    assert {key.removeprefix("grad.") for key in golden if key.startswith("grad.")} == set(PATHS)


def test_rfgsm_example(snn, x, y, golden):
    start = (x + golden["rfgsm_noise_sign"].float() / 255).clamp(0, 1)
    losses = KullbackLeibler().on(snn, x, y)
    adv = ascend(snn, x, losses, threat=Linf(2 / 255), start=start, step=1 / 255, steps=1)
    assert ((adv - golden["rfgsm_adv"]).abs() <= 1e-6).float().mean() >= 0.99


def test_the_inner_attack_of_robust_finetuning_is_that_example_for_random_noise(snn, x, y, golden):
    from robustsnn.training import RobustFinetuning

    attack = RobustFinetuning(eps=2 / 255, alpha=1 / 255, beta=2.0).attack()
    adv = attack(snn, x, y, Linf(2 / 255), rng=torch.Generator().manual_seed(0))
    ours, theirs = ((a - x).mul(255).round().int() for a in (adv, golden["rfgsm_adv"]))
    inside = (x > 2.5 / 255) & (x < 252.5 / 255)
    assert set(ours[inside].unique().tolist()) <= {-2, -1, 0, 1, 2}
    assert (ours[inside] != 0).float().mean() == pytest.approx((theirs[inside] != 0).float().mean().item(), abs=0.05)


def test_finetuning_loss_and_gradients_of_the_thresholds(snn, x, y, golden):
    from robustsnn.training.objectives import trades_loss

    snn.train()
    loss = trades_loss(snn(x), snn(golden["rfgsm_adv"]), y, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(golden["finetune_loss"].item(), abs=1e-3)
    for name, threshold in snn.thresholds.items():
        assert threshold.grad.item() == pytest.approx(golden[f"ftgrad.{name}.v_th"].item(), rel=1e-2), name
