"""Presets are configurations that can be run, with figures as the papers print them."""

from dataclasses import fields

import pytest

from normkit.experiments.experiment import Experiment
from normkit.experiments.grid import Grid
from normkit.experiments.presets import PRESETS

SHORT = {"seeds": 1, "epochs": 1, "updates": None, "budget": "epochs", "dataset": "iris"}


@pytest.mark.parametrize("name", PRESETS)
def test_values_are_those_of_flags_and_can_be_run(name):
    preset = PRESETS[name]
    assert set(preset.values) <= {f.name for f in fields(Grid)} | {"baseline"}
    experiment = Experiment({**preset.values, **SHORT, "preset": name})
    assert experiment.preset is preset
    # one batch size of them: the others are the same but for their number
    tasks = [task for task in experiment.tasks if task.condition.batch_size == experiment.conditions[-1].batch_size]
    for run in experiment.run(tasks, "serial", 1):
        assert run.status in ("ok", "diverged"), run.error


@pytest.mark.parametrize("name", PRESETS)
def test_source_and_finding_are_told(name):
    preset = PRESETS[name]
    assert "arXiv:" in preset.source and preset.found and preset.setting
    choices = Experiment({**preset.values, **SHORT}).grid.choices()
    for figure in preset.figures:
        assert figure.choice in choices and figure.batch_size in preset.values["batch_sizes"]


def test_figures_of_group_norm_agree_with_the_abstract():
    # "On ResNet-50 trained in ImageNet, GN has 10.6% lower error than its BN counterpart when using a batch size of 2"
    errors = {(f.choice, f.batch_size): f.value for f in PRESETS["group-norm"].figures}
    assert errors["batch", 2] - errors["group", 2] == pytest.approx(10.6)
    assert len(errors) == 10


def test_ghost_follows_hoffer():
    values = Experiment({**PRESETS["ghost"].values, "dataset": "digits", "seeds": 1}).conditions
    assert {(c.normalization, c.batch_size) for c in values} == {
        ("batch", 128), ("ghost", 128), ("batch", 1077), ("ghost", 1077),
    }  # fmt: skip
    assert {c.hidden for c in values} == {(512,) * 5} and {c.weight_decay for c in values} == {1e-4}
    assert values[-1].learning_rate == pytest.approx(0.1 * (1077 / 128) ** 0.5)
