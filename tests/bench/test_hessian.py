"""AutoBalance's search: every route gives the product that it says, and the whole follows from what was timed."""

import math
from dataclasses import replace

import pytest
import torch

from reweigh.bench import contenders as make
from reweigh.bench import hessian
from reweigh.bench.measure import Bench, Contender
from reweigh.hypergrad.implicit import TrainingGradient
from reweigh.methods import autobalance

CPU = torch.device("cpu")


@pytest.fixture
def tiny(small, monkeypatch):
    monkeypatch.setattr(hessian, "SIZE", 8)
    monkeypatch.setattr(hessian, "TIMED", {"lenet": 2, "resnet32": 1})
    monkeypatch.setattr(hessian, "REPEAT", {"lenet": 1, "resnet32": 1})
    return small


@pytest.mark.parametrize("layout", hessian.LAYOUTS)
@pytest.mark.parametrize("model", hessian.SMALL)
def test_exact_routes_are_exact_and_a_difference_is_declared_an_approximation(small, model, layout):
    found = hessian.errors(CPU, model, layout)
    assert list(found) == list(hessian.ROUTES)
    assert all(error < 1e-12 for route, error in found.items() if route != "difference")
    assert found["difference"] > 1e-3
    notes = [hessian.said(route, error) for route, error in found.items()]
    assert [note.startswith("exact") for note in notes] == [True, True, True, False] and "approximation" in notes[3]


def test_an_error_is_the_largest_over_the_largest():
    assert hessian._error(torch.tensor([1.0, -4.0, 2.5]), torch.tensor([1.0, -4.0, 2.0])) == 0.125


@pytest.mark.parametrize("layout", hessian.LAYOUTS)
def test_what_is_kept_makes_no_graph_and_the_images_lie_in_the_layout(tiny, monkeypatch, layout):
    passes = []
    loss = hessian.Products.loss
    monkeypatch.setattr(hessian.Products, "loss", lambda *known: passes.append(1) or loss(*known))
    problem = hessian.Products(CPU, hessian.spec_of("resnet32", layout))
    counted = {}
    for route in hessian.ROUTES:
        work, before = problem.by(route), len(passes)
        work()
        work()
        counted[route] = len(passes) - before
    assert counted == {"reverse": 2, "kept": 0, "forward": 2, "difference": 2}
    inputs = problem.problem.batch.inputs
    assert inputs.is_contiguous(memory_format=torch.channels_last) == (layout == "channels-last")


def test_the_whole_of_a_search_by_hand():
    """p = 1, q = 1.1, o = 50: 23,478 steps of search, 724 hypergradients, 29,100 steps of a training."""
    whole, training = hessian.whole_search(1.0, 1.1, 50.0)
    assert training == 29_100 and whole == pytest.approx(23_478 * 1.1 + 724 * 50 + 29_100)
    assert math.ceil(9_931 / 128) == hessian.SEARCH_STEPS and hessian.TRAINING_STEPS == (9_931 + 2_487) // 128
    assert hessian.whole_search(2.0, 2.0, 0.0)[0] / hessian.whole_search(2.0, 2.0, 0.0)[1] == pytest.approx(1.80680412)


def test_what_a_product_may_take_for_the_printed_range():
    """As docs/speed.md says: 1.1 to 1.8 plain steps, a hypergradient being 20 + 60 of them."""
    found = [hessian.whole_search(1.0, 1.0, 20 + 60 * taken) for taken in (1.136, 1.806)]
    assert [whole / training for whole, training in found] == pytest.approx([4, 5], abs=0.002)


@pytest.mark.parametrize("steps", [78, 40, 41])
def test_an_epoch_of_the_code_has_as_many_hypergradients_as_the_formula_says(tiny, monkeypatch, steps):
    outer = []
    monkeypatch.setattr(hessian, "SEARCH_STEPS", steps)
    monkeypatch.setattr(autobalance.Method, "_outer_step", lambda self, step: outer.append(int(step.number)))
    run = make.run_of(hessian.spec_of("lenet", "channels-last", "autobalance"), CPU)
    run.method.steps_per_epoch = steps
    for number in range(2 * steps):
        if "outer" in (program := run.method._due(number)):
            outer.append(program)
    assert len(outer) == 2 * -(-steps // hessian.CADENCE)
    (_, training), (whole, _) = hessian.whole_search(1.0, 0.0, 0.0), hessian.whole_search(1.0, 0.0, 1.0)
    assert whole - training == hessian.ACTIVE_EPOCHS * len(outer) / 2
    assert run.method.options["outer_every"] == hessian.CADENCE and run.method.options["batches"] == hessian.BATCHES


def test_what_is_timed_has_a_hypergradient_in_every_turn_or_in_none(tiny, monkeypatch):
    """With as many products as said: five in a search step with one, of so many batches a part."""
    products, outer = [], []
    product, step = TrainingGradient.hessian_product, autobalance.Method._outer_step
    monkeypatch.setattr(
        TrainingGradient, "hessian_product", lambda self, u: products.append(len(self.losses)) or product(self, u)
    )
    monkeypatch.setattr(autobalance.Method, "_outer_step", lambda self, now: outer.append(1) or step(self, now))
    resting = hessian.stepping(tiny, "lenet", "nchw", "autobalance", outer_every=hessian.NEVER)
    assert outer == [1]  # the first step of an epoch, which is not timed
    for _ in range(3):
        resting.advance()
    assert outer == [1]
    searching = hessian.searching(tiny, "lenet", "nchw", "kept")
    products.clear()
    outer.clear()
    searching.block()
    assert outer == [1] and products == [2] * 5 and searching.note == "2 + 2 batches"


@pytest.mark.parametrize(("layout", "route"), hessian.SEARCHES)
@pytest.mark.parametrize("model", hessian.SMALL)
def test_a_timed_hypergradient_takes_the_route_that_it_is_named_for(small, monkeypatch, model, layout, route):
    """With one batch of each part `reverse` keeps its graph, and what is timed would be the route `kept`."""
    monkeypatch.setattr(hessian, "SIZE", 4)
    known = []
    make_gradient = autobalance.TrainingGradient
    monkeypatch.setattr(
        autobalance,
        "TrainingGradient",
        lambda *parts, **how: known.append((how["keep_graphs"], how["route"])) or make_gradient(*parts, **how),
    )
    hessian.searching(small, model, layout, route).block()
    assert set(known) == {(route == "kept", "reverse" if route == "kept" else route)}


def test_lines_are_ratios_within_a_round_and_to_the_plain_step_of_their_layout():
    names = [hessian.PLAIN, f"{hessian.PLAIN}, NCHW", f"{hessian.RESTING}", f"{hessian.RESTING}, NCHW"]
    names += [f"{hessian.SEARCHING}, {route}{hessian.LAYOUTS[layout]}" for layout, route in hessian.SEARCHES]
    names += [f"{hessian.PRODUCT}, kept, NCHW"]
    ticks = dict(
        zip(names, ([2.0, 4.0], [1.0, 2.0], [2.0, 4.0], [1.0, 2.0], *[[11.0, 22.0]] * 3, [3.0, 6.0]), strict=True)
    )
    taken = {name: Contender(lambda: 0.0) for name in names}
    lines = {one.contender: one for one in hessian.of_model(Bench(CPU, 2, print), "resnet32", "a net", taken, ticks)}
    kept = lines[f"{hessian.PRODUCT}, kept, NCHW"]
    assert (kept.baseline, kept.ratio, kept.group) == (f"{hessian.PLAIN}, NCHW", 3, f"{hessian.PRODUCT}s, a net")
    assert lines[f"{hessian.PLAIN}, NCHW"].baseline == hessian.PLAIN
    assert lines[f"{hessian.PLAIN}, NCHW"].ratio == 0.5
    whole = lines[f"{hessian.WHOLE}, kept, NCHW"]
    added = hessian.BATCHES / hessian.TIMED["resnet32"] * 10
    assert whole.ratio == pytest.approx((23_478 + 724 * added) / 29_100 + 1) and whole.baseline == hessian.TRAINING
    assert hessian.PRINTED in whole.note and f"takes {added:.0f} plain steps" in whole.note


def test_the_group_measures_every_route_and_layout_of_both_nets(tiny):
    lines = hessian.hessian(replace(tiny, rounds=2))
    products = [one for one in lines if one.contender.startswith(hessian.PRODUCT)]
    assert len(products) == 2 * 2 * 4 and all(one.ratio > 0 and one.rounds == 2 and one.note for one in products)
    assert all(one.peak_mebibytes is None or one.peak_mebibytes >= 0 for one in products)
    wholes = [one for one in lines if one.contender.startswith(hessian.WHOLE)]
    assert len(wholes) == 2 * 3 and all(one.ratio > 1 for one in wholes)
    assert not any(one.method for one in lines)  # nothing that `reweigh plan` predicts from
