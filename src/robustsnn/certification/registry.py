"""Methods of certification by name, and their texts: ``Smoothing(sigma=0.25)``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from robustsnn.certification.intervals import IntervalCertificates, Intervals
from robustsnn.certification.smoothing import GaussianCertificates, Smoothing
from robustsnn.certification.sparse import SparseCertificates, SparseSmoothing
from robustsnn.certification.task import Method
from robustsnn.names import build, find, named
from robustsnn.threats import THREATS

METHODS: dict[str, type[Method]] = named(Smoothing, SparseSmoothing, Intervals)
"""Methods by name."""

Certified = Annotated[GaussianCertificates | SparseCertificates | IntervalCertificates, Field(discriminator="kind")]
"""The certificates of any of these methods."""


def method(text: str) -> Method:
    """Build a method from its text.

    Raises:
        ValueError: the text cannot be parsed, the method is unknown, or a value is out of range.

    >>> method("Smoothing(0.5, draws=1000)").draws
    1000
    """
    name = text.partition("(")[0].strip()
    if name.isidentifier() and name not in THREATS:
        find("method", METHODS, name)
    value = build("method", {**METHODS, **THREATS}, text)
    if not hasattr(value, "certify"):
        raise ValueError(f"{text} is a threat, not a method of certification: write Smoothing(0.25) or Intervals([{text}])")
    return value  # type: ignore[no-any-return]
