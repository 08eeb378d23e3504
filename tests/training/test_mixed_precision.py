"""Training in bfloat16: what computes in it, and what stays in float32."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from robustsnn import Dynamics, convert
from robustsnn.attacks import kl_divergence
from robustsnn.data import Samples
from robustsnn.training import NoisyFast, RobustFinetuning, Schedule, train


def data(seed, count=24):
    rng = torch.Generator().manual_seed(seed)
    return Samples(torch.rand(count, 1, 6, 6, generator=rng), torch.randint(3, (count,), generator=rng), 3)


def ann():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def snn():
    return convert(ann(), data(0), Dynamics(timesteps=2))


KINDS = [(ann, NoisyFast(eps=0.1)), (snn, RobustFinetuning(eps=0.1, alpha=0.05))]


def trained(make, objective, precision):
    net, seen = make(), set()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda module, _, y: seen.add((module.training, y.dtype)))
    history = train(net, data(0), data(1), objective, Schedule(2, 8, 0.1, precision=precision), probe=None)
    return net, history, seen


@pytest.mark.parametrize(("make", "objective"), KINDS)
def test_layers_of_weights_train_in_bfloat16_and_nothing_is_kept_in_it(make, objective):
    net, history, seen = trained(make, objective, "bfloat16")
    assert (True, torch.bfloat16) in seen
    assert (True, torch.float32) not in seen
    assert (False, torch.float32) in seen  # validation
    assert {x.dtype for x in net.state_dict().values() if x.is_floating_point()} == {torch.float32}
    assert all(torch.isfinite(torch.tensor(epoch.loss)) for epoch in history)


@pytest.mark.parametrize(("make", "objective"), KINDS)
def test_it_learns_what_float32_learns_up_to_rounding(make, objective):
    (half, half_history, _), (full, full_history, seen) = (trained(make, objective, p) for p in ("bfloat16", "float32"))
    assert {dtype for _, dtype in seen} == {torch.float32}
    for mine, other in zip(half_history, full_history, strict=True):
        assert mine.loss == pytest.approx(other.loss, rel=0.1)
        assert mine.loss != other.loss
    for mine, other in zip(half.parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=0.1, rtol=0.1)


class Strict(TorchDispatchMode):
    """Raises an error where a GPU does: convolutions and products of tensors of different types."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("convolution", "convolution_backward", "mm", "addmm", "bmm"):
            found = {x.dtype for x in args if isinstance(x, torch.Tensor)}
            assert len(found) == 1, f"{name} of {found}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("make", "objective"), KINDS)
def test_no_operation_mixes_types_which_a_gpu_cannot(make, objective):
    net = make()
    with Strict():
        train(net, data(0), data(1), objective, Schedule(1, 8, 0.1, average=0.9, precision="bfloat16"))


def test_neurons_keep_their_potentials_in_float32():
    net = snn()
    with torch.autocast("cpu", torch.bfloat16):
        spikes = next(m for m in net.modules() if hasattr(m, "threshold"))(torch.rand(4, 4, 4, 4).bfloat16())
    assert spikes.dtype == torch.float32
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}


def test_kl_divergence_of_bfloat16_logits_is_that_of_their_values():
    p, q = (torch.randn(5, 3, generator=torch.Generator().manual_seed(i)).bfloat16() for i in range(2))
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(p.float(), q.float()), atol=0, rtol=0)


def test_another_precision_is_refused(unchecked):
    with pytest.raises(ValueError, match="precision of Schedule must be one of"):
        Schedule(precision="float16")
