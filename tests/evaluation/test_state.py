"""An evaluation that was killed goes on where it stopped; a damaged or foreign state is refused."""

from __future__ import annotations

import pytest
import torch

from robustsnn.attacks import PGD
from robustsnn.data import Samples
from robustsnn.evaluation import PUBLISHED_PATHS, Audit, Group, Protocol, Sources, evaluate
from robustsnn.evaluation import state as state_module
from robustsnn.seeds import generator

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def data(net):
    x = torch.rand(12, 2, 8, 8, generator=generator(0, "test state"))
    return Samples(x, net(x).argmax(1), classes=4)


class Killed(Exception):
    pass


def measure(net, data, state, **options):
    return evaluate(net, data, "quick", [0.02, 0.05], batch=5, check=Audit(images=0), state=state, **options)


def figures(report):
    return [result.model_dump(exclude={"seconds"}) for result in report.results]


def test_after_a_kill_one_batch_of_one_member_at_most_is_repeated(net, data, tmp_path, monkeypatch):
    calls, kill, real, state = [], [0], PGD.__call__, tmp_path / "x.evaluation"

    def counted(self, model, x, y, threat, **options):
        calls.append(len(x))
        if len(calls) == kill[-1]:
            raise Killed
        return real(self, model, x, y, threat, **options)

    monkeypatch.setattr(PGD, "__call__", counted)
    monkeypatch.setattr(state_module, "SECONDS", 0)
    whole = figures(measure(net, data, None, attacks=["PGD-10"]))
    total = len(calls)
    assert total > 5
    for number in range(1, total + 1):
        calls.clear()
        kill.append(number)
        with pytest.raises(Killed):
            measure(net, data, state, attacks=["PGD-10"])
        assert figures(measure(net, data, state, attacks=["PGD-10"])) == whole
        assert len(calls) == total + 1, "only the batch that was cut short is repeated"
        assert not state.exists()


def test_a_member_that_ended_is_kept_however_little_time_has_passed(net, data, tmp_path, monkeypatch):
    written, state = [], tmp_path / "x.evaluation"
    monkeypatch.setattr(state_module, "write_sealed", lambda *_: written.append(0))
    measure(net, data, state, attacks=["PGD-10"])
    often = len(written)
    written.clear()
    monkeypatch.setattr(state_module, "SECONDS", 0)
    measure(net, data, state, attacks=["PGD-10"])
    assert 2 <= often < len(written)

    def killed(what, share):
        if share == 1:
            raise Killed

    monkeypatch.undo()
    calls, real = [], PGD.__call__
    with pytest.raises(Killed):
        measure(net, data, state, attacks=["PGD-10"], on_progress=killed)
    monkeypatch.setattr(PGD, "__call__", lambda self, *args, **options: (calls.append(0), real(self, *args, **options))[1])
    whole = figures(measure(net, data, None, attacks=["PGD-10"]))
    without = len(calls)
    assert figures(measure(net, data, state, attacks=["PGD-10"])) == whole
    assert len(calls) - without < without, "no member of the first radius is asked again"


def stopped(net, data, state):
    def stop(what, share):
        if what == "PGD-10 at 0.05":
            raise Killed

    with pytest.raises(Killed):
        measure(net, data, state, on_progress=stop)
    return state


def test_one_byte_is_enough_to_refuse_it(net, data, tmp_path):
    state = stopped(net, data, tmp_path / "x.evaluation")
    content = state.read_bytes()
    for place in range(8, len(content), max(1, len(content) // 40)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        state.write_bytes(damaged)
        with pytest.raises(ValueError, match="remove it to start the evaluation again"):
            measure(net, data, state)
    state.write_bytes(content[:-3])
    with pytest.raises(ValueError, match="remove it"):
        measure(net, data, state)
    state.write_bytes(content)
    assert figures(measure(net, data, state)) == figures(measure(net, data, None))


def test_another_evaluations_state_is_refused(net, data, tmp_path):
    state = stopped(net, data, tmp_path / "x.evaluation")
    other = net.replace(dict.fromkeys(net.thresholds, 0.6))
    for call in (
        lambda: measure(other, data, state),
        lambda: measure(net, data.first(11), state),
        lambda: measure(net, data, state, seed=1),
    ):
        with pytest.raises(ValueError, match="another network, data or protocol"):
            call()


def test_a_state_of_other_pilot_images_or_another_order_of_sources_is_refused(net, data, ann, tmp_path):
    """They decide in which order members run, and a state knows members by their places."""
    paths, state = (*PUBLISHED_PATHS[:4], Sources()), tmp_path / "x.evaluation"
    chosen = Protocol({"mine": (Group("PGD", PGD(steps=2), paths),)}, "any", ranked=True)

    def run(few, names, stop=lambda what, share: None):
        sources = dict.fromkeys(names, ann)
        return evaluate(
            *(net, data, chosen, 0.05),
            **{"sources": sources, "pilot_images": few, "check": Audit(images=0), "state": state, "on_progress": stop},
        )

    def killed(what, share):
        if what.startswith("mine") and state.exists():
            raise Killed

    orders = {i: run(data.take(torch.tensor([i])), "ab").results[0].members for i in range(12)}
    other = next(i for i in orders if orders[i] != orders[0])
    with pytest.raises(Killed):
        run(data.first(1), "ab", killed)
    for few, names in ((data.take(torch.tensor([other])), "ab"), (data.first(1), "ba")):
        with pytest.raises(ValueError, match="belongs to an evaluation of another"):
            run(few, names)
    assert run(data.first(1), "ab").results[0].members == orders[0]
