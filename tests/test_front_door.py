"""The lines that a user would write first, in Python."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import robustsnn as rs
from robustsnn import cli
from robustsnn.attacks import PGD
from robustsnn.data import Samples
from robustsnn.evaluation import PROTOCOLS, Audit, Judged, Settings
from robustsnn.seeds import generator
from robustsnn.training import Natural, Schedule

pytestmark = pytest.mark.usefixtures("unchecked")

X = torch.rand(12, 1, 4, 4, generator=generator(0, "test front door"))
Y = torch.arange(12) % 3
LOADER = DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True)
QUICKLY = {"attacks": ["FGSM", "PGD-10"], "check": Audit(images=0)}


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)).eval()


@pytest.fixture(scope="module")
def net():
    """A spiking network that gets its samples right."""
    made = body().train()
    rs.train(made, (X, Y), (X, Y), Natural(), Schedule(epochs=60, lr=0.2, batch=4), probe=None)
    return rs.convert(made, LOADER, timesteps=8, scale=1.0, percentile=100, batch_norm="keep").eval()


@pytest.fixture(scope="module")
def report(net):
    return rs.evaluate(net, LOADER, "quick", eps="16/255", **QUICKLY)


def test_a_report_is_a_table_that_people_read(net, report):
    assert repr(report) == str(report)  # notebooks show it
    head, clean, *lines = str(report).splitlines()
    assert head == "spiking network of 8 steps, 12 samples, protocol quick; not audited"
    assert clean.startswith("clean")
    assert [line.split("  ")[0] for line in lines] == ["FGSM, 16/255", "PGD-10, 16/255", "worst case, 16/255"]
    assert lines[1].endswith(str(report.result("PGD-10", 16 / 255).robust))
    assert lines[2].endswith(str(report.worst("16/255")))
    with pytest.raises(ValueError, match=r"PGD at eps 0\.1 was not measured: known are FGSM, PGD-10 at 16/255"):
        report.result("PGD", 0.1)
    audited = rs.evaluate(body(), LOADER, "quick", 0.1, attacks=["FGSM"], check=Audit(images=4, steps=2, queries=2))
    assert "ANN, 12 samples, protocol quick; audit: " in str(audited)


def test_a_report_is_kept_as_three_files(report, tmp_path):
    for name in ("my.html", "my.json"):
        with pytest.raises(ValueError, match=rf"{name} is a file name, but a report is three files: give a folder, as in "):
            report.save(tmp_path / name)
    report.save(tmp_path / "out", name="mine")
    with pytest.raises(ValueError, match=r"report\.json is not a checkpoint: .*, or read a report with .*read_report"):
        rs.load(tmp_path / "out/report.json")
    with pytest.raises(ValueError, match=r"out is a folder: use a checkpoint in it"):
        rs.load(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "report.md"]
    assert "| mine |" in (tmp_path / "out/report.md").read_text()


def test_a_report_is_a_table_of_pandas(report, monkeypatch):
    pytest.importorskip("pandas")
    frame = report.to_frame()
    assert list(frame.attack) == ["FGSM", "PGD-10"]
    assert frame.robust[1] == report.results[1].robust.value
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.to_frame()


def test_a_threat_may_be_given_with_its_radius(net):
    by_value = rs.evaluate(net, LOADER, "quick", threat=rs.L2(0.5), **QUICKLY)
    by_name = rs.evaluate(net, LOADER, "quick", eps=0.5, threat="L2", **QUICKLY)
    assert [result.broken_by for result in by_value.results] == [result.broken_by for result in by_name.results]
    with pytest.raises(ValueError, match=r"L2\(eps=0.5\) already has a radius: leave out eps=0.1"):
        rs.evaluate(net, LOADER, "quick", 0.1, threat=rs.L2(0.5))

    class Own(rs.Linf):
        pass

    with pytest.raises(ValueError, match=r"of an unknown kind: add its class to robustsnn\.threats\.THREATS"):
        rs.evaluate(net, LOADER, "quick", threat=Own(0.1))


@pytest.mark.parametrize("threat", [rs.Linf(16 / 255), rs.L2(0.4)], ids=str)
def test_an_attack_finds_what_the_evaluation_finds(net, threat):
    report = rs.evaluate(net, (X, Y), "quick", threat=threat, check=Audit(images=0))
    adversarial = rs.attack(net, X, Y, threat=threat)
    assert threat.contains(adversarial, X).all()
    assert tuple((net(adversarial).argmax(1) == Y).tolist()) == report.withstood(threat.eps)
    assert 0 < sum(report.withstood(threat.eps)) < 12
    assert torch.equal(rs.attack(net, X.numpy(), Y.numpy(), threat=threat), adversarial)


def test_an_attack_ranks_the_paths_of_a_strict_protocol(net, monkeypatch):
    from dataclasses import replace

    from robustsnn.evaluation import PROTOCOLS

    strict = PROTOCOLS["rigorous"]
    few = tuple(replace(group, attack=PGD(steps=2)) for group in strict.ensembles["rigorous"])
    monkeypatch.setitem(PROTOCOLS, "rigorous", replace(strict, ensembles={"rigorous": few}))
    report = rs.evaluate(net, (X, Y), "rigorous", 0.05, check=Audit(images=0))
    adversarial = rs.attack(net, X, Y, 0.05, protocol="rigorous")
    assert tuple((net(adversarial).argmax(1) == Y).tolist()) == report.withstood(0.05)


ARGUMENTS = {
    "keyword": (lambda net: rs.evaluate(net, LOADER, epsilon=0.1), r"no argument 'epsilon': did you mean 'eps'\?"),
    "device": (lambda net: rs.evaluate(net, LOADER, device="cuda"), r"no argument 'device': .*net\.to\('cuda'\)"),
    "path": (lambda net: rs.evaluate("net.safetensors", LOADER), "open a checkpoint with load"),
    "function": (lambda net: rs.attack(lambda x: net(x), X, Y), "must be an nn.Module, not a function"),
    "class": (lambda net: rs.evaluate(nn.Linear, LOADER), "must be an nn.Module, not the class Linear"),
    "sources": (lambda net: rs.evaluate(net, LOADER, sources=net), "sources must name each network"),
    "check": (lambda net: rs.evaluate(net, LOADER, check=False), r"write Audit\(images=0\) to skip the audit"),
    "threat": (lambda net: rs.judged(net, X, Y, 0.1), r"such as Linf\(0\.1\), not 0\.1"),
    "timesteps": (lambda net: rs.convert(body(), LOADER, 8), "write timesteps="),
    "no channel": (lambda net: rs.evaluate(nn.Conv2d(1, 2, 3), (X[:, 0, :, None], Y)), "cannot take inputs"),
    "compiled": (lambda net: rs.evaluate(torch.compile(body()), LOADER), "pass the plain nn.Module that was compiled$"),
}


@pytest.mark.parametrize("what", ARGUMENTS)
def test_what_is_written_first_and_wrong_is_said_in_a_line(net, what):
    call, line = ARGUMENTS[what]
    with pytest.raises(ValueError, match=line) as caught:
        call(net)
    assert "\n" not in str(caught.value)


def test_one_name_and_one_radius_may_stand_alone(net, report):
    alone = rs.evaluate(net, LOADER, "quick", eps=torch.tensor(16 / 255).double(), attacks="PGD-10", check=Audit(images=0))
    assert [result.attack for result in alone.results] == ["PGD-10"]
    assert alone.worst("16/255") == alone.result("PGD-10", 16 / 255).robust
    assert torch.equal(rs.attack(net, X, Y, 0.1, attacks="FGSM"), rs.attack(net, X, Y, 0.1, attacks=["FGSM"]))
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3))
    assert rs.convert(pooled, LOADER, timesteps=2, allow="max_pool")(X).shape == (12, 3)


def test_one_radius_at_a_time(net):
    with pytest.raises(ValueError, match="one radius, not 2: call it once per radius"):
        rs.attack(net, X, Y, eps=[0.1, 0.2])


class Subsets:
    """An attack of another library: it asks about parts of the samples, in any order, and returns its last iterate."""

    def __call__(self, net, x, y, eps):
        draw = generator(0, "subsets")
        for _ in range(40):
            chosen = torch.randperm(len(x), generator=draw)[:5]
            net((x[chosen] + eps * (2 * torch.rand(x[chosen].shape, generator=draw) - 1).sign()).clamp(0, 1))
        return x


def test_what_another_library_asks_about_is_judged(net):
    judge = rs.judged(net, X, Y, rs.Linf(0.3))
    assert isinstance(judge, Judged)
    Subsets()(judge, X, Y, 0.3)
    assert 0 < judge.broken.sum() < 12
    assert rs.Linf(0.3).contains(judge.adversarial, X).all()
    assert torch.equal(net(judge.adversarial).argmax(1) != Y, judge.broken)
    assert torch.equal(judge.adversarial[~judge.broken], X[~judge.broken])
    assert judge.robust == pytest.approx(1 - float(judge.broken.float().mean()))
    before = judge.adversarial.clone()
    judge(before)
    assert torch.equal(judge.adversarial, before)


def test_what_leaves_the_threat_is_not_judged(net):
    judge = rs.judged(net, X, Y, rs.Linf(0.01))
    Subsets()(judge, X, Y, 0.3)
    assert torch.equal(judge.broken, net(X).argmax(1) != Y)


@pytest.mark.parametrize("path", [None, rs.Rate()], ids=str)
def test_its_gradients_are_those_of_a_path(net, path):
    judge, x = rs.judged(net, X, Y, rs.Linf(0.1), path=path), X.clone().requires_grad_()
    expected = X.clone().requires_grad_()
    judge(x).sum().backward()
    (net if path is None else path(net))(expected).sum().backward()
    assert torch.equal(x.grad, expected.grad)
    assert x.grad.norm() > 0


def test_a_judged_network_stays_in_eval_mode(net):
    """torchattacks ends an attack with ``train()`` if the network began in that mode, as every new module does."""
    made = convert_with_norm()
    before = copy.deepcopy(made.state_dict())
    judge = rs.judged(made, X, Y, rs.Linf(0.1))
    assert not judge.training
    assert judge.train() is judge
    judge(X)
    assert {module.training for module in judge.modules()} == {False}
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


def convert_with_norm():
    ann = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    return rs.convert(ann.eval(), [X], timesteps=2)


WRONG = {
    "a threat without radius": (lambda net: rs.judged(net, X, Y, rs.Linf), "threat must be a threat with its radius"),
    "a radius without threat": (lambda net: rs.judged(net, X, Y, 0.1), r"threat must be a threat .*, not 0\.1"),
    "a path's class": (lambda net: rs.judged(net, X, Y, rs.Linf(0.1), path=rs.Rate), r"path must be a value such as Rate\(\)"),
    "a path's name": (lambda net: rs.judged(net, X, Y, rs.Linf(0.1), path="Rate()"), "path must be a value"),
    "no samples to judge": (lambda net: rs.judged(net, X[:0], Y[:0], rs.Linf(0.1)), "data hold no samples"),
    "no samples to attack": (lambda net: rs.attack(net, X[:0], Y[:0], 0.1), "data hold no samples"),
    "a class as threat": (lambda net: rs.attack(net, X, Y, threat=rs.L2), r"L2 has no radius: give it one, as in L2\(0\.1\)"),
    "no attacks": (lambda net: rs.attack(net, X, Y, 0.1, attacks=[]), "at least one attack"),
    "no protocol": (lambda net: rs.attack(net, X, Y, 0.1, protocol=None), "unknown protocol 'None'"),
    "settings and an audit": (
        lambda net: rs.evaluate(net, LOADER, Settings(protocol="quick"), check=Audit(0)),
        "Settings and keywords cannot be combined",
    ),
    "half an image": (lambda net: Audit(images=1.5), "images of Audit must be a whole number"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_was_meant_otherwise_is_said_in_a_line(what, net):
    call, line = WRONG[what]
    with pytest.raises(ValueError, match=line):
        call(net)


@pytest.mark.parametrize("eps", [torch.tensor(0.1), np.float32(0.1), np.array(0.1)], ids=type)
def test_a_radius_may_be_a_number_of_another_library(eps, net):
    assert torch.equal(rs.attack(net, X, Y, eps, attacks="FGSM"), rs.attack(net, X, Y, 0.1, attacks=["FGSM"]))


def test_the_extent_of_the_audit_does_not_make_another_protocol(net):
    quick = PROTOCOLS["quick"]
    one, other = (rs.evaluate(net, LOADER, each, 0.1, **QUICKLY) for each in (quick, replace(quick, audit=Audit(3, 2, 2))))
    assert one.protocol == other.protocol
    assert one.compare(other).won == 0


def test_two_reports_are_compared_sample_by_sample(net, report):
    same = report.compare(report)
    assert (same.won, same.lost, same.told_apart) == (0, 0, False)
    other = rs.evaluate(body(), LOADER, "quick", eps="16/255", **QUICKLY)
    pair = report.compare(other, "16/255")
    survivors = report.withstood(16 / 255), other.withstood(16 / 255)
    assert pair.won - pair.lost == sum(survivors[0]) - sum(survivors[1]) > 0
    assert str(pair).startswith(f"at 16/255: {pair.won - pair.lost} more of 12 samples, +")
    assert "significant difference, McNemar p = " in str(pair)
    for wrong, line in (
        (rs.evaluate(net, LOADER, "quick", threat=rs.L2(0.5), **QUICKLY), "same threat to be compared, not Linf and L2"),
        (
            rs.evaluate(net, (X[:4], Y[:4]), "quick", "16/255", **QUICKLY),
            "same number of samples .* not 12 and 4",
        ),
        (rs.evaluate(net, LOADER, "quick", 0.3, **QUICKLY), "no radius in common"),
        (
            rs.evaluate(net, LOADER, "quick", "16/255", **{**QUICKLY, "attacks": ["FGSM"]}),
            "same attacks to be compared, not FGSM, PGD-10 and FGSM",
        ),
        (rs.evaluate(net, LOADER, "quick", "16/255", rule="last", **QUICKLY), "same rule to be compared, not any and last"),
    ):
        with pytest.raises(ValueError, match=line):
            report.compare(wrong)


def test_reports_of_other_samples_of_equal_number_are_not_compared(net):
    def on(x, y):
        return rs.evaluate(net, (x, y), "quick", 0.1, attacks=["FGSM"], check=Audit(images=0))

    bytes_of = (X * 255).round().to(torch.uint8)
    told = on(bytes_of, Y)
    assert told.compare(on(bytes_of.float() / 255, Y)).checked
    for other in (on(bytes_of.flip(0), Y.flip(0)), on(bytes_of, Y.roll(1))):
        with pytest.raises(ValueError, match="reports are of other samples, or of the same in another order: evaluate both"):
            told.compare(other)
    pair = told.compare(told.model_copy(update={"samples": ""}))
    assert not pair.checked
    assert str(pair).endswith("; an older report does not say whether its samples are the same")


def test_a_network_that_does_not_beat_chance_is_pointed_out(net, report, tmp_path):
    assert not report.caution
    shifted = rs.evaluate(net, (X, (Y + 1) % 3), "quick", 0.1, attacks=["FGSM"], check=Audit(images=0))
    told = "clean accuracy is not above chance (1/3), so robust accuracy means nothing: check that inputs are normalised once"
    assert shifted.clean.value <= 1 / 3
    assert str(shifted).splitlines()[-1].startswith(f"caution: {told}")
    shifted.save(tmp_path / "out")
    assert f"**Caution:** network: {told}" in (tmp_path / "out/report.md").read_text()
    assert not shifted.model_copy(update={"classes": None}).caution  # of an older version


def test_wrappers_and_firing_rates_are_at_hand():
    from robustsnn import deploy, evaluation

    assert (rs.from_snntorch, rs.from_spikingjelly) == (deploy.from_snntorch, deploy.from_spikingjelly)
    assert rs.firing_rates is evaluation.firing_rates
    assert {"from_snntorch", "from_spikingjelly", "firing_rates"} <= {*dir(rs)}


class Told:
    """A logger."""

    def __init__(self):
        self.lines = []

    def log_metrics(self, metrics, step=None):
        self.lines.append((step, metrics))


def test_training_takes_another_optimizer_and_tells_a_logger(tmp_path):
    logger, ends = Told(), []
    for optimizer in (None, torch.optim.AdamW):
        made = body().train()
        arguments = LOADER, (X, Y), "Trades(beta=6, eps=8/255, steps=1)", Schedule(epochs=2, lr=0.01, batch=4)
        history = rs.train(made, *arguments, probe=None, optimizer=optimizer, logger=logger, state=tmp_path / f"{optimizer}")
        ends.append(made[1].weight)
    assert not torch.equal(*ends)
    assert [step for step, _ in logger.lines] == [0, 1, 0, 1]
    assert logger.lines[-1][1]["loss"] == history[-1].loss
    assert set(logger.lines[-1][1]) >= {"loss", "clean", "robust", "lr"}


def test_a_training_is_not_continued_by_another_optimizer(tmp_path):
    arguments = (X, Y), (X, Y), Natural(), Schedule(epochs=1, lr=0.01, batch=4)
    rs.train(body(), *arguments, probe=None, state=tmp_path / "state")
    with pytest.raises(ValueError, match="a training with other settings"):
        rs.train(body(), *arguments, probe=None, state=tmp_path / "state", optimizer=torch.optim.Adam)


def test_a_recipe_is_carried_out(tmp_path):
    recipe = Path(__file__).parent / "small.toml"
    value = rs.run(recipe, tmp_path / "out", until="evaluate", evaluation={"limit": 3})
    assert value.rows[0].report.images == 3
    assert (tmp_path / "out/snn.safetensors").is_file()
    with pytest.raises(ValueError, match="choose another --out"):
        rs.run(recipe, tmp_path / "out", seed=3)
    with pytest.raises(ValueError, match="did you mean 'limit'"):
        rs.run(recipe, tmp_path / "other", evaluation={"limt": 3})
    assert not (tmp_path / "other").exists()


COPIES = {
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda net, n=n: pickle.loads(pickle.dumps(net, n)) for n in (2, pickle.HIGHEST_PROTOCOL)},
    "torch.save": lambda net: through_torch(net),
}


def through_torch(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


class Functional(nn.Module):
    """A body that conversion writes anew."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.relu(self.first(x.flatten(1))))


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("make", [body, Functional], ids=lambda make: make.__name__)
def test_a_spiking_network_is_copied_as_python_copies(way, make):
    net = rs.convert(make().eval(), Samples(X, Y, 3), timesteps=3, calibration_timesteps=5).eval()
    assert torch.equal(COPIES[way](net)(X), net(X))


def test_a_first_look_pays_for_nothing_that_it_does_not_use():
    code = """if True:
        import sys
        import robustsnn
        from robustsnn.attacks import PGD
        net = robustsnn.load("zoo:digits-robust")
        assert "torch._dynamo" not in sys.modules, "torch's compiler takes a second to import"
        import torch
        x = torch.rand(2, 1, 8, 8)
        robustsnn.evaluate(net, (x, net(x).argmax(1)), "quick", 0.1, attacks=["FGSM"])
        assert not {"torch._dynamo", "lightning_fabric", "sklearn", "matplotlib", "pandas"} & {*sys.modules}
    """
    subprocess.run([sys.executable, "-c", code], check=True)


HEAVY = {
    "torch._dynamo",
    "torch._inductor",
    "lightning_fabric",
    "sklearn",
    "scipy",
    "matplotlib",
    "pandas",
    "pyarrow",
    "datasets",
}


@pytest.mark.parametrize(
    ("code", "light"),
    [
        ("import robustsnn", {"torch", "numpy", "pydantic", "rich", *HEAVY}),
        (
            "import robustsnn; robustsnn.evaluate, robustsnn.convert, robustsnn.train, robustsnn.load",
            {"tyro", "jinja2", *HEAVY},
        ),
        (
            "from robustsnn.cli.entry import main; main('evaluate zoo:digits-robust --protocol quick --eps 0.1 --limit 12 "
            "--attacks FGSM --audit-images 8'.split())",
            HEAVY,
        ),
    ],
    ids=["import", "names", "command"],
)
def test_modules_that_take_long_to_import_are_imported_only_where_they_are_used(code, light, tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('modules', *sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert not light & {*said.stdout.split("modules ")[-1].split()}


def test_a_protocol_says_how_thoroughly_it_is_audited(net):
    few = rs.evaluate(net, LOADER, "quick", 0.1, attacks=["FGSM"])
    usual = PROTOCOLS["quick"].audit
    assert few.audited == replace(usual, images=12)
    assert few.settings.audit_steps == usual.steps
    asked = rs.evaluate(net, LOADER, "quick", 0.1, attacks=["FGSM"], audit_steps=3)
    assert asked.audited == replace(usual, images=12, steps=3)
    assert PROTOCOLS["rigorous"].audit == Audit(64, 1000, 1000)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The Hugging Face Hub without a network: uploads land in the library's own cache, where it looks when offline."""
    library = pytest.importorskip("huggingface_hub")

    def upload(self, *, repo_id, folder_path, commit_message):
        there = tmp_path / f"models--{repo_id.replace('/', '--')}"
        (there / "refs").mkdir(parents=True)
        (there / "refs/main").write_text("0" * 40)
        shutil.copytree(folder_path, there / "snapshots" / ("0" * 40))
        return f"https://hub/{repo_id}"

    monkeypatch.setattr(library.HfApi, "create_repo", lambda self, repo, **options: repo)
    monkeypatch.setattr(library.HfApi, "upload_folder", upload)
    download = partial(library.hf_hub_download, cache_dir=tmp_path, local_files_only=True)
    monkeypatch.setattr(library, "hf_hub_download", download)
    return lambda repo: tmp_path / f"models--{repo.replace('/', '--')}/snapshots" / ("0" * 40)


def test_a_network_is_shared_on_the_hub_and_comes_back(hub):
    net = rs.load("zoo:digits-robust")
    assert net.push_to_hub("me/net") == "https://hub/me/net"
    again = rs.load("hf://me/net")
    x = torch.rand(3, 1, 8, 8, generator=generator(0, "hub"))
    assert torch.equal(again(x), net(x))
    assert again.recipe == net.recipe
    assert torch.equal(rs.load("hf://me/net@main")(x), net(x))
    card = pytest.importorskip("huggingface_hub").ModelCard.load(hub("me/net") / "README.md")
    assert card.data.library_name == "robustsnn"
    assert 'robustsnn.load("hf://me/net")' in card.text
    assert "was not measured" in card.text


def test_a_card_holds_what_was_measured_and_says_when_a_body_is_needed(hub, net, report):
    net.push_to_hub("me/own", report=report)
    text = (hub("me/own") / "README.md").read_text()
    assert str(report) in text
    assert {"report.html", "report.json", "report.md"} <= {path.name for path in hub("me/own").iterdir()}
    assert 'robustsnn.load("hf://me/own", body)' in text
    assert torch.equal(rs.load("hf://me/own", body())(X), net(X))


def test_what_the_hub_lacks_is_said_in_a_line(hub, monkeypatch):
    with pytest.raises(ValueError, match=r"cannot get model\.safetensors of hf://me/none: "):
        rs.load("hf://me/none")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'robustsnn\[hub\]'"):
        rs.load("hf://me/none")
    with pytest.raises(ValueError, match=r"pip install 'robustsnn\[hub\]'"):
        rs.load("zoo:digits-robust").push_to_hub("me/net")


def test_the_command_line_shows_what_was_shared(hub, net, report, capsys):
    net.push_to_hub("me/own", report=report)
    assert cli.main(["info", "hf://me/own"]) == 0
    said = capsys.readouterr().out
    assert f"{report.images} test samples" in said
    assert "me/own" in said


def test_what_cannot_be_shared_is_said_in_a_line(hub, net, report, monkeypatch):
    whole = SimpleNamespace(rows=(report,), model_dump=dict)  # a run's
    with pytest.raises(ValueError, match=r"report\.rows\[-1\]\.report"):
        net.push_to_hub("me/own", report=whole)

    def unreachable(*given, **options):
        raise TimedOut("no route to host")

    library = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(library.HfApi, "create_repo", unreachable)
    with pytest.raises(ValueError, match=r"cannot upload to me/own: no route to host.*hf auth login"):
        net.push_to_hub("me/own")
    monkeypatch.setattr(library, "hf_hub_download", unreachable)
    with pytest.raises(ValueError, match=r"cannot get model\.safetensors of hf://me/own: no route to host"):
        rs.load("hf://me/own")


def test_what_is_saved_or_loaded_the_wrong_way_round_is_said_in_a_line(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match=r"write save\(path, net\)"):
        rs.save(body(), path)
    rs.save(path, body())
    with pytest.raises(ValueError, match=r"body is the class Sequential, not a network: pass Sequential\(\)"):
        rs.load(path, nn.Sequential)
    weights = path.with_suffix(".pt")
    torch.save(body().state_dict(), weights)
    with pytest.raises(ValueError, match=r"net\.pt is .*not a safetensors file.*robustsnn\.save\(path, net\)"):
        rs.load(weights)


class TimedOut(Exception):
    """As of the hub's own transport: neither an OSError nor a ValueError."""


def test_what_was_loaded_is_saved_with_its_recipe(tmp_path):
    net = rs.load("zoo:digits-robust")
    rs.save(tmp_path / "again.safetensors", net.replace(timesteps=4))
    again = rs.load(tmp_path / "again.safetensors")
    assert (again.timesteps, again.recipe) == (4, net.recipe)


def test_a_recipe_written_on_one_network_is_not_that_of_all():
    one, other = rs.SpikingNetwork(nn.Sequential(nn.ReLU())), rs.SpikingNetwork(nn.Sequential(nn.ReLU()))
    one.recipe["model"] = {"name": "digits"}
    assert other.recipe == {}


CHANGES = {
    "another head": lambda body: body.classifier.append(nn.Linear(10, 10)),
    "a layer without tensors": lambda body: body.classifier.append(nn.Softmax(1)),
    "another pool": lambda body: setattr(body.features, "6", nn.MaxPool2d(2)),
    "another pool size": lambda body: setattr(body.features[6], "stride", 1),
    "another norm": lambda body: setattr(body.features[1], "eps", 0.1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_changed_by_hand_is_not_saved_with_the_recipe_of_another(change, tmp_path):
    net = rs.load("zoo:digits-robust")
    CHANGES[change](net.body)
    with pytest.raises(ValueError, match="does not make the body of this network"):
        rs.save(tmp_path / "again.safetensors", net)
    assert not (tmp_path / "again.safetensors").exists()


def test_a_network_is_loaded_to_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        net = rs.load("zoo:digits-robust")
    assert torch.equal(net(torch.zeros(1, 1, 8, 8)), rs.load("zoo:digits-robust")(torch.zeros(1, 1, 8, 8)))
