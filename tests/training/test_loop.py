"""The training loop: it learns, repeats itself bit by bit, continues where it stopped, and keeps the best epoch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import cos, inf, nan, pi

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from robustsnn.attacks import FGSM, PGD
from robustsnn.conversion import spiking
from robustsnn.data import Augment, digits, split
from robustsnn.files import read_tensors, write_tensors
from robustsnn.models import create
from robustsnn.seeds import generator
from robustsnn.spiking import Dynamics
from robustsnn.threats import Linf
from robustsnn.training import (
    Epoch,
    Natural,
    RobustFinetuning,
    Schedule,
    ThresholdFloor,
    Trades,
    best_epoch,
    read_history,
    train,
    validate,
)
from robustsnn.training.training_state import states

pytestmark = pytest.mark.usefixtures("unchecked")

SCHEDULE = Schedule(epochs=3, batch=32, lr=0.05)
ROBUST = RobustFinetuning(eps=0.1, alpha=0.05)
PROBE = FGSM()


@cache
def parts():
    """A few training and validation images."""
    images = digits().train
    return images.take(torch.arange(72)), images.take(torch.arange(100, 130))


def ann(**options):
    """A quarter of the body of the demo."""
    return create("digits", 10, size=8, channels=1, mean=(0.305,), std=(0.376,), width=0.25, **options)


def snn():
    """The same body with neurons that do fire."""
    return spiking(ann(), parts()[0].batch(torch.arange(4))[0], Dynamics(2), threshold=0.5)


def weights(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def trained(make=ann, objective=ROBUST, schedule=SCHEDULE, images=None, **options):
    """Weights after training a fresh network."""
    net, (usual, validation) = make(), parts()
    train(net, images or usual, validation, objective, schedule, **{"probe": PROBE, **options})
    return weights(net)


NETWORKS = pytest.mark.parametrize("make", [ann, lambda: ann(dropout=0.3), snn], ids=["ann", "dropout", "snn"])


class Stop(Exception):
    """What interrupts a training here."""


def stop_at(*place):
    def told(*where):
        if (where[0].epoch if isinstance(where[0], Epoch) else where) in (place, *place):
            raise Stop

    return told


@pytest.mark.parametrize("make", [ann, snn])
@pytest.mark.parametrize("objective", [Natural(), Trades(eps=0.05, steps=1)], ids=str)
def test_the_loss_goes_down(make, objective):
    history = train(make(), *parts(), objective, Schedule(epochs=6, batch=16, lr=0.05), probe=None)
    assert history[-1].loss < 0.9 * history[0].loss
    assert [e.epoch for e in history] == list(range(6))
    assert all(e.seconds > 0 and e.processor_seconds > 0 for e in history)


def test_a_text_spells_an_objective_and_a_loader_holds_the_samples():
    images, _ = parts()
    x, y = images.batch(torch.arange(len(images)))
    first = trained(objective=Trades(beta=2, eps=0.05, steps=1))
    loader = DataLoader(TensorDataset(x, y), batch_size=10, shuffle=True)
    unnamed = replace(images, ids=torch.arange(len(images)))
    assert same(trained(objective="Trades(beta=2, eps=0.05, steps=1)"), first)
    assert same(trained(images=loader), trained(images=unnamed))
    assert same(trained(images=(x, y)), trained(images=unnamed))


def test_without_others_a_tenth_validates():
    images, _ = parts()
    rest, held = split(images, 0.1, 0)
    nets = ann(), ann()
    train(nets[0], images, objective=ROBUST, schedule=SCHEDULE, probe=PROBE)
    train(nets[1], rest, held, ROBUST, SCHEDULE, probe=PROBE)
    assert same(*map(weights, nets))


@NETWORKS
def test_the_seed_decides_every_bit_and_the_global_generator_none(make):
    first = trained(make, augment=Augment(pad=1))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert same(trained(make, augment=Augment(pad=1)), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(trained(make, augment=Augment(pad=1), seed=1), first)


@NETWORKS
@pytest.mark.parametrize("where", [{"on_epoch": stop_at(0)}, {"on_epoch": stop_at(1)}, {"on_step": stop_at(1, 1)}])
def test_a_training_that_was_stopped_ends_as_if_it_never_was(make, where, tmp_path):
    state = tmp_path / "net.state"
    with pytest.raises(Stop):
        trained(make, state=state, **where)
    steps = []
    resumed = trained(make, state=state, on_step=lambda *step: steps.append(step))
    assert same(resumed, trained(make))
    assert 0 < len(steps) < 9
    assert {file.name for file in tmp_path.iterdir()} <= {"net.state", "net.state.1", "net.state.2"}


@NETWORKS
@pytest.mark.parametrize("place", [(0, 0), (1, 1), (2, 2)])
def test_a_training_that_was_stopped_within_an_epoch_continues_with_the_next_batch(make, place, tmp_path):
    options = {"state": tmp_path / "net.state", "keep_every": 0, "augment": Augment(pad=1)}
    with pytest.raises(Stop):
        trained(make, on_step=stop_at(*place), **options)
    steps = []
    resumed = trained(make, on_step=lambda *step: steps.append(step), **options)
    assert same(resumed, trained(make, augment=Augment(pad=1)))
    assert steps == [(epoch, step) for epoch in range(3) for step in range(3) if (epoch, step) > place]


@pytest.mark.parametrize("damaged", [1, 2])
def test_of_three_states_the_newest_that_is_whole_is_taken(damaged, tmp_path):
    state, said, steps = tmp_path / "net.state", [], []
    with pytest.raises(Stop):
        trained(state=state, keep_every=0, on_step=stop_at(2, 0))
    kept = states(state)
    assert [path.exists() for path in kept] == [True] * 3
    for path in kept[:damaged]:
        path.write_bytes(path.read_bytes()[:-10])
    resumed = trained(state=state, on_warning=said.append, on_step=lambda *step: steps.append(step))
    assert same(resumed, trained())
    assert len(said) == damaged
    assert all("continuing from the previous state" in line for line in said)
    assert steps[0] == (2, 0)


@pytest.mark.parametrize("change", [{"step": "9"}, {"total": "0x1p+0"}, {"history": "[]"}, {"spent": "[0, 0]"}])
def test_a_state_whose_texts_were_changed_is_not_whole(change, tmp_path):
    state, said = tmp_path / "net.state", []
    with pytest.raises(Stop):
        trained(state=state, keep_every=0, on_step=stop_at(2, 0))
    tensors, texts = read_tensors(state)
    assert texts.items().isdisjoint(change.items())
    write_tensors(state, tensors, texts | change)
    assert same(trained(state=state, on_warning=said.append), trained())
    assert [line for line in said if "is damaged" in line]


@pytest.mark.parametrize("wrong", [[{"epo_h": 1}], [1], 1, [{"epoch": 1}]])
def test_what_is_no_history_is_refused_in_a_line(wrong):
    with pytest.raises(ValueError, match="here does not contain a training history"):
        read_history(wrong, "here")


def test_a_state_that_cannot_be_written_leaves_those_before(tmp_path, monkeypatch):
    state = tmp_path / "net.state"

    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(Stop):
        trained(state=state, on_epoch=stop_at(0))
    for _ in range(4):
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(ValueError, match="No space left"):
                trained(state=state)
    steps = []
    assert same(trained(state=state, on_step=lambda *step: steps.append(step)), trained())
    assert steps[0] == (1, 0)


def test_history_goes_on_where_it_stopped(tmp_path):
    def figures(history):
        return [replace(epoch, seconds=0, processor_seconds=0) for epoch in history]

    options = {"probe": PROBE, "state": tmp_path / "net.state"}
    with pytest.raises(Stop):
        train(ann(), *parts(), ROBUST, SCHEDULE, on_epoch=stop_at(1), **options)
    resumed = train(ann(), *parts(), ROBUST, SCHEDULE, **options)
    assert figures(resumed) == figures(train(ann(), *parts(), ROBUST, SCHEDULE, probe=PROBE))


def test_a_training_that_had_ended_is_not_done_again(tmp_path):
    state = tmp_path / "net.state"
    first = trained(state=state)
    assert same(trained(state=state, on_step=stop_at(0, 0)), first)


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (ann, {"objective": Natural()}),
        (ann, {"schedule": replace(SCHEDULE, lr=0.01)}),
        (ann, {"seed": 1}),
        (ann, {"augment": Augment(pad=1)}),
        (ann, {"images": digits().train.take(torch.arange(1, 73))}),
        (ann, {"after_step": (ThresholdFloor(),)}),
        (ann, {"probe": PGD(2)}),
        (lambda: ann(conv_bias=True), {}),
        (lambda: ann(seed=1), {}),
        (snn, {}),
    ],
    ids=[
        "objective",
        "schedule",
        "seed",
        "augment",
        "images",
        "after_step",
        "probe",
        "architecture",
        "initial weights",
        "kind",
    ],
)
def test_the_state_of_another_training_is_refused(make, other, tmp_path):
    state = tmp_path / "net.state"
    with pytest.raises(Stop):
        trained(state=state, on_epoch=stop_at(0))
    with pytest.raises(ValueError, match=r"net\.state.*with other settings"):
        trained(make, state=state, **other)


def test_the_state_of_a_training_with_other_validation_images_is_refused(tmp_path):
    state, (images, validation) = tmp_path / "net.state", parts()
    with pytest.raises(Stop):
        trained(state=state, on_epoch=stop_at(0))
    with pytest.raises(ValueError, match=r"net\.state.*other settings or images"):
        train(ann(), images, validation.first(20), ROBUST, SCHEDULE, probe=PROBE, state=state)


def test_a_training_with_functions_of_ones_own_continues_in_another_process(tmp_path):
    def own():
        """Another function at another place in memory each time, as in another process."""

        def halve(net):
            net.get_parameter("classifier.3.bias").data.mul_(0.5)

        return halve

    first, second = own(), own()
    state = tmp_path / "net.state"
    with pytest.raises(Stop):
        trained(state=state, on_epoch=stop_at(0), after_step=[first])
    assert repr(first) != repr(second)
    assert same(trained(state=state, after_step=[second]), trained(after_step=[first]))


def test_a_damaged_state_is_refused_by_its_name(tmp_path):
    state = tmp_path / "net.state"
    with pytest.raises(Stop):
        trained(state=state, on_epoch=stop_at(0))
    state.write_bytes(state.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"net\.state"):
        trained(state=state)


def test_the_weights_of_the_chosen_epoch_are_kept(monkeypatch):
    monkeypatch.setattr("robustsnn.training.loop.best_epoch", lambda history: history[:2][-1])
    seen, net = [], ann()
    history = train(
        net, *parts(), Natural(), replace(SCHEDULE, epochs=4), probe=PROBE, on_epoch=lambda _: seen.append(weights(net))
    )
    assert same(weights(net), seen[1])
    assert not same(seen[1], seen[-1])
    assert validate(net, parts()[1], PROBE, Linf(2 / 255), seed=0) == (history[1].clean, history[1].robust)
    assert not any(module.training for module in net.modules())


RATES = st.integers(0, 2).map(lambda n: n / 2)


@given(st.lists(st.tuples(RATES, RATES), min_size=1, max_size=8))
def test_the_best_epoch_is_the_first_of_the_most_robust_then_most_accurate(figures):
    history = [Epoch(i, 1.0, clean, robust, 0.1, 1.0) for i, (clean, robust) in enumerate(figures)]
    merits = [(robust, clean) for clean, robust in figures]
    assert best_epoch(history).epoch == merits.index(max(merits))


@pytest.mark.parametrize(
    ("robust", "kept"),
    [((0.30, 0.34, 0.31, 0.33), 3), ((0.10, 0.60, 0.52, 0.40), 1), ((0.50, 0.56, 0.52, 0.00), 2), ((0.0, 0.0), 0)],
)
def test_of_epochs_within_a_standard_error_the_last_is_kept(robust, kept):
    history = [Epoch(i, 1.0, 1 - i / 10, value, 0.1, 1.0, images=100) for i, value in enumerate(robust)]
    assert best_epoch(history).epoch == kept
    chosen = [best_epoch(history[: count + 1]).epoch for count in range(len(history))]
    assert chosen == sorted(chosen)  # so training, which keeps the weights of one epoch, never needs an earlier one again


def test_without_a_probe_the_clean_accuracy_chooses():
    history = train(ann(), *parts(), Natural(), SCHEDULE, probe=None)
    assert all(epoch.robust == epoch.clean for epoch in history)
    assert {epoch.images for epoch in history} == {len(parts()[1])}


def test_validation_counts_what_the_network_gets_right(unchanged):
    net = ann().train()
    images = parts()[1].take(torch.arange(20))
    with unchanged(net):
        clean, robust = validate(net, images, PGD(3), Linf(0.3), seed=0, batch=7)
        assert validate(net, images, None, Linf(0.3), seed=0) == (clean, clean)
        assert validate(net, images, PGD(3), Linf(0.3), seed=0, batch=20) == (clean, robust)
    x, y = images.batch(torch.arange(20))
    assert clean == int((net.eval()(x).argmax(1) == y).sum()) / 20
    assert robust <= clean


def test_a_step_is_sgd_with_momentum_weight_decay_and_the_epochs_rate():
    schedule = Schedule(epochs=2, batch=100, lr=0.1, momentum=0.5, weight_decay=0.01)
    net, twin = ann(), ann()
    history = train(net, *parts(), Natural(), schedule, probe=None, on_epoch=lambda _: None)
    kept = best_epoch(history).epoch
    velocity = [torch.zeros_like(p) for p in twin.parameters()]
    x, y = parts()[0].batch(torch.arange(len(parts()[0])))
    for rate in (0.1, 0.05)[: kept + 1]:
        gradients = torch.autograd.grad(F.cross_entropy(twin.train()(x), y), list(twin.parameters()))
        velocity = [0.5 * v + g + 0.01 * p for v, g, p in zip(velocity, gradients, twin.parameters(), strict=True)]
        with torch.no_grad():
            [p.sub_(rate * v) for p, v in zip(twin.parameters(), velocity, strict=True)]
    assert [epoch.lr for epoch in history] == pytest.approx([0.1, 0.05])
    for trained_one, expected in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(trained_one, expected, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 300), st.data())
def test_the_rate_is_a_cosine_from_lr_towards_zero(epochs, data):
    epoch = data.draw(st.integers(0, epochs - 1))
    schedule = Schedule(epochs=epochs, lr=0.2)
    assert schedule.rate(0) == 0.2
    assert schedule.rate(epoch) == pytest.approx(0.1 + 0.1 * cos(pi * epoch / epochs))
    assert 0 < schedule.rate(epoch) <= 0.2


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"epochs": 0}, "epochs"), ({"batch": 0}, "batch")]
    + [({"lr": lr}, "lr") for lr in (0.0, -0.1, nan, inf)]
    + [({"momentum": momentum}, "momentum") for momentum in (-0.1, 1.0, nan)]
    + [({"weight_decay": decay}, "weight_decay") for decay in (-1e-4, nan, inf)],
    ids=str,
)
def test_a_schedule_out_of_range_is_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        Schedule(**wrong)


def test_the_floor_lifts_thresholds_that_fell_below_it_and_no_others(net, ann, unchanged):
    first, *others = net.thresholds.values()
    first.data.fill_(-1.0)
    before = [threshold.item() for threshold in others]
    ThresholdFloor(0.25)(net)
    assert first.item() == 0.25
    assert [threshold.item() for threshold in others] == before
    with unchanged(net, ann):
        ThresholdFloor(0.25)(net)
        ThresholdFloor(0.25)(ann)


def test_thresholds_are_trained_and_stop_at_the_floor():
    def objective(net, x, y, *, rng):
        return net(x).mean() + torch.stack(list(net.thresholds.values())).sum()

    net = snn()
    train(net, *parts(), objective, SCHEDULE, probe=None, after_step=(ThresholdFloor(0.4),))
    assert [threshold.item() for threshold in net.thresholds.values()] == pytest.approx([0.4] * 4)


@pytest.mark.parametrize("value", [nan, inf])
def test_a_loss_that_is_not_finite_stops_training_before_it_reaches_the_weights(value):
    calls = []

    def objective(net, x, y, *, rng):
        calls.append(None)
        return net(x).mean() * (value if len(calls) == 5 else 1.0)

    net = ann()
    with pytest.raises(FloatingPointError, match=f"{value} at epoch 1, step 1"):
        train(net, *parts(), objective, SCHEDULE, probe=None)
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


@pytest.mark.parametrize("empty", [0, 1])
def test_training_without_images_is_refused(empty):
    sets = [images.first(0) if i == empty else images for i, images in enumerate(parts())]
    with pytest.raises(ValueError, match="needs samples"):
        train(ann(), *sets, Natural(), SCHEDULE)


def test_every_step_is_told_and_every_image_is_seen_once_per_epoch():
    told, seen = [], []

    def objective(net, x, y, *, rng):
        seen.append(y)
        return F.cross_entropy(net(x), y)

    train(ann(), *parts(), objective, SCHEDULE, probe=None, on_step=lambda *step: told.append(step))
    assert told == [(epoch, step) for epoch in range(3) for step in range(3)]
    labels = parts()[0].labels.sort().values
    epochs = [torch.cat(seen[i : i + 3]) for i in (0, 3, 6)]
    assert all(torch.equal(epoch.sort().values, labels) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])


def test_augmentation_reaches_the_objective():
    seen = []

    def objective(net, x, y, *, rng):
        seen.append(x)
        return F.cross_entropy(net(x), y)

    train(ann(), *parts(), objective, Schedule(epochs=1, batch=72), probe=None, augment=Augment(pad=2))
    rng = generator(0, "epoch", 0)
    ((x, _, _),) = parts()[0].batches(72, rng)
    assert torch.equal(seen[0], Augment(pad=2)(x, rng))


def test_a_budget_of_memory_recomputes_activations_and_changes_no_weight():
    said: list[str] = []
    found = [trained(snn, memory=memory, on_warning=said.append) for memory in (None, "8GiB", "8KiB", 2**13)]
    assert all(same(each, found[0]) for each in found)
    assert sum("recomputing activations" in line for line in said) == 2
    with pytest.raises(ValueError, match="memory must be an amount such as 8GiB"):
        trained(snn, memory="much")
