"""Evaluation settings: one value that recipes contain, that identifies resumable states, and that reports store."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from robustsnn.lazy import later
from robustsnn.names import Number, Precision, Rule

kind = later("robustsnn.threats", "kind")

THREAT_OF = {"events": "Flips"}
"""Default kind of threat of protocols that are not for L-infinity."""


class Settings(BaseModel):
    """How to evaluate a network. Every field is a key of a recipe's ``[evaluation]``, a flag, and a keyword of `evaluate`.

    Raises:
        ValueError: a key or threat is unknown, or a value or radius is out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    protocol: str = Field("paper", description="attacks and gradient paths: a known name, or your own .toml file")
    attacks: tuple[str, ...] = Field((), description="ensembles of the protocol to run; if not given, all of them")
    threat: str | None = Field(None, description="threat model, such as L2; if not given, L-infinity")
    eps: tuple[Number, ...] = Field((2 / 255, 4 / 255, 8 / 255), min_length=1, description="radii of the threat")
    rule: Rule | None = Field(None, description="judge every iterate (any) or the last one; if not given, the protocol's")
    limit: int | None = Field(None, ge=1, description="use at most this many test images")
    batch: int = Field(250, ge=1, description="batch size of attacks; does not change the result")
    crafting: Precision = Field("float32", description="precision of the attacked network; judging uses float32")
    audit_images: int | None = Field(None, ge=0, description="images to audit, 0: no audit; if not given, the protocol's")
    audit_steps: int | None = Field(None, ge=1, description="audit steps of the longest attack; if not given, the protocol's")
    audit_queries: int | None = Field(None, ge=1, description="black-box queries of the audit; if not given, the protocol's")
    shown: int = Field(4, ge=0, description="adversarial images in the report, next to their originals; 0: none")

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, values: Any) -> Any:
        """Fill in the default threat of the protocol and the default radii of a threat that is named without radii."""
        if not isinstance(values, dict) or "eps" in values:
            return values
        name = values.get("threat") or THREAT_OF.get(str(values.get("protocol")))
        with suppress(ValueError):
            return {**values, "threat": name, "eps": kind(name)().usual} if isinstance(name, str) else values
        return values

    @field_validator("threat")
    @classmethod
    def _known(cls, threat: str | None) -> str | None:
        kind(threat)
        return threat

    @field_validator("eps")
    @classmethod
    def _possible(cls, eps: tuple[float, ...], known: ValidationInfo) -> tuple[float, ...]:
        if "threat" in known.data:  # otherwise the threat itself is invalid
            for radius in eps:
                kind(known.data["threat"])(radius)
        return eps

    @property
    def threats(self) -> tuple[Any, ...]:
        """The threats, one per radius."""
        return tuple(kind(self.threat)(radius) for radius in self.eps)

    @property
    def flags(self) -> dict[str, Any]:
        """The settings that determine which images are broken."""
        return self.model_dump(exclude={"batch", "audit_images", "audit_steps", "audit_queries", "shown"})
