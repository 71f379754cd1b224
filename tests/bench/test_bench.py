"""The bench measures what it says: twins give the same numbers, turns are fair, files are those of one run."""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reweigh.bench import contenders as make
from reweigh.bench import entries, grid, groups, measure, pairs, second_order, table
from reweigh.bench.measure import Bench, Contender, advance
from reweigh.config.names import CellName
from reweigh.hypergrad import implicit
from reweigh.methods import autobalance
from reweigh.methods.base import Step
from reweigh.models import build, parameter_count

CPU = torch.device("cpu")


# --- measuring -------------------------------------------------------------------------------------------------------


def test_contenders_take_turns_and_ratios_are_taken_within_a_round():
    order, clock = [], itertools.count()

    def turn(name, factor):
        def block():
            order.append(name)
            return factor * (2.0 ** (next(clock) // 2))  # the machine slows down from round to round

        return block

    party = {"plain": Contender(turn("plain", 1.0)), "slow": Contender(turn("slow", 3.0), note="said")}
    plain, slow = Bench(CPU, 5, lambda text: None).compare("a group", party)
    assert order == ["plain", "slow"] * 5
    assert plain.ratio == 1 and (slow.ratio, slow.q1, slow.q3) == (3, 3, 3)
    assert (plain.milliseconds, slow.milliseconds) == (4, 12)
    assert (slow.baseline, slow.rounds, slow.note, slow.threads) == ("plain", 5, "said", torch.get_num_threads())


def test_medians_and_quartiles_are_over_rounds():
    party = Contender(lambda: 0.0)
    found = Bench(CPU, 5, print).line("group", "one", party, [1.0, 2, 3, 4, 100], "other", [1.0] * 5)
    assert (found.q1, found.ratio, found.q3) == (2, 3, 4)
    assert Bench(CPU, 1, print).line("group", "one", party, [6.0], "other", [2.0]).q1 is None


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by so many seconds when it is told to."""
    told = [5.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: told[0])
    return lambda seconds: told.__setitem__(0, told[0] + seconds)


def test_a_block_gives_milliseconds_a_step(clock):
    assert Bench(CPU, 2, print).timed(lambda: clock(0.04), steps=4)() == pytest.approx(10)


def test_time_of_the_processor_leaves_out_what_others_take(clock, monkeypatch):
    """On a GPU it would be that of the host."""
    spent = iter([1.0, 1.01])
    monkeypatch.setattr(measure.time, "process_time", lambda: next(spent))
    assert Bench(CPU, 2, print, of_processor=True).timed(lambda: clock(0.04))() == pytest.approx(10)
    monkeypatch.setattr(measure, "wait", lambda device: None)
    on_gpu = Bench(torch.device("cuda"), 2, print, of_processor=True)
    assert on_gpu.timed(lambda: clock(0.04))() == pytest.approx(40)


PEAKS = """
import torch
from reweigh.bench.measure import Bench

held = torch.ones(2**22)  # 16 MiB that are there before
bench = Bench(torch.device("cpu"), 2, print)
print(bench.peak_of(lambda: torch.ones(2**24).sum() + held[0]))
print(bench.peak_of(lambda: [torch.ones(2**23).sum() for _ in range(2)]))  # one after the other
"""


@pytest.mark.skipif(measure.resident_peak(lambda: None) is None, reason="wants a system that tells the peak of memory")
def test_the_peak_is_what_was_held_at_once_above_what_was_held_before():
    """In a process of its own: after a training run, this process keeps freed memory, and what it keeps counts."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    assert [float(peak) for peak in done.stdout.split()] == pytest.approx([64, 32], abs=8)


def test_a_stopwatch_times_calls_and_goes_away(clock):
    class Sleeper:
        def nap(self):
            clock(0.02)
            return 7

    sleeper = Sleeper()
    with measure.Stopwatch(sleeper, "nap") as spent:
        assert [sleeper.nap(), sleeper.nap()] == [7, 7]
        clock(1)
    assert spent["nap"] == pytest.approx(40)
    assert "nap" not in vars(sleeper)


# --- contenders ------------------------------------------------------------------------------------------------------


def test_the_plain_loop_is_the_same_network_as_resnet32():
    plain_loop = make.plain_loop()
    theirs, ours = plain_loop.ResNet(), build("resnet32", (3, 32, 32), 10, 0)
    assert parameter_count(theirs) == parameter_count(ours) == 464_154
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(other)
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)


def test_the_plain_loop_trains_on_the_images_of_the_split(small):
    images, labels = make.images_of("cifar10-slice")
    train = make.split_of("cifar10-slice").train
    raw = make.raw_data("cifar10-slice")
    assert (images[5].transpose(2, 0, 1) == raw.train_inputs[train.index[5]]).all() and len(images) == len(labels)
    torch.manual_seed(0)
    loop = make.plain_loop().PlainLoop(images[:64], labels[:64], 0, CPU, batch_size=32)
    before = [value.clone() for value in loop.model.parameters()]
    loop.advance(3)  # past the end of an epoch
    assert any((old != new).any() for old, new in zip(before, loop.model.parameters(), strict=True))
    batch, _ = next(loop.batches)
    assert batch.shape == (32, 3, 32, 32) and abs(batch.mean()) < 1


@pytest.mark.parametrize("kind", ["by_example", "by_network", "by_design"])
def test_twins_give_the_same_numbers(small, kind):
    problem = pairs.Problem(make.run_of(make.spec_of("resnet32", "er"), CPU), 8)
    fast, slow = (work() for work in getattr(problem, kind)())
    if isinstance(fast, torch.Tensor):
        fast, slow = {"": fast}, {"": slow}
    assert any(value.abs().sum() > 0 for value in fast.values())
    for name in fast:
        torch.testing.assert_close(fast[name], slow[name], rtol=2e-3, atol=1e-5)


def test_every_exact_route_to_a_hessian_product_gives_the_same(small):
    problem, other_order = second_order.Curvature(CPU, 8), second_order.Curvature(CPU, 8, "nchw")
    product = problem.ours()()
    assert implicit.norm(product) > 0
    routes = [problem.forward_over_reverse]
    for one in (problem, other_order):  # of a graph that is kept, and of one that is made for it
        routes += [one.ours(kept=True), one.ours(kept=False), one.double_backward(kept=True)]
        routes += [one.double_backward(kept=False)] * 2
    for route in routes:
        assert second_order.relative_error(route(), product) < 0.01
    assert not other_order.parameters["blocks.0.conv1.weight"].is_contiguous(memory_format=torch.channels_last)


def test_a_difference_of_gradients_is_near_where_the_loss_is_smooth_and_far_on_a_net_with_relus(small):
    at, along = {"x": torch.tensor([0.3, -1.0]).double()}, (torch.tensor([1.0, 2.0]).double(),)
    exact = (-torch.sin(at["x"]) * along[0],)
    errors = [
        second_order.relative_error(second_order.difference(lambda p: p["x"].sin().sum(), at, along, step), exact)
        for step in (0.1, 0.01)
    ]
    assert errors[0] < 1e-2 and errors[1] == pytest.approx(errors[0] / 100, rel=0.05)
    assert second_order.relative_error(
        second_order.forward_over_reverse(lambda p: p["x"].sin().sum(), at, along), exact
    ) == pytest.approx(0, abs=1e-12)
    problem = second_order.Curvature(CPU, 8)
    assert second_order.relative_error(problem.difference(), problem.ours()()) > 0.5


def test_routes_are_measured_against_a_plain_gradient(small):
    lines = second_order.routes(replace(small, rounds=3))
    assert {one.baseline for one in lines} == {"ResNet-32, B = 4: a plain gradient"}
    assert len(lines) == 11 and all(one.ratio > 0 and one.rounds == 3 for one in lines)
    (note,) = [one.note for one in lines if "difference" in one.contender]
    assert note.startswith("relative error")


def test_what_makes_a_graph_is_timed_beside_what_makes_one_too(small, monkeypatch):
    """And the product alone beside products alone: a graph is a loss at θ, once for each unit of work or not at all."""
    passes = []
    loss = second_order.Curvature.loss
    monkeypatch.setattr(second_order.Curvature, "loss", lambda *known: passes.append(1) or loss(*known))
    counted = {}
    for name, (work, _) in second_order.hessian_products(CPU, 4).items():
        before = len(passes)
        work()
        work()
        counted[name] = len(passes) - before
    kept, whole = (
        {name.removeprefix(kind): count for name, count in counted.items() if name.startswith(kind)}
        for kind in (second_order.KEPT, second_order.WHOLE)
    )
    assert set(kept.values()) == {0} and len(kept) == 4 and set(kept) < set(whole)
    assert whole.pop(", difference of gradients") == 4 and set(whole.values()) == {2} and len(whole) == 5
    assert len(kept) + len(whole) + 2 == len(counted)


def test_every_hypergradient_takes_the_rounds_that_were_asked_for(small):
    assert {one.rounds for one in pairs.hypergradients(replace(small, rounds=3))} == {3}


def test_the_weight_network_learns_every_fifth_step_only(small):
    run = make.with_method(make.run_of(make.spec_of("lenet"), CPU), make.WeightNetwork)
    before, changed = {name: value.clone() for name, value in run.method.network.items()}, []
    for number in range(11):
        run.advance()
        if any((run.method.network[name] != value).any() for name, value in before.items()):
            changed.append(number)
            before = {name: value.clone() for name, value in run.method.network.items()}
    assert changed == [0, 5, 10]
    step = Step(run.number, "inner", run.model, run.course.batches.current(), None)
    weights = run.method.example_weights(step, torch.tensor([0.1, 2.0]))
    assert weights.shape == (2,) and weights.min() > 0 and weights.sum() < 1


# --- groups ----------------------------------------------------------------------------------------------------------


def test_throughput_is_compared_with_the_better_loop(small, monkeypatch):
    ticks = {"plain loop, 0 loading processes": 30.0, "plain loop, 2 loading processes": 20.0, "the engine, fp32": 10.0}
    monkeypatch.setattr(Bench, "turns", lambda self, group, taken: {name: [ticks.get(name, 5.0)] * 3 for name in taken})
    lines = {one.contender: one for one in groups.throughput(small)}
    assert {one.baseline for one in lines.values()} == {"plain loop, 2 loading processes"}
    assert lines["the engine, fp32"].ratio == 0.5 and "2.00 x" in lines["the engine, fp32"].note
    assert lines["the engine, bf16"].precision == "bf16" and "1600 images/s" in lines["the engine, bf16"].note


def test_steps_say_which_method_they_are_of(small):
    lines = [one for one in groups.steps(small) if one.model == "lenet"]
    methods = [table.method_key(name, entry.options) for name, entry in entries.entries().items()]
    assert lines[0].method == "none 1" and sorted(line.method for line in lines) == sorted(methods)
    assert {"tdr 10", "er 1", "meta 1", "absgd 1", "autobalance 20", "lrw 5"} <= set(methods)
    assert {line.group for line in lines} == {"steps, LeNet, B = 10"}
    assert {one.batch_size for one in lines} == {10} and all(one.milliseconds > 0 for one in lines)


@pytest.mark.parametrize(("uses", "stage"), [("none", "train"), ("autobalance", "search"), ("lrw", "lrw")])
def test_a_method_is_timed_in_the_stage_in_which_it_learns(small, uses, stage):
    run = make.at_members(make.run_of(make.spec_of("lenet", uses), CPU, steps=5))
    assert (run.course.stage.name, run.stage_step) == (stage, 0)
    advance(run, 3)
    assert run.stage_step == 3


def test_a_turn_of_a_method_that_learns_now_and_then_is_a_whole_cycle(small, monkeypatch):
    """Also where it begins anew with each epoch, and the set has fewer steps than a cycle: one hypergradient a turn."""
    monkeypatch.setattr(make, "MODELS", {"lenet": make.MODELS["lenet"]})
    counted, turns = [], []
    learn, stepping = autobalance.Method.learn, groups._stepping
    monkeypatch.setattr(
        autobalance.Method, "learn", lambda self, step: counted.append(step.program) or learn(self, step)
    )
    monkeypatch.setattr(groups, "benched", lambda: [one for one in benched if one[0] in ("none", "autobalance")])
    monkeypatch.setattr(groups, "_stepping", lambda bench, run, steps, *rest: turns.append((run, steps)) or
                        stepping(bench, run, steps, *rest))  # fmt: skip
    benched = [(name, entry.title, entry.cycle) for name, entry in entries.entries().items()]
    groups.steps(small)
    taken = [steps for run, steps in turns if run.spec["uses"] == "autobalance"]
    assert taken == [20] and all(run.course.steps_per_epoch >= 60 for run, _ in turns)
    searches = [run for run, _ in turns if run.spec["uses"] == "autobalance"]
    assert all(run.course.steps > 10**6 for run in searches)  # however many rounds, none sees the retraining
    assert {run.method.options["batches"] for run in searches} == {make.HELD_OUT}
    each_turn = 1 + small.rounds  # the first is not timed
    assert sum("outer" in program for program in counted) == each_turn
    assert len(counted) == each_turn * 20


def test_a_repeated_part_has_the_same_examples(small):
    spec = make.spec_of("lenet", "autobalance")
    once, often = make.run_of(spec, CPU), make.run_of(spec, CPU, steps=2000)
    parts = (once.method.context.train, often.method.context.train)
    assert once.course.steps_per_epoch < 2000 <= often.course.steps_per_epoch
    assert set(parts[0].labels.tolist()) == set(parts[1].labels.tolist())
    assert len(parts[1]) % len(parts[0]) == 0
    assert (parts[1].inputs[len(parts[0]) :][: len(parts[0])] == parts[0].inputs).all()
    assert len(often.method.context.validation) >= make.HELD_OUT * spec["training"]["batch_size"]


def test_bookkeeping_is_a_share_of_the_step(small):
    found = groups._bookkeeping(small, "lenet", "mnist", 1)
    assert 0 < found.ratio < 1 and found.rounds == 2
    assert found.milliseconds > 0 and "checkpoints" in found.note


def test_pairs_are_measured_in_time_and_memory(small):
    problem = pairs.Problem(make.run_of(make.spec_of("lenet", "er"), CPU), 8)
    twin, own = pairs._pair(small, "LeNet", problem.by_example())
    assert own.baseline == twin.contender == "LeNet, double backpropagation" and own.ratio > 0
    assert own.peak_mebibytes is None or own.peak_mebibytes >= 0


def test_runs_are_trained_packed_and_alone_in_a_folder_of_their_own(small, monkeypatch, tmp_path, raw_root):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw").symlink_to(raw_root)
    root = Path.cwd()
    for name in ("embedded", "manifest.yaml"):
        (tmp_path / "data" / name).symlink_to(root / "data" / name)
    (tmp_path / "config").symlink_to(root / "config")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(groups, "EPOCHS", 1)
    monkeypatch.setattr(groups, "SEEDS", 2)
    monkeypatch.setattr(groups, "CELL", CellName.parse("smoke/tdr/mnist-4v9/rho0.1/er"))
    alone, beside, turns, threads = groups.packed(small)
    assert beside.baseline == alone.contender and threads.baseline == turns.contender
    assert "processes on 1 cores" in beside.note and "s of processors" in alone.note
    assert not (tmp_path / "results").exists() and not (tmp_path / "data/splits").exists()


def test_the_grid_is_told_from_its_dry_runs(small, monkeypatch):
    runs = [
        grid.DryRun("records there", "everything", 5, 8.0, 7.5),
        grid.DryRun("records there", "figures/a.pdf", 2, 2.0, 1.5),
    ]
    monkeypatch.setattr(grid, "measure", lambda show: runs)
    whole, single = groups.dry_runs(small)
    assert (whole.milliseconds, single.milliseconds, single.ratio) == (8000, 2000, 0.25)
    assert single.note == "2 jobs, 1.5 s of a core"


def test_a_processor_has_no_graphs(small):
    assert groups.MEASUREMENTS["graphs"](small) == []
