"""Recipes: TOML there and back, and every mistake named by its key, with the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustsnn.attacks import PGD
from robustsnn.data import digits
from robustsnn.models import create
from robustsnn.recipes import load_recipe, packaged
from robustsnn.recipes.recipe import Recipe, from_table, from_toml
from robustsnn.recipes.working import Run
from robustsnn.spiking import LIF, PLIF, Dynamics, Exponential, MultiSpike
from robustsnn.threats import L2, Linf
from robustsnn.training import RobustFinetuning, Schedule, Trades
from robustsnn.training.objectives import within

pytestmark = pytest.mark.usefixtures("unchecked")

POSITIVE = st.floats(1e-6, 1e6)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
RECIPES = st.fixed_dictionaries(
    {"name": WORDS},
    optional={
        "seed": st.integers(0, 2**62),
        "timesteps": st.integers(1, 100),
        "data": st.fixed_dictionaries(
            {}, optional={"limit": st.integers(2, 99), "flip": st.booleans(), "pad": st.integers(0, 4)}
        ),
        "model": st.fixed_dictionaries(
            {"name": st.just("vgg"), "plan": st.lists(st.integers(1, 9) | st.just("A"), max_size=4)},
            optional={"width": POSITIVE, "hidden": st.lists(st.integers(1, 9), max_size=2), "conv_bias": st.booleans()},
        ),
        "neurons": st.fixed_dictionaries(
            {},
            optional={
                "leak": st.floats(1e-3, 1),
                "reset": st.sampled_from(["zero", "subtract"]),
                "surrogate": st.sampled_from(["Triangle(2.0)", "Exponential(height=0.3, rate=2)", "StraightThrough"]),
            },
        ),
        "pretrain": st.fixed_dictionaries({}, optional={"lr": POSITIVE, "probe": st.sampled_from(["", "FGSM(goal=DLR)"])}),
        "finetune": st.fixed_dictionaries({}, optional={"threshold_floor": POSITIVE, "momentum": st.floats(0, 0.99)}),
        "evaluation": st.fixed_dictionaries(
            {}, optional={"eps": st.lists(st.floats(0, 1), min_size=1, max_size=3), "rule": st.sampled_from(["any", "last"])}
        ),
        "baselines": st.dictionaries(
            st.sampled_from(["natural", "other"]), st.fixed_dictionaries({"timesteps": st.integers(1, 9)}), max_size=2
        ),
    },
)


@given(RECIPES)
def test_a_recipe_survives_toml(table):
    recipe = from_table(table, "here")
    assert from_toml(recipe.toml().decode(), "there") == recipe
    assert from_table(recipe.table(), "there") == recipe


@given(RECIPES)
def test_what_is_given_is_what_the_recipe_says(table):
    whole = from_table(table, "here").table()
    for key, value in table.items():
        if key == "baselines" or not isinstance(value, dict):
            assert whole[key] == value
        else:
            assert whole[key] == whole[key] | value


@pytest.mark.parametrize("name", packaged())
def test_every_packaged_recipe_and_its_baselines_can_be_run(name):
    recipe = load_recipe(name)
    for each in (recipe, *(recipe.baseline(other) for other in recipe.baselines)):
        assert each.name == name
        for training in (each.pretrain, each.finetune):
            assert training.value()
            assert not training.epochs or training.schedule()
            assert training.stops()
            assert isinstance(training.acts(), tuple)
            assert (training.attack() is None) == (training.probe == "")
        assert each.dynamics().timesteps == each.timesteps


def test_the_demo_is_packaged():
    assert "digits" in packaged()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_a_recipe_is_loaded_from_a_file_too(mark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_bytes(mark + load_recipe("digits").toml())
    (tmp_path / "next.toml").write_text('extends = "own.toml"\nname = "digits"\n')
    assert load_recipe("own.toml") == load_recipe("next.toml") == load_recipe("digits")


def recipe(**table) -> Recipe:
    return from_table({"name": "test", **table}, "here")


def test_defaults_are_the_published_ones():
    value = recipe()
    assert value.dynamics() == Dynamics(8)
    assert value.pretrain.schedule() == Schedule(epochs=200, batch=64, lr=0.1, momentum=0.9, weight_decay=5e-4)
    assert value.pretrain.value() == Trades(beta=6, eps=2 / 255, steps=10)
    assert value.finetune.schedule() == Schedule(epochs=60, batch=64, lr=0.001, momentum=0.9, weight_decay=1e-3)
    assert value.finetune.value() == RobustFinetuning(eps=2 / 255, alpha=1 / 255, beta=2)
    conversion = value.conversion
    assert (conversion.scale, conversion.percentile, conversion.timesteps, conversion.batches) == (0.3, 99.7, 100, 11)
    assert value.finetune.threshold_floor == 0.03
    assert value.evaluation.eps == (2 / 255, 4 / 255, 8 / 255)


def test_texts_become_the_values_they_spell():
    value = recipe(
        pretrain={"objective": "Trades(beta=3, eps=4/255)", "probe": ""},
        finetune={"objective": "RobustFinetuning(0.1, alpha=0.05)", "probe": "PGD(steps=5)", "probe_threat": "Linf(8/255)"},
        neurons={"surrogate": "Exponential(0.3, rate=2)", "leak": 0.5},
    )
    assert value.pretrain.value() == Trades(beta=3, eps=4 / 255)
    assert value.finetune.value() == RobustFinetuning(0.1, 0.05)
    assert (value.finetune.attack(), value.finetune.threat()) == (PGD(5), Linf(8 / 255))
    assert value.dynamics() == Dynamics(8, neuron=LIF(leak=0.5), surrogate=Exponential(0.3, 2))
    assert recipe(neurons={"train_leak": True, "start": 0.5}).dynamics().neuron == PLIF(start=0.5)
    assert recipe(neurons={"kind": "MultiSpike(3)"}).dynamics().neuron == MultiSpike(3)


@pytest.mark.parametrize(
    ("given", "probe", "threat"),
    [
        ({}, PGD(10), Linf(2 / 255)),
        ({"objective": "Natural()"}, None, Linf(2 / 255)),
        ({"objective": "Regularized(Natural(), SparseGradients(), 0.1)"}, PGD(10), Linf(2 / 255)),
        ({"objective": "Natural()", "probe": "PGD"}, PGD(), Linf(2 / 255)),
        ({"objective": "Trades(eps=8/255)"}, PGD(10), Linf(8 / 255)),
        ({"objective": "Trades(threat=L2(0.5))"}, PGD(10), L2(0.5)),
        ({"objective": "WeightPerturbed(RobustFinetuning(eps=0.1, alpha=0.05))"}, PGD(10), Linf(0.1)),
        ({"objective": "Regularized(Hire(threat=L2(0.1)), MembraneMargin(), 0.1)"}, PGD(10), L2(0.1)),
        ({"probe": ""}, None, Linf(2 / 255)),
    ],
    ids=str,
)
def test_a_training_without_a_probe_is_judged_under_its_own_threat(given, probe, threat):
    for training in (
        recipe(pretrain=given).pretrain,
        recipe(baselines={"other": {"pretrain": given}}).baseline("other").pretrain,
    ):
        assert training.attack() == probe
        assert training.threat() is None
        assert within(training.value()) == threat


def test_numbers_may_be_fractions():
    value = recipe(evaluation={"eps": ["8/255", 0.1, "1/2"]}, finetune={"lr": "1/100"}, model={"width": "1/4"})
    assert value.evaluation.eps == (8 / 255, 0.1, 0.5)
    assert (value.finetune.lr, value.model.width) == (0.01, 0.25)


def test_further_keys_of_the_model_reach_its_architecture():
    data = digits()
    model = recipe(model={"name": "vgg", "plan": [3, "A"], "hidden": [5], "width": 2}).model
    body = create(**model.architecture(data, seed=0))
    assert (body.features[0].out_channels, body.classifier[-1].in_features) == (6, 10)
    assert (body.classifier[-1].out_features, body.features[0].in_channels) == (10, 1)


def test_a_baseline_differs_in_the_keys_it_names_alone():
    changes = {"timesteps": 2, "pretrain": {"objective": "Natural()", "probe": ""}, "model": {"name": "vggmini"}}
    value = recipe(pretrain={"epochs": 7}, model={"width": 0.5}, baselines={"natural": changes})
    expected = {"timesteps": 2, "pretrain": {"epochs": 7, **changes["pretrain"]}, "model": {"name": "vggmini", "width": 0.5}}
    assert value.baseline("natural") == recipe(**expected)


MISTAKES = [
    ({"seeed": 1}, r"unknown key 'seeed': did you mean 'seed'\?"),
    ({"finetune": {"lrr": 1}}, r"unknown key 'finetune\.lrr': did you mean 'lr'\?"),
    ({"finetune": {"treshold_floor": 1}}, r"unknown key 'finetune\.treshold_floor': did you mean 'threshold_floor'\?"),
    ({"pretrain": {"threshold_floor": 1}}, r"unknown key 'pretrain\.threshold_floor'"),
    ({"evaluation": {"epsilon": [0.1]}}, r"unknown key 'evaluation\.epsilon': did you mean 'eps'\?"),
    ({"baselines": {"natural": {"timestep": 1}}}, r"baseline 'natural'.*'timestep': did you mean 'timesteps'\?"),
    ({"baselines": {"../up": {}}}, r"baseline '\.\./up'.*letters"),
    ({"baselines": {"robust": {"timesteps": 2}}}, r"baseline 'robust'"),
    ({"baselines": {"natural": 3}}, r"baselines\.natural"),
    ({"timesteps": 0}, r"timesteps: .*greater than or equal to 1 .*given: '0'"),
    ({"timesteps": "many"}, r"timesteps: .*'many'"),
    ({"seed": -1}, r"seed: .*given: '-1'"),
    ({"finetune": {"lr": -1}}, r"finetune\.lr: .*greater than 0"),
    ({"finetune": {"lr": "1/0"}}, r"finetune\.lr: .*'1/0' is not a number"),
    ({"finetune": {"lr": float("nan")}}, r"finetune\.lr"),
    ({"finetune": {"lr": float("inf")}}, r"finetune\.lr"),
    ({"finetune": {"epochs": 1.5}}, r"finetune\.epochs: .*'1\.5'"),
    ({"finetune": 3}, r"finetune: .*"),
    ({"neurons": {"leak": 1.5}}, r"neurons\.leak: .*less than or equal to 1"),
    ({"neurons": {"kind": "MultiSpike(4)", "leak": 0.9}}, r"neurons: leak, reset.* belong to LIF: set them inside kind"),
    ({"neurons": {"kind": "Spikey"}}, r"unknown neuron 'Spikey': .*LIF, MultiSpike, PLIF"),
    ({"neurons": {"reset": "none"}}, r"neurons\.reset: .*'zero' or 'subtract'"),
    ({"neurons": {"surrogate": "Tringle(1)"}}, r"neurons\.surrogate: .*did you mean 'Triangle'\?"),
    ({"neurons": {"surrogate": "Triangle(-1)"}}, r"neurons\.surrogate: .*greater than 0, not -1"),
    ({"neurons": {"surrogate": "Triangle(height=1)"}}, r"neurons\.surrogate: .*no field 'height'.*width"),
    ({"neurons": {"surrogate": ""}}, r"neurons\.surrogate"),
    ({"neurons": {"surrogate": "3"}}, r"neurons\.surrogate"),
    ({"pretrain": {"objective": "Trade()"}}, r"pretrain\.objective: .*did you mean 'Trades'\?"),
    ({"pretrain": {"objective": "Trades(bta=6)"}}, r"pretrain\.objective: .*did you mean 'beta'\?"),
    ({"pretrain": {"objective": "Trades(1, 2, 3, 4)"}}, r"pretrain\.objective: .*Trades"),
    ({"pretrain": {"objective": "Trades("}}, r"pretrain\.objective: .*cannot be read"),
    ({"pretrain": {"objective": "__import__('os')"}}, r"pretrain\.objective: .*__import__"),
    ({"pretrain": {"objective": ""}}, r"pretrain\.objective"),
    ({"pretrain": {"objective": "3"}}, r"pretrain\.objective"),
    ({"pretrain": {"objective": "Trades(eps=-1)"}}, r"pretrain\.objective: .*-1"),
    ({"pretrain": {"objective": "Trades(beta='much')"}}, r"pretrain\.objective"),
    ({"finetune": {"objective": "RobustFinetuning(eps=0.1, alpha=0.2)"}}, r"finetune\.objective: .*alpha"),
    ({"finetune": {"probe": "PDG(steps=3)"}}, r"finetune\.probe: .*did you mean 'PGD'\?"),
    ({"finetune": {"probe": "PGD(eps=0.1)"}}, r"finetune\.probe: .*leave out eps and norm.*probe_threat"),
    ({"finetune": {"probe_threat": "Linf(-0.1)"}}, r"finetune\.probe_threat: .*at least 0, not -0\.1"),
    ({"evaluation": {"threat": "L3"}}, r"evaluation\.threat: .*did you mean 'L2'"),
    ({"finetune": {"probe": "PGD(0)"}}, r"finetune\.probe: .*steps of PGD must be a whole number of at least 1"),
    ({"finetune": {"probe": "8/255"}}, r"finetune\.probe"),
    ({"data": {"name": "digit"}}, r"data\.name: .*did you mean 'digits'\?"),
    ({"data": {"name": ""}}, r"data\.name"),
    ({"data": {"validation": 1}}, r"data\.validation: .*less than 1"),
    ({"model": {"name": "vg"}}, r"model\.name: .*did you mean 'vgg'\?"),
    ({"conversion": {"batch_norm": "rest"}}, r"conversion\.batch_norm: .*'reestimate', 'reset' or 'keep'"),
    ({"evaluation": {"protocol": "papr"}}, r"evaluation\.protocol: .*did you mean 'paper'\?"),
    ({"evaluation": {"attacks": ["PGD-21"]}}, r"evaluation: .*did you mean 'PGD-20'\?"),
    ({"evaluation": {"eps": [-0.1]}}, r"evaluation\.eps.*at least 0, not -0\.1"),
    ({"evaluation": {"eps": []}}, r"evaluation\.eps"),
    ({"evaluation": {"rule": "first"}}, r"evaluation\.rule"),
]


@pytest.mark.parametrize(("table", "line"), MISTAKES, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_a_mistake_is_named_by_its_key_in_one_line(table, line):
    with pytest.raises(ValueError, match=line) as caught:
        recipe(**table)
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_a_recipe_needs_a_name():
    with pytest.raises(ValueError, match="here: name: Field required"):
        from_table({}, "here")


@given(st.text(max_size=200))
def test_text_that_is_no_recipe_is_refused_by_its_place(text):
    with pytest.raises(ValueError, match=r"here"):
        from_toml(text, "here")


TOML = st.recursive(
    st.sampled_from(["1", "-3", "1e400", "nan", "true", '"x"', "1979-05-27", "9" * 40, "[]", "{}", '"' + "(" * 300 + '"']),
    lambda inner: st.lists(inner, max_size=2).map(lambda parts: f"[{', '.join(parts)}]"),
    max_leaves=3,
)
KEYS = st.sampled_from(
    [f"{section}.{key}" for section, part in recipe().table().items() if isinstance(part, dict) for key in (*part, "x")]
    + [
        "name",
        "seed",
        "timesteps",
        "model.plan",
        "baselines.natural",
        "baselines.natural.seed",
        "baselines.natural.model.name",
    ]
)


@given(st.dictionaries(KEYS, TOML, max_size=3))
def test_any_value_for_any_key_is_taken_or_refused_never_worse(lines):
    text = "\n".join(f"{key} = {value}" for key, value in ({"name": '"x"'} | lines).items())
    try:
        value = from_toml(text, "here")
    except ValueError as error:
        assert str(error).startswith("here")  # noqa: PT017
    else:
        assert from_toml(value.toml().decode(), "there") == value


def test_toml_nested_without_end_is_refused():
    with pytest.raises(ValueError, match="here"):
        from_toml(f"a = {'[' * 100_000}", "here")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("digts", r"unknown recipe .*'digts': did you mean 'digits'\?"),
        ("/nowhere/my.toml", r"cannot read recipe /nowhere/my\.toml: No such file"),
    ],
)
def test_a_recipe_that_is_not_there_is_said(name, line):
    with pytest.raises(ValueError, match=line):
        load_recipe(name)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name = ", b"\0", b'name = "a"\nname = "b"'])
def test_a_file_that_is_no_toml_is_named(content, tmp_path):
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"my\.toml"):
        load_recipe(str(path))
    with pytest.raises(ValueError, match=r"cannot read recipe"):
        load_recipe(str(path / "my.toml"))


def test_a_recipe_extends_another_key_by_key(tmp_path):
    base, own = tmp_path / "base.toml", tmp_path / "own.toml"
    base.write_text('name = "base"\nseed = 3\n[pretrain]\nepochs = 7\nlr = 0.5\n[baselines.slow]\npretrain = { lr = 0.1 }\n')
    own.write_text(f'extends = "{base}"\nname = "own"\n[pretrain]\nepochs = 2\n[baselines.slow.pretrain]\nbatch = 8\n')
    found = load_recipe(str(own))
    assert (found.name, found.seed, found.pretrain.epochs, found.pretrain.lr) == ("own", 3, 2, 0.5)
    slow = found.baseline("slow").pretrain
    assert (slow.epochs, slow.lr, slow.batch) == (2, 0.1, 8)
    assert from_toml(found.toml().decode(), "written") == found


def test_another_protocol_in_a_file_runs_its_own_attacks(tmp_path):
    own = tmp_path / "own.toml"
    for line, attacks in (("", ()), ('attacks = ["FGSM"]', ("FGSM",))):
        own.write_text(f'extends = "digits"\nname = "own"\n[evaluation]\nprotocol = "quick"\n{line}\n')
        assert load_recipe(str(own)).evaluation.attacks == attacks
        assert load_recipe(str(own)).evaluation.eps == load_recipe("digits").evaluation.eps


@pytest.mark.parametrize("base", ['"own.toml"', "3", '"nowhere.toml"', '"digts"'])
def test_a_recipe_that_extends_itself_or_nothing_is_refused(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(f'extends = {base}\nname = "own"\n')
    with pytest.raises(ValueError, match=r"extends|nowhere\.toml|did you mean 'digits'"):
        load_recipe("own.toml")


def test_one_of_the_baselines_is_a_recipe_of_its_own():
    alone = load_recipe("cifar10-small:snn_rat")
    assert (alone.name, alone.conversion.threshold, alone.pretrain.epochs) == ("cifar10-small-snn_rat", 1.0, 0)
    assert alone.baselines == {}
    with pytest.raises(ValueError, match="did you mean 'natural'"):
        load_recipe("digits:naturl")


def test_what_is_compared_can_be_chosen(tmp_path):
    two = {"a": {"seed": 1}, "b": {"seed": 2}}
    labels = {key: [run.label for run in Run(recipe(baselines=two, **chosen), tmp_path).everyone] for key, chosen in
              {"all": {}, "one": {"compare": ["b"]}, "none": {"compare": []}}.items()}  # fmt: skip
    assert labels == {"all": ["robust", "a", "b"], "one": ["robust", "b"], "none": ["robust"]}
    with pytest.raises(ValueError, match="did you mean 'a'"):
        recipe(baselines=two, compare=["aa"])


def test_the_width_of_an_ann_from_outside_is_its_own_matter():
    assert recipe(ann="nets:make", model={"depth": 3}).ann == "nets:make"
    with pytest.raises(ValueError, match=r"model\.width does not apply to your own ANN"):
        recipe(ann="nets:make", model={"width": 0.5})
