"""TDR against example reweighting by both routes: the same weights, and what grows with what."""

import numpy as np
import pytest
import torch

from reweigh.bench import appendix_a
from reweigh.bench import contenders as make
from reweigh.bench.appendix_a import CLASSES, SIZES, ErByDoubleBackprop, NewWeights, TdrByDoubleBackprop
from reweigh.bench.measure import Bench
from reweigh.hypergrad import double_backprop, lookahead
from reweigh.methods import tdr

CPU = torch.device("cpu")


@pytest.mark.parametrize(("model", "steps"), [("lenet", 11), ("resnet32", 1)])  # batch norms let roundings grow
@pytest.mark.parametrize(("uses", "twin"), [("tdr", TdrByDoubleBackprop), ("er", ErByDoubleBackprop)])
def test_a_run_by_double_backpropagation_is_the_same_run(small, monkeypatch, model, steps, uses, twin):
    """As far as arithmetic is: the same parameters after some steps; and each outer step did go the other way."""
    calls = []
    way = double_backprop.example_hypergradient
    monkeypatch.setattr(double_backprop, "example_hypergradient", lambda **given: calls.append(1) or way(**given))
    ours = make.run_of(make.spec_of(model, uses, target_batch_size=4), CPU)
    theirs = make.with_method(make.run_of(make.spec_of(model, uses, target_batch_size=4), CPU), twin)
    for _ in range(steps):
        ours.advance()
    assert not calls
    for _ in range(steps):
        theirs.advance()
    assert len(calls) == (1 + (steps - 1) // 10 if uses == "tdr" else steps)
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-4)
    assert tdr.example_hypergradient is lookahead.example_hypergradient  # put back


@pytest.mark.parametrize("classes", [2, 10])
def test_new_weights_are_the_same_by_both_routes(classes):
    problem = NewWeights(CPU, classes, 20)
    for find, count in ((NewWeights.of_classes, classes), (NewWeights.of_examples, 20)):
        forward, double = (find(problem, route) for route in appendix_a.ROUTES)
        assert forward.shape == double.shape == (count,) and forward.abs().sum() > 0
        torch.testing.assert_close(forward, double, rtol=2e-3, atol=1e-7)


def test_exponents_are_those_of_a_power_law():
    times = np.array([[3 * classes**0.25 * size**0.75 for size in SIZES] for classes in CLASSES])
    assert appendix_a.exponents(times) == pytest.approx((0.25, 0.75))


def test_growth_is_from_the_least_to_the_most_round_by_round():
    """Times that double from one round to the next, as on a machine that slows down, give the same ratios in both."""
    times = {
        appendix_a._named("weights", classes, size): [classes**0.5 * size * factor for factor in (1.0, 2.0)]
        for classes in CLASSES
        for size in SIZES
    }
    of_classes, of_sizes = appendix_a.growth(Bench(CPU, 2, print), "group", "weights", times)
    assert (of_classes.contender, of_classes.baseline) == ("weights, c = 100", "weights, c = 2")
    assert (of_sizes.contender, of_sizes.baseline) == ("weights, B = 200", "weights, B = 50")
    assert of_classes.ratio == pytest.approx(50**0.5) and of_sizes.ratio == pytest.approx(4)
    assert of_classes.note == "time ∝ c^0.50 [0.50, 0.50]" and of_sizes.note == "time ∝ B^1.00 [1.00, 1.00]"


def test_each_route_is_compared_with_its_like(small, monkeypatch):
    monkeypatch.setattr(appendix_a, "CLASSES", (2, 4))
    monkeypatch.setattr(appendix_a, "SIZES", (4, 8))
    lines = appendix_a.appendix_a(small)
    against = {(one.contender, one.baseline) for one in lines if "LeNet, B" in one.group}
    double = ", double backpropagation"
    assert against == {
        ("plain step", "plain step"),
        ("TDR, t_in = 10", "plain step"),
        (f"TDR, t_in = 10{double}", "plain step"),
        ("example reweighting", "TDR, t_in = 10"),
        (f"example reweighting{double}", f"TDR, t_in = 10{double}"),
    }
    assert len(lines) == 5 + 5 + 2 + 8 and all(one.ratio > 0 and one.rounds == 2 and not one.method for one in lines)
