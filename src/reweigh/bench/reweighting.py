"""What learned reweighting costs over plain training, in time and in arithmetic: supplement E of LRWOpt (CVPR 2024).

Timed are turns of `CYCLE` steps, in which a method that learns every fifth step does so once; memory is that of a turn.
Operations are counted over a turn by torch's FlopCounterMode, which sees forward-mode passes too: two a multiply-add,
of convolutions and matrix products alone. Lines of a group with FLOPs in its name are ratios of counts.

From these follow whole runs of the paper's schedule on CIFAR-100: 100 epochs of 703 steps of 64 images, a pool of
50,000. With p, q the time of a step of plain training and of the method, s that of a pass over the pool and g that of a
new split of it,

    ERM        100 · 703 p
    LRWOpt     25 · 703 p + 75 (703 q + g)                 a split an epoch, after 25 epochs of plain training
    LRW-Hard   100 · 703 p + s + 100 · 703 q               ERM, margins, training again
    MWN, L2RW  100 · 703 q

and one more s where features of the pool are stored. Evaluation is left out. The meta-network φ is timed in three
forms, as the paper does not say what of it is trained: the whole net, or its head alone, on the features of augmented
images or on those that were stored once. The cheapest LRWOpt has its splitter on stored features too, so that a split
looks at no image. MWN's virtual step is that of its authors, before the step, or the step itself. All nets drop a
quarter, as the paper's. WRN-16-4 takes batches of 8, to be timed sooner: then its whole runs are of as many steps, with
pools of an eighth.

Nets have one thread, and times are those that the processor spent (on a GPU: that passed), as in `bench/hessian.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

import reweigh.bench.contenders as make
from reweigh.bench.entries import plain
from reweigh.bench.measure import Bench, Contender, advance
from reweigh.bench.table import Line
from reweigh.training.engine import Run

CYCLE, UNTIMED = 5, 4  # the steps of a turn, and the turns before those that are timed
EPOCHS, WARM_EPOCHS, POOL, SIZE = 100, 25, 50_000, 64  # as in the paper; POOL and SIZE are images, of a batch SIZE
STEPS = 45_000 // SIZE
LENET, RESNET, WRN = "lenet", "resnet32", "wrn"


class Net(NamedTuple):
    """A net of the bench: its title, its model, the data set, and the size of the batches that it is timed with."""

    title: str
    model: str
    options: Mapping[str, Any]
    dataset: str
    size: int

    @property
    def place(self) -> str:
        """Net and batch, as groups end."""
        return f"{self.title}, B = {self.size}"


NETS = {
    LENET: Net("LeNet", "lenet_dropout", {"dropout": 0.25}, "mnist", SIZE),
    RESNET: Net("ResNet-32", "resnet32", {"dropout": 0.25}, "cifar10-slice", SIZE),
    WRN: Net("WRN-16-4", "wrn", {"depth": 16, "width": 4, "dropout": 0.25}, "cifar10-slice", SIZE // 8),
}


class Timed(NamedTuple):
    """A method whose steps are timed: its module, what its options are beside those of its bench entry, its run."""

    uses: str
    options: Mapping[str, Any]
    kind: str  # of a run as a whole


PLAIN, ERM = "plain step", "ERM"
SCORING, SPLITTING = "margins of the pool", "a split of the pool"
SPLITTING_STORED = f"{SPLITTING}, stored features"
CHEAPEST = "LRWOpt, head of φ, all features stored"
NETWORKS = {
    "": {"trains": "all", "inputs": "augmented"},
    ", head of φ": {"trains": "head", "inputs": "augmented"},
    ", head of φ, stored features": {"trains": "head", "inputs": "stored"},
}
METHODS = {
    "MWN": Timed("mwn", {"meta_every": CYCLE}, "MWN"),
    "MWN, shared virtual step": Timed("mwn", {"meta_every": CYCLE, "virtual_step": "shared"}, "MWN"),
    "MWN, every step": Timed("mwn", {"meta_every": 1}, "MWN"),
    "L2RW": Timed("l2rw", {}, "L2RW"),
    **{f"LRW-Hard{name}": Timed("lrw", {"network": one}, "LRW-Hard") for name, one in NETWORKS.items()},
    **{f"LRWOpt{name}": Timed("lrwopt", {"network": one}, "LRWOpt") for name, one in NETWORKS.items()},
    CHEAPEST: Timed(
        "lrwopt",
        {"network": NETWORKS[", head of φ, stored features"], "splitter": {"features": "warm"}},
        "LRWOpt",
    ),
}
PRINTED = {"MWN": (1.4, None), "L2RW": (1.4, None), "LRW-Hard": (2.4, 2.3), "LRWOpt": (1.6, 1.7)}  # time, FLOPs


# --- runs ------------------------------------------------------------------------------------------------------------


def spec_of(net: Net, uses: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a net under a method, of whose options some are replaced."""
    spec = make.spec_of(RESNET, uses, dataset=net.dataset, batch_size=net.size, target_batch_size=net.size)
    if net.dataset == "mnist":
        spec["data"] |= {"scale_inputs": "centred", "augment": "none"}
    spec["model"] = {"name": net.model, "options": dict(net.options)}
    for name, value in options.items():
        known = spec["method_options"][name]
        spec["method_options"][name] = {**known, **value} if isinstance(value, Mapping) else value
    if "outer_batch_size" in spec["method_options"]:
        spec["method_options"]["outer_batch_size"] = net.size
    return spec


def run_of(bench: Bench, net: Net, uses: str, options: Mapping[str, Any], turns: int) -> Run:
    """A run where its method begins to learn, with steps for so many turns in an epoch."""
    return make.at_members(make.run_of(spec_of(net, uses, options), bench.device, steps=(turns + UNTIMED) * CYCLE))


def pool_of(run: Run) -> int:
    """How many examples the training set and what is held out of it are."""
    return len(run.parts.train_and_validation)


def operations_of(work: Callable[[], Any]) -> float:
    """Floating-point operations of `work`: of its convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


# --- parts of a training ---------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Something that a training consists of: what takes turns, and the operations of what is timed in one."""

    contender: Contender
    operations: float


def stepping(bench: Bench, net: Net, name: str, timed: Timed | None) -> tuple[Part, Run]:
    """A step of a method, or of plain training, on average over a cycle."""
    bench.progress(f"reweighting, {net.title}: {name}")
    uses, options = (timed.uses, timed.options) if timed else (plain(), {})
    run = run_of(bench, net, uses, options, turns=bench.rounds)
    advance(run, CYCLE)
    operations = operations_of(lambda: advance(run, CYCLE)) / CYCLE
    peak = bench.peak_of(lambda: advance(run, CYCLE))
    return Part(Contender(bench.steps_of(run, CYCLE), peak_mebibytes=peak), operations), run


def passing(bench: Bench, net: Net, run: Run, work: Callable[[], Any], note: str) -> Part:
    """Something that looks at the whole pool, for as many examples as make `POOL` in batches of `SIZE`."""
    share = POOL / pool_of(run) * net.size / SIZE
    timed = bench.timed(work)
    return Part(Contender(lambda: timed() * share, note=note), operations_of(work) * share)


def parts_of(bench: Bench, net: Net) -> dict[str, Part]:
    """Everything that is timed on a net, by name."""
    steps, passes = {PLAIN: stepping(bench, net, PLAIN, None)[0]}, {}
    for name, timed in METHODS.items():
        steps[name], run = stepping(bench, net, name, timed)
        if name == "LRW-Hard":
            passes[SCORING] = passing(
                bench, net, run, partial(_scored, run), "once, and once more for features to store"
            )
        elif split := {"LRWOpt": SPLITTING, CHEAPEST: SPLITTING_STORED}.get(name):
            passes[split] = passing(bench, net, run, run._begin_epoch, "once an epoch")
    return steps | passes


def _scored(run: Run) -> None:
    with torch.no_grad():
        run.method.margins_by(run.model)  # type: ignore[attr-defined]


# --- whole runs ------------------------------------------------------------------------------------------------------


def whole(name: str, costs: Mapping[str, float]) -> float:
    """What a run of `METHODS`, or "ERM", takes, of the costs of parts by name: see above."""
    plain_epoch = STEPS * costs[PLAIN]
    if name == ERM:
        return EPOCHS * plain_epoch
    kind, epoch = METHODS[name].kind, STEPS * costs[name]
    stored = costs[SCORING] if "stored" in name else 0.0
    if kind == "LRWOpt":
        split = costs[SPLITTING_STORED if name == CHEAPEST else SPLITTING]
        return WARM_EPOCHS * plain_epoch + stored + (EPOCHS - WARM_EPOCHS) * (epoch + split)
    if kind == "LRW-Hard":
        return EPOCHS * plain_epoch + costs[SCORING] + stored + EPOCHS * epoch
    return EPOCHS * epoch


def reweighting(bench: Bench) -> list[Line]:
    """Steps, passes over the pool and whole runs, on LeNet, ResNet-32 and WRN-16-4."""
    lines: list[Line] = []
    torch.set_num_threads(1)
    for net in NETS.values():
        own = replace(bench, of_processor=True)
        parts = parts_of(own, net)
        taken = {name: part.contender for name, part in parts.items()}
        lines += of_net(own, net, parts, own.turns(f"reweighting, {net.title}", taken))
    return lines


def of_net(bench: Bench, net: Net, parts: Mapping[str, Part], times: Mapping[str, list[float]]) -> list[Line]:
    """The lines of a net: parts against a plain step, then whole runs against that of ERM."""
    lines, where = [], net.place
    operations = {name: part.operations for name, part in parts.items()}
    for name, part in parts.items():
        counted = f"{operations[name] / operations[PLAIN]:.4g} x the operations"
        note = "; ".join([*([part.contender.note] if part.contender.note else []), counted])
        group = f"{'pool' if name in (SCORING, SPLITTING, SPLITTING_STORED) else 'steps'}, {where}"
        lines.append(bench.line(group, name, replace(part.contender, note=note), times[name], PLAIN, times[PLAIN]))
    rounds = [{name: ticks[number] for name, ticks in times.items()} for number in range(bench.rounds)]
    erm = [whole(ERM, one) for one in rounds]
    for name, timed in METHODS.items():
        took, _ = PRINTED[timed.kind]
        party = Contender(lambda: 0.0, note=f"the paper prints {took}")
        lines.append(bench.line(f"whole run, {where}", name, party, [whole(name, one) for one in rounds], ERM, erm))
    for name, timed in METHODS.items():
        _, count = PRINTED[timed.kind]
        party = Contender(lambda: 0.0, note=f"the paper prints {count}" if count else "")
        ratio = whole(name, operations) / whole(ERM, operations)
        line = bench.line(f"whole run, FLOPs, {where}", name, party, [ratio], ERM, [1.0])
        lines.append(replace(line, milliseconds=0.0, q1=ratio, q3=ratio))
    return lines
