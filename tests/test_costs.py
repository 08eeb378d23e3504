"""Costs of jobs come from kept figures; options are compared by the time of the same job."""

import json

import pytest
from benchmarks import costs, options
from benchmarks.options import CONVERTED, OPTIONS, Option

from robustsnn.models import create


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.412, "0.41 s"), (99.4, "99 s"), (119, "119 s"), (120, "2 min"), (5436, "91 min"), (7200, "2 h"), (12147, "3.4 h")],
)
def test_a_duration_has_two_or_three_digits(seconds, told):
    assert costs.told(seconds) == told


def test_options_are_compared_by_the_time_of_the_same_job(tmp_path, monkeypatch):
    figures = {"default": {"finetuning": 2.0, "attack": 4.0}, "recompute": {"finetuning": 3.0, "attack": 4.4}}
    monkeypatch.setattr(options, "OUT", tmp_path / "options.json")
    options.OUT.write_text(json.dumps({"options": figures}))
    assert costs.ratio("finetuning", "recompute", "default") == 1.5
    assert costs.faster("default", "recompute") == "finetuning 1.5 times and attacks 1.1 times as fast"


def test_every_option_and_conversion_is_kept():
    kept = costs.kept()
    assert kept["options"].keys() == OPTIONS.keys()
    assert kept["conversion"].keys() == set(CONVERTED)


def test_a_recipe_of_few_spiking_epochs_is_cheaper_than_spikes_throughout():
    run = costs.TRAINED["`cifar10-robust`"]
    taken, epochs = run.made["processor_seconds"], {"pretrain": 40, "staircase": 12, "finetune": 4}
    assert costs.spikes_throughout(run) == pytest.approx(sum(epochs.values()) * taken["finetune"] / 4 / sum(taken.values()))


def test_the_searches_are_a_part_of_rigorous():
    report = costs.of("main", "rigorous")
    (result,) = report.results
    others = sum(
        took for member, took in zip(result.members, result.seconds, strict=True) if not member.startswith(costs.SEARCHES)
    )
    assert costs.searching(report) == pytest.approx(1 - others / costs.spent(report))
    assert 0 < others < costs.spent(report)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("option", [Option(), Option(precision="bfloat16", recompute=True)], ids=["default", "other"])
def test_both_jobs_are_timed(option, monkeypatch):
    narrow = {"plan": [4, "A", "A", "G"], "hidden": [8]}
    monkeypatch.setattr(options, "BATCH", 4)
    monkeypatch.setattr(options, "body", lambda recipe: create("vgg", 10, **narrow).eval())
    called = []
    monkeypatch.setattr(options, "keep_memory", lambda: called.append("keep_memory"))
    monkeypatch.setattr(options.machine, "keep_machine_code", lambda: None)
    found = options.work(option)
    assert found.keys() == {"finetuning", "attack", "bytes"}
    assert min(found["finetuning"], found["attack"]) > 0
    assert called == ["keep_memory"]


def test_medians_of_all_turns_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(options, "OUT", tmp_path / "options.json")
    turns = iter(range(100))

    def measured(name, more=()):
        if name in CONVERTED:
            return 5.0, 6.0
        return {"finetuning": next(turns)}, 50.0 if more else 10.0

    monkeypatch.setattr(options, "measured", measured)
    options.main([])
    kept = costs.kept()
    assert kept["compiling"] == 40
    assert kept["conversion"] == dict.fromkeys(CONVERTED, 5.0)
    first = [each["finetuning"] for each in kept["options"].values()]
    assert first == [1 + place + len(OPTIONS) / 2 * (options.TURNS - 1) for place in range(len(OPTIONS))]
