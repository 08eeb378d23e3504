"""What an evaluation is asked for: one value, which recipes hold, states are known by, and reports keep."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from robustsnn.lazy import later
from robustsnn.names import Number, Precision, Rule

kind = later("robustsnn.threats", "kind")


class Settings(BaseModel):
    """How a network is measured. Every field is a key of a recipe's ``[evaluation]``, a flag, and a keyword of `evaluate`.

    Raises:
        ValueError: an unknown key, a value out of range, an unknown threat, or a radius that it cannot have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    protocol: str = Field("paper", description="attacks and gradient paths: a known name, or a .toml file of one's own")
    attacks: tuple[str, ...] = Field((), description="which of the protocol's ensembles; none named runs all")
    threat: str | None = Field(None, description="what attacks may do, such as L2; not given: L-infinity")
    eps: tuple[Number, ...] = Field((2 / 255, 4 / 255, 8 / 255), min_length=1, description="radii of the threat")
    rule: Rule | None = Field(None, description="which iterates are judged; not given: the protocol's rule")
    limit: int | None = Field(None, ge=1, description="use at most that many test images")
    batch: int = Field(250, ge=1, description="images attacked together; does not change the result")
    crafting: Precision = Field("float32", description="precision of what attacks follow; judging is done in float32")
    audit_images: int | None = Field(None, ge=0, description="images of the audit, 0: no audit; not given: the protocol's")
    audit_steps: int | None = Field(None, ge=1, description="steps of the audit's longest attack; not given: the protocol's")
    audit_queries: int | None = Field(None, ge=1, description="queries of its black-box attacks; not given: the protocol's")
    shown: int = Field(4, ge=0, description="adversarial images that the report shows beside their originals; 0: none")

    @model_validator(mode="before")
    @classmethod
    def _usual(cls, values: Any) -> Any:
        """A threat that is named without radii has its usual one."""
        named = isinstance(values, dict) and isinstance(values.get("threat"), str) and "eps" not in values
        with suppress(ValueError):
            return {**values, "eps": (kind(values["threat"])().eps,)} if named else values
        return values

    @field_validator("threat")
    @classmethod
    def _known(cls, threat: str | None) -> str | None:
        kind(threat)
        return threat

    @field_validator("eps")
    @classmethod
    def _possible(cls, eps: tuple[float, ...], known: ValidationInfo) -> tuple[float, ...]:
        if "threat" in known.data:  # else that is the complaint
            for radius in eps:
                kind(known.data["threat"])(radius)
        return eps

    @property
    def threats(self) -> tuple[Any, ...]:
        """What attacks may do, a value per radius."""
        return tuple(kind(self.threat)(radius) for radius in self.eps)

    @property
    def flags(self) -> dict[str, Any]:
        """The settings on which it depends what breaks an image."""
        return self.model_dump(exclude={"batch", "audit_images", "audit_steps", "audit_queries", "shown"})
