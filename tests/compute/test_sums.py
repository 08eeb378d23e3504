"""Running sums, on any device, deterministic or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from robustsnn.compute import sums
from robustsnn.compute.sums import running_sum
from robustsnn.seeds import generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dim", [0, 1])
def test_it_is_torchs_even_where_only_deterministic_algorithms_are_wanted(device, dim):
    values = torch.rand(5, 300, generator=generator(0, "test sums"))
    try:
        torch.use_deterministic_algorithms(True)
        assert torch.equal(running_sum(values.to(device), dim).cpu(), values.cumsum(dim))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("room", ["attacks", "spiking", "evaluation"])
def test_nothing_that_attacks_use_sums_otherwise(room):
    files = (Path(sums.__file__).parent / room).rglob("*.py")
    assert [file.name for file in files if "cumsum(" in file.read_text()] == []
