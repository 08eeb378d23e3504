"""The benchmark compares things that compute the same."""

import torch

from robustsnn.bench import bench, plain


def test_the_plain_form_computes_the_same(net, images):
    torch.testing.assert_close(plain(net)(images), net(images))


def test_every_figure_is_a_time():
    timings = bench(width=0.1, timesteps=2, batch=2, repeats=1)
    assert [timing.what for timing in timings] == ["forward", "input gradient", "training step"]
    assert all(min(timing.plain, timing.ours, timing.floor) > 0 for timing in timings)
