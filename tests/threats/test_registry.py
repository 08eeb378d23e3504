import pytest

from robustsnn.threats import L2, THREATS, USUAL, Linf, kind, threat


def test_text_spells_a_threat():
    assert threat("Linf(8/255)") == Linf(8 / 255) == Linf()
    assert threat("L2") == L2() == L2(0.5)
    assert kind(USUAL)(0.1) == Linf(0.1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("L3(0.5)", "did you mean 'L"),
        ("Linf(8)", "write 8/255"),
        ("L2(-1)", "at least 0"),
        ("L2(p=3)", "no field 'p'"),
    ],
)
def test_what_is_not_a_threat_is_named(text, line):
    with pytest.raises(ValueError, match=line):
        threat(text)


def test_threats_are_values_that_reports_spell():
    assert [each.spelled for each in (Linf(8 / 255), Linf(0.01), Linf(0.0), L2(0.5), L2(8 / 255))] == [
        *("8/255", "0.01", "0", "L2 0.5", "L2 0.0314")
    ]
    assert {name: made.__name__ for name, made in THREATS.items()} == {name: name for name in THREATS}
    for each in (Linf(0.1), L2(0.1)):
        assert each.scaled(0.2) == type(each)(0.2) != each
        assert hash(each.scaled(0.1)) == hash(each)
