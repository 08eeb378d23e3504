import math

import pytest
import torch

from robustsnn.spiking import SURROGATES, Exponential, Rectangle, StraightThrough, Triangle

U = torch.linspace(-3, 3, 97)
EQUATIONS = [
    (Triangle(1.0), lambda u: max(0, 1 - abs(u))),
    (Triangle(0.25), lambda u: max(0, 0.25 - abs(u)) / 0.25**2),
    (Exponential(0.3, 2.0), lambda u: 0.3 * math.exp(-2 * abs(u))),
    (Exponential(1.0, 0.5), lambda u: math.exp(-0.5 * abs(u))),
    (Rectangle(0.5), lambda u: 2.0 if abs(u) < 0.25 else 0.0),
    (Rectangle(4.0), lambda u: 0.25 if abs(u) < 2 else 0.0),
    (StraightThrough(), lambda u: 1.0),
]


@pytest.mark.parametrize(("surrogate", "equation"), EQUATIONS, ids=[repr(surrogate) for surrogate, _ in EQUATIONS])
def test_a_surrogate_is_its_equation(surrogate, equation):
    expected = torch.tensor([equation(float(u)) for u in U])
    torch.testing.assert_close(surrogate(U), expected)


@pytest.mark.parametrize("surrogate", [surrogate for surrogate, _ in EQUATIONS], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_surrogate_keeps_shape_type_and_its_argument(surrogate, dtype):
    u = U[:96].to(dtype).view(2, 48)
    before = u.clone()
    g = surrogate(u)
    assert (g.shape, g.dtype) == (u.shape, dtype)
    assert torch.equal(u, before)


@pytest.mark.parametrize("surrogate", [Triangle, Rectangle])
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_triangle_and_rectangle_have_area_one(surrogate, width):
    u = torch.linspace(-2, 2, 40_001, dtype=torch.float64)
    assert torch.trapezoid(surrogate(width)(u), u).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("make", [Triangle, Rectangle, lambda v: Exponential(height=v), lambda v: Exponential(rate=v)])
def test_a_surrogate_that_is_no_finite_bump_is_refused(make, value):
    with pytest.raises(ValueError, match="of a surrogate must be"):
        make(value)


def test_surrogates_are_values_known_by_name():
    assert Triangle(2) == Triangle(2.0) != Triangle(1.0)
    assert {name: made.__name__ for name, made in SURROGATES.items()} == {name: name for name in SURROGATES}
