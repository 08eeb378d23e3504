"""Numbers of events as samples."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from robustsnn import convert
from robustsnn.conversion.calibration import first_batches
from robustsnn.data import Samples, as_samples, split
from robustsnn.spiking import Frames

COUNTS = (torch.arange(6 * 4 * 2 * 3 * 3) % 7).view(6, 4, 2, 3, 3)
LABELS = torch.arange(6) % 2


@pytest.fixture
def events():
    return Samples(COUNTS.to(torch.uint8), LABELS, 2, counts=True)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_counts_are_read_as_they_are(kind):
    values, _ = Samples(COUNTS.to(kind), LABELS, 2, counts=True).batch(torch.tensor([1, 3]))
    assert values.dtype == torch.float32
    assert values.equal(COUNTS[[1, 3]].float())


def test_every_copy_of_counts_holds_counts(events):
    rest, held = split(events, 0.34, 0)
    copies = (events.take(torch.tensor([0])), events.first(2), events.to("cpu"), replace(events), rest, held)
    assert all(copy.counts for copy in (*copies, as_samples(events), as_samples(events, limit=2)))


def test_the_digest_tells_counts_from_pixels(events):
    pixels = replace(events, counts=False)
    assert events.digest() != pixels.digest()
    assert pixels.digest() == Samples(events.values, events.labels, 2).digest()


@pytest.mark.parametrize("value", [-1.0, 0.5])
def test_a_count_is_whole_and_not_negative(value):
    with pytest.raises(ValueError, match="whole"):
        Samples(torch.full((2, 1), value), torch.tensor([0, 1]), 2, counts=True)


def test_the_error_for_large_values_names_counts():
    with pytest.raises(ValueError, match="counts=True"):
        Samples(torch.full((2, 1), 3.0), torch.tensor([0, 1]), 2)


def test_binary_frames_are_valid_both_ways():
    frames = (COUNTS > 3).float()
    one, other = (Samples(frames, LABELS, 2, counts=counts) for counts in (False, True))
    assert one.batch(LABELS)[0].equal(other.batch(LABELS)[0])


def test_networks_are_calibrated_on_counts(events):
    ann = nn.Sequential(nn.Flatten(), nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 2))
    net = convert(ann, events, timesteps=4, signal=Frames())
    assert net(events.batch(torch.arange(6))[0]).shape == (6, 2)
    (used,) = first_batches([events], 3, ann)
    assert used.equal(COUNTS.float())
    with pytest.raises(ValueError, match="counts=True"):
        first_batches([used], 3, ann)
