"""What learned reweighting costs: whole runs follow from what was timed and counted, and cycles are whole."""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call

from reweigh.bench import reweighting
from reweigh.bench.measure import Bench, Contender, advance
from reweigh.bench.reweighting import LENET, METHODS, PLAIN, RESNET, SCORING, SPLITTING, SPLITTING_STORED, WRN, Part
from reweigh.hypergrad import lookahead
from reweigh.models import build
from reweigh.models.layers import without_trace

CPU = torch.device("cpu")
SMALL = {RESNET: {"dropout": 0.25, "width": 0.25, "blocks": 1}, WRN: {"depth": 10, "width": 0.25, "dropout": 0.25}}


@pytest.fixture
def tiny(small, monkeypatch):
    nets = {name: net._replace(options=SMALL.get(name, net.options), size=8) for name, net in reweighting.NETS.items()}
    monkeypatch.setattr(reweighting, "NETS", nets)
    return small


def test_a_whole_run_by_hand():
    """p = 1 and q = 1.5 a step, 300 for margins of the pool, 200 or 8 for a split of it: 70,300 of ERM."""
    passes = {SCORING: 300.0, SPLITTING: 200.0, SPLITTING_STORED: 8.0}
    costs = dict.fromkeys(METHODS, 1.5) | {PLAIN: 1.0} | passes
    assert reweighting.STEPS == 703 and reweighting.whole("ERM", costs) == 70_300
    assert reweighting.whole("MWN", costs) == reweighting.whole("L2RW", costs) == 105_450
    assert reweighting.whole("LRW-Hard", costs) == 70_300 + 300 + 105_450
    assert reweighting.whole("LRW-Hard, head of φ, stored features", costs) == 70_300 + 600 + 105_450
    assert reweighting.whole("LRWOpt", costs) == 25 * 703 + 75 * (703 * 1.5 + 200)
    assert reweighting.whole("LRWOpt, head of φ, stored features", costs) == 25 * 703 + 300 + 75 * (703 * 1.5 + 200)
    assert reweighting.whole(reweighting.CHEAPEST, costs) == 25 * 703 + 300 + 75 * (703 * 1.5 + 8)


def test_lines_are_ratios_within_a_round_and_of_counts():
    net = reweighting.NETS[RESNET]
    names = [PLAIN, *METHODS, SCORING, SPLITTING, SPLITTING_STORED]
    parts = {name: Part(Contender(lambda: 0.0), 3.0 if name == PLAIN else 6.0) for name in names}
    times = {name: [2.0, 4.0] if name == PLAIN else [3.0, 5.0] for name in names}
    lines = {(one.group, one.contender): one for one in reweighting.of_net(Bench(CPU, 2, print), net, parts, times)}
    assert len(lines) == len(names) + 2 * len(METHODS)
    step = lines["steps, ResNet-32, B = 64", "MWN"]
    assert (step.baseline, step.ratio, step.milliseconds) == (PLAIN, 1.375, 4) and "2 x the operations" in step.note
    assert lines["pool, ResNet-32, B = 64", SPLITTING].baseline == PLAIN
    run = lines["whole run, ResNet-32, B = 64", "MWN"]
    assert (run.baseline, run.ratio, run.q1, run.rounds) == ("ERM", 1.375, 1.3125, 2) and run.note.endswith("1.4")
    count = lines["whole run, FLOPs, ResNet-32, B = 64", "LRWOpt"]
    assert count.baseline == "ERM" and count.q1 == count.ratio == count.q3 and count.milliseconds == 0
    assert count.ratio == pytest.approx(0.25 + 0.75 * (2 + 2 / 703)) and count.note.endswith("1.7")
    assert not any(one.method for one in lines.values())  # nothing that `reweigh plan` predicts from


@pytest.mark.parametrize("training", [True, False])
def test_forward_mode_passes_are_counted_in_full(training):
    """A convolution of dual numbers is three of plain ones: W x, and W ẋ + Ẇ x."""
    model = build("resnet32", (3, 32, 32), 10, 0, width=0.25, blocks=1)
    images, at = torch.randn(4, 3, 32, 32), {name: value.detach() for name, value in model.named_parameters()}

    def logits(at):
        with without_trace(model, training):
            return functional_call(model, at, (images,))

    with torch.no_grad():
        plain = reweighting.operations_of(lambda: logits(at))
    along = {name: torch.randn_like(value) for name, value in at.items()}
    dual = reweighting.operations_of(lambda: lookahead.directional_derivatives(logits, at, along))
    first = 2 * 4 * 32**2 * 27 * 4  # of the first convolution, whose images have no tangent: PyTorch's zeros count
    by_hand = 2 * 4 * (32**2 * (27 * 4 + 2 * 36 * 4) + 16**2 * (36 * 8 + 72 * 8) + 8**2 * (72 * 16 + 144 * 16) + 160)
    assert plain == by_hand and dual in (3 * plain, 3 * plain - first)


@pytest.mark.parametrize("name", METHODS)
def test_a_turn_is_a_whole_cycle_of_the_last_stage(tiny, monkeypatch, name):
    """Whichever of its five steps learns: as many do in every turn."""
    timed, net = METHODS[name], reweighting.NETS[LENET]
    run = reweighting.run_of(tiny, net, timed.uses, timed.options, turns=2)
    assert run.stage == len(run.courses) - 1 and run.stage_step == 0
    programs = []
    prepare = run.method.prepare
    monkeypatch.setattr(run.method, "prepare", lambda at: programs.append(prepare(at)) or programs[-1])
    advance(run, 4 * reweighting.CYCLE)
    assert run.course.steps_per_epoch >= (reweighting.UNTIMED + 2) * reweighting.CYCLE  # no turn sees its end
    turns = [programs[start : start + 5] for start in range(5, 20, 5)]
    assert turns[0] == turns[1] == turns[2]
    if not name.startswith("L2RW"):
        assert turns[0].count("outer") == (5 if "every step" in name else 1)


def test_what_is_timed_has_the_network_that_its_name_says(tiny):
    net = reweighting.NETS[LENET]
    for name, timed in METHODS.items():
        spec = reweighting.spec_of(net, timed.uses, timed.options)
        if timed.kind in ("LRW-Hard", "LRWOpt"):
            known = spec["method_options"]["network"]
            assert ("head" in name) == (known["trains"] == "head") and ("stored" in name) == (
                known["inputs"] == "stored"
            )
            assert spec["method_options"]["outer_every"] == 5 and spec["method_options"]["outer_batch_size"] == 8
        assert spec["training"]["batch_size"] == 8 and spec["model"] == {"name": net.model, "options": net.options}


def test_the_group_measures_all_methods_on_all_nets(tiny):
    lines = reweighting.reweighting(replace(tiny, rounds=2))
    assert len(lines) == len(reweighting.NETS) * (1 + 3 * len(METHODS) + 3)
    assert all(one.ratio > 0 and one.threads == 1 for one in lines)
    found = {(one.group, one.contender): one for one in lines}
    for net in reweighting.NETS.values():
        where = f"{net.title}, B = 8"
        assert found[f"pool, {where}", SCORING].milliseconds > found[f"steps, {where}", PLAIN].milliseconds
        counts = {name: found[f"whole run, FLOPs, {where}", name].ratio for name in METHODS}
        assert counts["MWN, shared virtual step"] < counts["MWN"] < counts["MWN, every step"] and all(
            ratio > 1 for ratio in counts.values()
        )
        for kind in ("LRW-Hard", "LRWOpt"):
            stored, head, everything = (
                counts[f"{kind}{one}"] for one in (", head of φ, stored features", ", head of φ", "")
            )
            assert stored < head < everything
        assert counts[reweighting.CHEAPEST] < counts["LRWOpt, head of φ, stored features"]
