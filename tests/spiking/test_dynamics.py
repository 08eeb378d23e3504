import pytest

from robustsnn.spiking import Dynamics


@pytest.mark.parametrize(
    "wrong", [{"timesteps": 0}, {"timesteps": 2.5}, {"timesteps": True}, {"neuron": 0.9}, {"surrogate": "triangle"}], ids=str
)
def test_dynamics_out_of_range_are_refused(wrong, unchecked):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Dynamics(**wrong)
