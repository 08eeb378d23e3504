"""The kinds of threat by name, and threats as text."""

from collections.abc import Callable

from robustsnn.names import build, find, named, spelled
from robustsnn.threats.balls import L1, L2, FrameLinf, Linf
from robustsnn.threats.flips import Flips
from robustsnn.threats.retiming import Retiming
from robustsnn.types import Threat

THREATS: dict[str, Callable[..., Threat]] = named(Linf, L2, L1, Flips, Retiming, FrameLinf)
"""The kinds of threat by name; each is called with its radius."""

USUAL = "Linf"
"""The default kind of threat."""


def kind(name: str | None = None) -> Callable[..., Threat]:
    """Return the kind of threat with that name; `USUAL` if None. A name may give all but the radius: ``Flips(most=4)``.

    Raises:
        ValueError: the name is unknown.

    >>> kind("Flips(most=4)")(0.02), kind("L2")(0.5)
    (Flips(eps=0.02, most=4), L2(eps=0.5))
    """
    if name is None or "(" not in name:
        return find("threat", THREATS, name or USUAL)
    usual = threat(name)
    return lambda eps=usual.eps: usual.scaled(eps)


def kind_of(threat: Threat) -> str:
    """Return the name that `kind` takes for a threat's kind.

    >>> kind_of(Flips(0.02)), kind_of(Flips(0.02, most=4))
    ('Flips', 'Flips(most=4)')
    """
    usual, held = type(threat)(), vars(threat)
    parts = [f"{name}={spelled(value)}" for name, value in held.items() if name != "eps" and value != getattr(usual, name)]
    return type(threat).__name__ + (f"({', '.join(parts)})" if parts else "")


def threat(text: str) -> Threat:
    """Build a threat from its text.

    Raises:
        ValueError: the text cannot be parsed, the kind is unknown, or the radius is invalid.

    >>> threat("L2(0.5)"), threat("Linf(8/255)").spelled
    (L2(eps=0.5), '8/255')
    """
    return build("threat", THREATS, text)  # type: ignore[no-any-return]
