"""Machine code is made for networks that repay it, whatever the batch."""

from __future__ import annotations

import pytest
import torch

from robustsnn.compute import machine_code


@pytest.mark.parametrize(
    ("shape", "worthwhile"),
    [
        ((8, 64, 16, 8, 8), False),  # the digits network
        ((8, 4096, 16, 8, 8), False),
        ((8, 16, 64, 8, 8), True),  # the last layers of ResNet-20
        ((8, 1, 64, 8, 8), False),
        ((8, 16, 512, 2, 2), True),  # and of VGG-11
    ],
)
def test_it_is_for_layers_of_many_neurons_and_batches_of_some_size(shape, worthwhile, monkeypatch):
    monkeypatch.setattr(machine_code, "SMALLEST", 2**16)
    monkeypatch.setattr(machine_code, "compiles", lambda device: True)
    assert machine_code.repays(torch.empty(shape, device="meta"), shape[0] * shape[1]) == worthwhile
