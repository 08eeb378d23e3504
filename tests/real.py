"""Real images, where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustsnn.data.sources import HERE

REAL = Path(os.environ.get(HERE) or Path(__file__).resolve().parents[2] / "shared/data")
"""The folder of `HERE`."""

real = pytest.mark.skipif(not (REAL / "cifar10").exists(), reason=f"no cifar10/*.parquet in {REAL}; {HERE} names the folder")
