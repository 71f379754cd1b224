"""`reweigh plan`: which runs a target stands for, their steps and cost, and the state of their records."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import pytest
from support import needs
from support.project import ROOT
from support.written import HERE, leave_record

from reweigh.bench.table import CSV, Line, write
from reweigh.config.cards import PlannedStage
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.config.sizes import epoch_size, training_sizes
from reweigh.config.specs import Spec
from reweigh.data.obtain import recipe_digest, split_path
from reweigh.errors import ConfigError
from reweigh.planning import plan, plan_text, spec_files
from reweigh.records import commit, record
from reweigh.training.__main__ import spec_paths

CELL = "quick/tdr/mnist-4v9/rho0.1/tdr"


@pytest.mark.parametrize(
    ("target", "count"),
    [
        ("paper/tdr", 615),
        ("paper/tdr/mnist-4v9", 160),
        ("paper/tdr/mnist-4v9/rho0.005", 40),
        ("paper/tdr/mnist-4v9/rho0.005/tdr", 5),
        ("paper/tdr/mnist-4v9/rho0.005/tdr/seed3", 1),
        ("results/paper/tdr/mnist-4v9/rho0.005/tdr/seed3.json", 1),
        ("figures/paper/tdr/fig5.pdf", 80),
        ("paper/tdr/table3", 25),
        ("paper/tdr/fig8", 0),
    ],
)
def test_targets(config, target, count):
    runs = plan.runs_of_target(config, target)
    assert len(runs) == count
    assert all(config.run_name(run) for run in runs)


@pytest.mark.parametrize(
    "target", ["paper", "paper/tdr/mnist-4v8", "paper/tdr/mnist-4v9/rho1", "figures/paper/tdr/fig55"]
)
def test_targets_that_do_not_exist(config, target):
    with pytest.raises(ConfigError):
        plan.runs_of_target(config, target)


@pytest.mark.parametrize(
    ("cell", "steps"),
    [
        ("paper/tdr/mnist-4v9/rho0.1/tdr", 100 * (4999 // 50)),
        ("paper/tdr/mnist-lt/rho0.1/er", 100 * (20431 // 50)),
        ("paper/tdr/adult/sex/tdr", 50 * (30112 // 50)),
        ("paper/tdr/adult/sex/constant", 0),
    ],
)
def test_steps(config, cell, steps):
    assert plan.steps_of(config.resolve(f"{cell}/seed0")) == steps


TAIL = {"kind": "long-tail", "largest_class": 60, "imbalance_ratio": 10.0, "rounding": "exact"}
HELD_OUT = {"target_size": 0, "target_inside": True, "validation_size": 50, "order": "random", "test": "all"}
PARTS = [
    (PlannedStage(2), 2 * 7),  # 240 examples, batches of 32
    (PlannedStage(2, "class-aware"), 2 * 18),
    (PlannedStage(1, part="train+validation"), 9),  # 290
    (PlannedStage(1, "class-aware", part="train+validation"), 20),  # 65 of the largest
    (PlannedStage(3, part="members", share=0.5), 3 * 3),  # at most 122: the half of each class, rounded up
    (PlannedStage(3, part="members", members=lambda sizes: [size // 4 for size in sizes]), 3 * 1),  # 56
    (PlannedStage(2, part="members of train+validation", listed=lambda size: size - size // 10), 2 * 8),  # 261
    (PlannedStage(2, part="members", listed=lambda size: size - size // 10), 2 * 6),  # 216
    (PlannedStage(1, part="members of train+validation", share=0.5), 4),  # at most 148
    (PlannedStage(4, batch_size=113), 4 * 2),
    (PlannedStage(4, batch_size=1000), 4),
    (PlannedStage(0), 0),
]


def staged(config, monkeypatch, *stages, **training):
    """A spec whose method has these stages, on a long tail of the CIFAR-10 slice."""
    spec = config.resolve("quick/tdr/cifar10-4v9-resnet20/rho0.3/none/seed0")
    spec["data"]["split"] = {**TAIL, **HELD_OUT}
    spec["training"] |= {"batch_size": 32, "drop_last": True, **training}
    monkeypatch.setattr(plan, "card_of", lambda method: SimpleNamespace(stages=lambda *_: list(stages), cost=1.0))
    return spec


@pytest.mark.parametrize(("stage", "steps"), PARTS)
def test_steps_of_a_stage_follow_its_part_sampling_and_batches(config, monkeypatch, stage, steps):
    assert plan.steps_of(staged(config, monkeypatch, stage)) == steps
    assert plan.steps_of(staged(config, monkeypatch, PARTS[0][0], stage)) == PARTS[0][1] + steps


RULES = {  # of the share of a training set that a method may list
    "of all, rounded down": lambda share, sizes: math.floor(share * sum(sizes)),
    "of all, rounded up": lambda share, sizes: math.ceil(share * sum(sizes)),
    "of each class, rounded down": lambda share, sizes: sum(math.floor(share * size) for size in sizes),
    "of each class, rounded": lambda share, sizes: sum(round(share * size) for size in sizes),
    "of each class, rounded up": lambda share, sizes: sum(math.ceil(share * size) for size in sizes),
}
SMALL = {"kind": "long-tail", "largest_class": 30, "imbalance_ratio": 15.0, "rounding": "exact"}  # 205 of 20 classes


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.29, 0.1, 0.05, 0.03, 0.001, 1.0])
def test_steps_on_members_are_no_fewer_than_any_method_takes(config, monkeypatch, share, drop_last):
    spec = staged(config, monkeypatch, PlannedStage(10, part="members", share=share), drop_last=drop_last, batch_size=4)
    spec["data"] |= {"dataset": "cifar100-slice", "split": {**SMALL, **HELD_OUT, "validation_size": 0}}
    sizes = training_sizes(spec["data"])
    assert sum(sizes) == 205 and len(sizes) == 20
    counts = [rule(Fraction(str(share)), sizes) for rule in RULES.values()]
    taken = [10 * (count // min(4, count) if drop_last else -(-count // 4)) if count else 0 for count in counts]
    assert plan.steps_of(spec) == max(taken) and plan.steps_may_be_fewer(spec) is (share < 1)
    spec["data"]["split"]["noise"] = {"kind": "symmetric", "rate": 0.2}
    assert max(taken) <= plan.steps_of(spec) <= 10 * -(-205 // 4) and plan.steps_may_be_fewer(spec)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
def test_steps_on_members_that_the_card_counts_are_exact(config, monkeypatch, share):
    def listed(sizes):
        return [math.floor(Fraction(str(share)) * size) for size in sizes]

    for sampling in ("uniform", "class-aware"):
        stage = PlannedStage(10, sampling, part="members", members=listed)
        spec = staged(config, monkeypatch, stage, drop_last=False, batch_size=4)
        spec["data"] |= {"dataset": "cifar100-slice", "split": {**SMALL, **HELD_OUT, "validation_size": 0}}
        counts = [count for count in listed(training_sizes(spec["data"])) if count]
        examples = sum(counts) if sampling == "uniform" else max(counts, default=0) * len(counts)
        assert plan.steps_of(spec) == 10 * -(-examples // 4) and not plan.steps_may_be_fewer(spec)
        assert epoch_size(spec["data"], stage) == examples


def test_members_drawn_by_class_are_no_more_than_the_plan_says(config, monkeypatch):
    """They may be of one class, but for one of each other."""
    stage = PlannedStage(1, "class-aware", part="members", share=0.05)
    spec = staged(config, monkeypatch, stage, drop_last=False, batch_size=1)
    spec["data"] |= {"dataset": "cifar100-slice", "split": {**SMALL, **HELD_OUT, "validation_size": 0}}
    most = sum(math.ceil(Fraction("0.05") * size) for size in training_sizes(spec["data"]))
    assert plan.steps_of(spec) == min(most, 30) * 20 and plan.steps_may_be_fewer(spec)


def test_the_plan_says_which_steps_are_an_upper_estimate(project, monkeypatch, capsys):
    runs = plan.make([CELL], "quick", project)
    plan_text.show(runs)
    assert "at most" not in capsys.readouterr().out
    plan_text.show([replace(runs[0], at_most=True), *runs[1:]])
    assert f"at most {runs[0].steps:,}" in " ".join(capsys.readouterr().out.split())
    card = SimpleNamespace(stages=lambda *_: [PlannedStage(2, part="members", share=0.3)], cost=1.0)
    monkeypatch.setattr(plan, "card_of", lambda method: card)
    assert plan.steps_may_be_fewer(runs[0].spec)


def test_what_is_held_out_by_a_share_comes_back(config, monkeypatch):
    spec = staged(config, monkeypatch, PlannedStage(1, part="train+validation"), drop_last=False)
    spec["data"]["split"] |= {"validation_size": 0, "validation_share": 0.3}
    assert plan.steps_of(spec) == 8  # all 240
    spec = staged(config, monkeypatch, PlannedStage(1), drop_last=False)
    spec["data"]["split"] |= {"validation_size": 0, "validation_share": 0.3}
    assert plan.steps_of(spec) == 6  # 172


def test_a_second_stage_of_larger_batches_costs_more(project, config, monkeypatch):
    costs = plan.Costs(project)
    first, second = PlannedStage(2), PlannedStage(4, batch_size=113)
    alone, source = costs.per_step(staged(config, monkeypatch, first))
    both, _ = costs.per_step(staged(config, monkeypatch, first, second))
    assert source == "assumed" and both * 22 == pytest.approx(alone * (14 + 8 * 113 / 32))


def test_steps_of_absgd_head_with_class_aware_sampling_before_it(config):
    spec = config.resolve("smoke/absgd/two-stage/lt-rho100/absgd_head/seed0")
    sizes = training_sizes(spec["data"])
    plain = plan.steps_of(spec)
    spec["method_options"]["stage_one"]["sampling"] = "class-aware"
    batch, epochs = spec["training"]["batch_size"], spec["training"]["epochs"]
    assert not spec["training"]["drop_last"]
    more = -(-max(sizes) * len(sizes) // batch) - -(-sum(sizes) // batch)
    assert more > 0 and plan.steps_of(spec) == plain + epochs * more


def test_states(project):
    leave_record(project, f"{CELL}/seed0")
    leave_record(project, f"{CELL}/seed1", spec_digest="another", code={"digest": "another"})
    states = [one.state for one in plan.make([CELL], "quick", project)]
    assert states == ["current", "stale: spec and code changed", "missing"]
    path = record.record_path(f"{CELL}/seed0", project)
    path.write_text(path.read_text().replace("10.0", "9.0"))
    assert "changed by hand" in plan.make([f"{CELL}/seed0"], "quick", project)[0].state


def bench_line(method, milliseconds, ratio, **changes):
    """A line as `reweigh bench` writes it for a step of LeNet."""
    said = {"device": HERE, "torch": "2", "group": "steps", "contender": method, "baseline": "plain step"}
    said |= {"milliseconds": milliseconds, "ratio": ratio, "q1": None, "q3": None, "peak_mebibytes": None, "rounds": 3}
    return Line(
        **said | {"threads": 1, "precision": "fp32", "model": "lenet", "batch_size": 50, "method": method} | changes
    )


def sources(project, *runs):
    return {one.run: (one.source, one.seconds / one.steps) for one in plan.make(list(runs), "quick", project)}


def test_cost_is_measured_where_records_are_and_assumed_elsewhere(project):
    before = plan.make([CELL, "quick/tdr/mnist-4v9/rho0.1/er"], "quick", project)
    assert {one.source for one in before} == {"assumed"}
    leave_record(project, f"{CELL}/seed0", seconds=20.0)
    after = plan.make(
        [f"{CELL}/seed1", "paper/tdr/mnist-4v9/rho0.1/tdr/seed0", "paper/tdr/mnist-4v9/rho0.1/er/seed0"], "", project
    )
    assert [one.source for one in after] == ["records", "records", "assumed"]
    assert after[0].seconds == pytest.approx(after[0].steps * 0.02)
    assert after[1].seconds == pytest.approx(9900 * 0.02)


def test_the_bench_comes_after_records_made_here_and_before_those_made_elsewhere(project):
    run = f"{CELL}/seed1"
    leave_record(project, f"{CELL}/seed0", seconds=20.0, device={"name": "another"})
    assert sources(project, run)[run] == ("records made elsewhere", pytest.approx(0.02))
    write([bench_line("none 1", 4.0, 1.0), bench_line("tdr 10", 5.0, 1.25)], project / CSV)
    assert sources(project, run)[run] == ("bench", pytest.approx(0.005))
    leave_record(project, f"{CELL}/seed0", seconds=20.0)
    assert sources(project, run)[run] == ("records", pytest.approx(0.02))


def test_a_bench_of_another_machine_says_nothing(project):
    write([bench_line("tdr 10", 5.0, 1.25, device="another")], project / CSV)
    assert sources(project, f"{CELL}/seed1")[f"{CELL}/seed1"][0] == "assumed"


def test_a_method_that_was_not_timed_with_a_model_takes_its_ratio_elsewhere_or_the_assumed_one(project):
    er, none = (f"quick/tdr/mnist-4v9/rho0.1/{method}/seed0" for method in ("er", "none"))
    plain = bench_line("none 1", 4.0, 1.0)
    write([plain], project / CSV)
    assert sources(project, er)[er] == ("bench", pytest.approx(0.004 * 2.8))
    write([plain, bench_line("er 1", 900.0, 3.0, model="resnet32", batch_size=128)], project / CSV)
    assert sources(project, er)[er] == ("bench", pytest.approx(0.004 * 3.0))
    write([bench_line("none 1", 4.0, 1.0, threads=2)], project / CSV)
    assert sources(project, none)[none] == ("bench", pytest.approx(0.008))  # the run asks for one thread


@pytest.mark.parametrize("change", [{"batch_size": 64}, {"model": "resnet32"}, {"precision": "bf16"}])
def test_a_bench_of_another_model_batch_size_or_precision_is_not_taken(project, change):
    write([bench_line("none 1", 4.0, 1.0, **change), bench_line("tdr 10", 5.0, 1.25, **change)], project / CSV)
    assert sources(project, f"{CELL}/seed1")[f"{CELL}/seed1"][0] == "assumed"


def test_planning_needs_no_torch():
    code = "import sys, reweigh.planning.plan, reweigh.bench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_quick_scale_is_quick():
    planned = plan.make([], "quick", ROOT)
    work = sum(one.steps * plan.Costs(ROOT).assumed.of("lenet") / 1000 for one in planned)
    assert work < 1200  # two cores, ten minutes, were every step as cheap as LeNet's


def test_table_names_what_is_stale_and_the_command(project, capsys):
    leave_record(project, f"{CELL}/seed0", code={"digest": "another"})
    plan_text.show(plan.make([CELL], "quick", project))
    said = capsys.readouterr().out
    assert "1 stale, 2 missing" in said
    assert f"{CELL}/seed0: stale: code changed" in said
    assert f"reweigh train {CELL}" in said
    assert "3 of 3 runs to train" in said


def test_what_is_stale_fits_on_a_screen(project):
    """An edit of a reader printed a line for each of four hundred runs, and a command of as many names."""
    names = [RunName.parse(run) for run in load(project).runs("quick", "tdr", "mnist-lt")]
    stale = [plan.Planned(str(name), {}, "stale: code changed", 9, 1.0, "records") for name in names]
    few, many = (plan_text.summary(runs).splitlines()[1:] for runs in (stale[:2], [*stale, *stale[:9]]))
    assert few == [
        "quick/tdr/mnist-lt/rho0.1/tdr/seed0: stale: code changed",
        "quick/tdr/mnist-lt/rho0.1/tdr/seed1: stale: code changed",
        "Train the stale ones again with: reweigh train quick/tdr/mnist-lt/rho0.1/tdr",
    ]
    assert many == [
        f"quick/tdr/mnist-lt: {len(stale) + 9} stale: code changed",
        "Train the stale ones again with: reweigh train quick/tdr/mnist-lt/{rho0.1,rho0.02}/{tdr,er,none}",
    ]


def test_specs_are_written_complete(project, tmp_path):
    planned = plan.make([CELL], "quick", project)
    assert spec_files.write(planned, tmp_path / "specs", project) == 3
    names = [f"{run.run.replace('/', '__')}.json" for run in planned]
    written = json.loads((tmp_path / "specs" / names[0]).read_text())
    assert written == load(project).resolve(f"{CELL}/seed0")
    Spec.model_validate(written)
    assert (tmp_path / "specs/order.txt").read_text().splitlines() == names
    assert [path.name for path in spec_paths([str(tmp_path / "specs")])] == names


def test_a_folder_of_specs_says_which_splits_it_expects_and_from_which_commit(project, tmp_path):
    planned = plan.make([CELL], "quick", project)
    recipes = [recipe_digest(run.spec, project / "data") for run in planned]
    for run, recipe in ((planned[0], recipes[0]), (planned[1], "of an older reader")):
        report = split_path(run.spec, project / "data").with_suffix(".json")
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps({"digest": "as drawn", "recipe_digest": recipe}))
    spec_files.write(planned, tmp_path / "specs", project)
    expected = json.loads((tmp_path / "specs/expected.json").read_text())
    assert [one["run"] for one in expected.values()] == [run.run for run in planned]
    assert [one["split_digest"] for one in expected.values()] == ["as drawn", None, None]
    assert [one["recipe_digest"] for one in expected.values()] == recipes
    assert json.loads((tmp_path / "specs/commit.json").read_text()) == commit.described(project)


@needs.GIT
def test_the_commit_of_a_folder_of_specs(tmp_path):
    def git(*command):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(["git", *who, *command], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "--message", "first")
    described = commit.described(tmp_path)
    assert (described["commit"], described["dirty"]) == (git("rev-parse", "HEAD").strip(), False)
    (tmp_path / "file").write_text("2")
    assert commit.described(tmp_path)["dirty"] is True


@pytest.mark.parametrize(
    ("targets", "options", "expected"),
    [
        ([CELL], {}, [f"{CELL}/seed{seed}" for seed in (0, 1, 2)]),
        ([CELL], {"pending": True}, [f"{CELL}/seed{seed}" for seed in (1, 2)]),
        ([CELL[:-4], CELL], {"in_order": True}, [f"{CELL[:-4]}/er/seed0", f"{CELL}/seed1", f"{CELL}/seed2"]),
    ],
)
def test_which_specs_are_written_and_in_which_order(project, tmp_path, monkeypatch, capsys, targets, options, expected):
    leave_record(project, f"{CELL}/seed0")
    for seed in (1, 2):
        leave_record(project, f"{CELL[:-4]}/er/seed{seed}")
    cells = "[mnist-4v9/rho0.1/er, mnist-4v9/rho0.1/tdr, mnist-4v9/rho0.02/er]"
    (project / "config/priorities.yaml").write_text(f"priorities:\n  - {{ paper: tdr, cells: {cells}, why: a test }}\n")
    monkeypatch.chdir(project)
    spec_files.main(targets, None, tmp_path / "specs", **options)
    names = (tmp_path / "specs/order.txt").read_text().splitlines()
    assert [name.removesuffix(".json").replace("__", "/") for name in names] == expected
    assert f"{len(expected)} specs in" in capsys.readouterr().out


def test_the_list_is_taken_at_the_scale_of_the_targets(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    listed = "{ paper: tdr, cells: [mnist-4v9/rho0.1/tdr], why: a test }"
    (project / "config/priorities.yaml").write_text(f"priorities:\n  - {listed}\n")
    specs = tmp_path / "specs"
    assert load(project).project.scale == "quick"
    spec_files.main(["smoke/tdr/mnist-4v9", CELL], None, specs, in_order=True)
    names = (specs / "order.txt").read_text().split()
    assert [name.split("__")[0] for name in names] == ["smoke"] * 2 + ["quick"] * 3
    spec_files.main([], "smoke", specs, in_order=True)
    assert (specs / "order.txt").read_text().split() == names[:2]


@pytest.mark.parametrize(
    ("targets", "scale", "says"),
    [
        (["smoke/tdr/mnist-4v9"], "paper", "the targets are of scale smoke; leave out --scale"),
        (["smoke/tdr/adult"], None, "lists none of these runs at scale smoke"),
    ],
)
def test_targets_that_do_not_go_with_scale_or_list_are_refused(project, tmp_path, monkeypatch, targets, scale, says):
    monkeypatch.chdir(project)
    listed = "{ paper: tdr, cells: [mnist-4v9/rho0.1/tdr], why: a test }"
    (project / "config/priorities.yaml").write_text(f"priorities:\n  - {listed}\n")
    with pytest.raises(ConfigError, match=says):
        spec_files.main(targets, scale, tmp_path / "specs", in_order=True)
    assert not (tmp_path / "specs").exists()


@pytest.mark.parametrize(("seconds", "said"), [(4, "4 s"), (89, "89 s"), (120, "2 min"), (7200, "2.0 h")])
def test_duration(seconds, said):
    assert plan.duration(seconds) == said
