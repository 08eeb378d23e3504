"""Explicit randomness: seeds derived from their purpose, and noise that belongs to one image.

Torch's global generators are used only within `randomness`, for code that accepts no other.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from robustsnn.types import Noise, Randomness


def derive(*purpose: int | str) -> int:
    """Return a 62-bit seed that depends on every part of ``purpose`` and is the same on every machine.

    >>> derive(0, "init") == derive(0, "init"), derive(0, "init") == derive(1, "init")
    (True, False)
    """
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2


def generator(*purpose: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator seeded by ``derive(*purpose)``."""
    return torch.Generator(device).manual_seed(derive(*purpose))


@contextmanager
def randomness(*purpose: int | str) -> Iterator[None]:
    """Seed torch's global generators by ``purpose`` while this is open, and restore them afterwards. Also a decorator.

    It is for code that accepts no generator, such as ``nn.Dropout``, layer constructors and foreign code. It includes the
    generator of the current CUDA device if CUDA is initialised, and never initialises CUDA itself.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.set_rng_state(generator(*purpose).get_state())
        if devices:
            torch.cuda.manual_seed(derive(*purpose))
        yield


def image_seeds(index: Tensor, *purpose: int | str) -> Tensor:
    """Return one int64 seed per image, from its index ``[N]`` in the data set and a purpose."""
    return _mix(index.to(torch.int64) ^ _mix(torch.tensor(derive(*purpose), device=index.device)))


def portion(rng: Randomness, chosen: Tensor, *purpose: int | str) -> Randomness:
    """Return the randomness of the images ``chosen [n]`` of a batch for another purpose; a generator is returned unchanged."""
    return image_seeds(rng[chosen.to(rng.device)], *purpose) if isinstance(rng, Tensor) else rng


def given(rng: Randomness) -> torch.Generator | Tensor:
    """Return ``rng``, or for None a new generator with a fixed seed, ``generator("attack")``."""
    return generator("attack") if rng is None else rng


def noise(rng: Randomness) -> Noise:
    """Return the noise source for ``rng``. Raises ValueError if it is not a ``torch.Generator`` or an int64 tensor ``[N]``."""
    rng = given(rng)
    if isinstance(rng, torch.Generator):
        return _FromGenerator(rng)
    if isinstance(rng, Tensor) and rng.dtype == torch.int64 and rng.dim() == 1:
        return _FromSeeds(rng)
    found = f"a tensor {list(rng.shape)} of {rng.dtype}" if isinstance(rng, Tensor) else type(rng).__name__
    raise ValueError(f"rng must be a torch.Generator or one int64 seed per image [N], as from image_seeds, not {found}")


class _FromGenerator:
    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, like: Tensor) -> Tensor:
        drawn = torch.rand(like.shape, generator=self.generator, device=self.generator.device, dtype=like.dtype)
        return drawn.to(like.device)

    def normal(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=self.generator, device=self.generator.device, dtype=like.dtype)
        return drawn.to(like.device)


class _FromSeeds:
    """Counter-based noise: value ``p`` of draw ``d`` of an image is a hash of (its seed, d, p), on any device."""

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds
        self.draws = 0

    def uniform(self, like: Tensor) -> Tensor:
        if len(like) != len(self.seeds):
            raise ValueError(f"{len(self.seeds)} seeds were given for {len(like)} images: give one seed per image")
        self.draws += 1
        seeds = _mix(self.seeds.to(like.device) ^ _mix(torch.tensor(self.draws, device=like.device)))
        position = torch.arange(like[0].numel() if len(like) else 0, device=like.device)
        bits = _mix(seeds[:, None] ^ _mix(position)[None, :])
        return ((bits >> 40) & 0xFFFFFF).to(like.dtype).div_(2.0**24).reshape(like.shape)

    def normal(self, like: Tensor) -> Tensor:
        radius = torch.log1p(-self.uniform(like)).mul_(-2).sqrt_()
        return radius * torch.cos(2 * math.pi * self.uniform(like))


def _mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele et al. 2014) in wrapping int64 arithmetic."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))
