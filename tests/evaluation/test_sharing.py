"""Several processes share out the survivors before every member, and find what one finds. Threads stand for processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from robustsnn.attacks import PGD
from robustsnn.compute import precision
from robustsnn.data import Samples
from robustsnn.evaluation import Audit, Group, Protocol, evaluate
from robustsnn.evaluation import state as state_module
from robustsnn.seeds import generator, randomness
from robustsnn.spiking import Plain

PROTOCOL = Protocol({"PGD": tuple(Group(f"PGD-{n}", PGD(steps=n), (Plain(),)) for n in (1, 2, 5, 10))}, "any")

pytestmark = pytest.mark.usefixtures("unchecked", "threads")


class Thread:
    """The part of a `lightning_fabric.Fabric` that an evaluation uses, for one of several threads."""

    device = torch.device("cpu")

    def __init__(self, rank: int, board: list[Any], meet: threading.Barrier) -> None:
        self.global_rank, self.world_size = rank, len(board)
        self.board, self.meet = board, meet

    def barrier(self) -> None:
        self.meet.wait(60)

    def _all(self, value: Any) -> list[Any]:
        self.board[self.global_rank] = value.clone() if isinstance(value, torch.Tensor) else value
        self.barrier()
        found = list(self.board)
        self.barrier()
        return found

    def all_reduce(self, value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        found = torch.stack(self._all(value))
        return found.amax(0) if reduce_op == "max" else found.sum(0)

    def broadcast(self, value: Any, src: int = 0) -> Any:
        return self._all(value)[src]


class Killed(Exception):
    pass


def together(size: int, work: Callable[[Thread], Any]) -> list[Any]:
    """Return the result of each thread; None for a killed one."""
    board, meet, found = [None] * size, threading.Barrier(size), [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = work(Thread(rank, board, meet))
        except (Killed, threading.BrokenBarrierError):
            meet.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def threads(monkeypatch):
    """Modes of torch belong to the process: threads must not take turns in setting them."""
    monkeypatch.setattr(precision, "_kinds", list)


class Double(nn.Module):
    """Rounding must not decide about an image: it depends on the batch."""

    def forward(self, x):
        return x.flatten(1).double()


@pytest.fixture
@randomness("test sharing")
def net():
    return nn.Sequential(Double(), nn.Linear(32, 4, dtype=torch.float64))


@pytest.fixture
def data(net):
    """Images of which every sixth survives: in equal shares, one of two or three processes would have all survivors."""
    x = torch.rand(200, 2, 4, 4, generator=generator(0, "test sharing"))
    flags = figures(measure(net, Samples(x, net(x).argmax(1), classes=4), batch=200))[-1]["broken_by"]
    survive, fall = ((torch.tensor(flags) == -1) == wanted for wanted in (True, False))
    survive, fall = survive.nonzero().flatten()[:9], fall.nonzero().flatten()[:45]
    order = torch.cat([survive[:, None], fall.view(-1, 5)], 1).flatten()
    return Samples(x[order], net(x[order]).argmax(1), classes=4, ids=order)  # random starts depend on ids


def measure(net, data, **options):
    return evaluate(net, data, PROTOCOL, [0.03, 0.06], check=Audit(images=0), **{"batch": 4, **options})


def figures(report):
    return [result.model_dump(exclude={"seconds"}) for result in report.results]


def silent(what: str, share: float) -> None:
    pass


@pytest.mark.parametrize("size", [2, 3])
def test_survivors_are_shared_out_and_found_as_by_one_process(net, data, size, monkeypatch):
    alone = figures(measure(net, data))
    assert [flag == -1 for flag in alone[-1]["broken_by"]] == [place % 6 == 0 for place in range(54)]
    attacked, real = [[0, 0] for _ in range(size)], PGD.__call__

    def counted(self, model, x, y, threat, **options):
        attacked[ranks[threading.get_ident()]][threat.eps == 0.06] += len(x)
        return real(self, model, x, y, threat, **options)

    ranks: dict[int, int] = {}
    monkeypatch.setattr(PGD, "__call__", counted)

    def work(fabric):
        ranks[threading.get_ident()] = fabric.global_rank
        return figures(measure(net, data, fabric=fabric, on_progress=silent))

    assert together(size, work) == [alone] * size
    members = sum(len(result["members"]) for result in alone) // 2
    for each in zip(*attacked, strict=True):
        assert max(each) <= min(each) + members, "one image more per member at most"


def test_killed_anywhere_all_go_on_and_count_as_one_process(net, data, tmp_path, monkeypatch):
    few = {"batch": 9}
    alone, state, real = figures(measure(net, data, **few)), tmp_path / "x.evaluation", PGD.__call__
    monkeypatch.setattr(state_module, "SECONDS", 0)
    calls, kill = [0], [0]

    def counted(self, model, x, y, threat, **options):
        calls[0] += 1
        if calls[0] == kill[0]:
            raise Killed
        return real(self, model, x, y, threat, **options)

    def work(fabric):
        return figures(measure(net, data, fabric=fabric, state=state, on_progress=silent, **few))

    monkeypatch.setattr(PGD, "__call__", counted)
    together(2, work)
    total = calls[0]
    assert total > 5
    for number in range(1, total + 1, 3):
        calls[0], kill[0] = 0, number
        assert None in together(2, work)
        kill[0] = 0
        assert together(2, work) == [alone] * 2, number
        assert not list(tmp_path.iterdir())


def test_the_process_that_wrote_most_leads(net, data, tmp_path, monkeypatch):
    """A process was killed after the last exchange about a result, before it wrote the result."""
    alone, state = figures(measure(net, data)), tmp_path / "x.evaluation"
    for late in (0, 1):
        real, written = state_module.State.finish, threading.Event()

        def finish(self, result, late=late, real=real, written=written):
            if str(self.path).endswith(f"{late}-of-2") and len(self.done) == 1:
                written.wait(60)
                raise Killed
            real(self, result)
            if len(self.done) == 2:
                written.set()

        def work(fabric):
            return figures(measure(net, data, fabric=fabric, state=state, on_progress=silent))

        monkeypatch.setattr(state_module.State, "finish", finish)
        assert None in together(2, work)
        monkeypatch.setattr(state_module.State, "finish", real)
        assert together(2, work) == [alone] * 2
