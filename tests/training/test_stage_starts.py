"""What a stage begins with, and an epoch of members, in runs that are stopped anywhere: on real MNIST."""

import io

import numpy as np
import pytest
import torch
from support.mnist_runs import outcome, run_of, spec_of

from reweigh.errors import ConfigError
from reweigh.methods import base, hard, none, none_and_target
from reweigh.training import sealed
from reweigh.weights import inverse_frequency


def states_of(run):
    """Finish a run; its states after each step, as a checkpoint keeps them."""
    states = {}

    def tick(at):
        saved = io.BytesIO()
        torch.save(at.state(), saved)
        states[at.step] = saved.getvalue()

    run.finish(tick)
    return states


def resumed(spec, mnist, state):
    run = run_of(spec, mnist)
    run.load_state(sealed.load(io.BytesIO(state)))
    run.finish()
    return run


class Hardest(base.Method):
    """A search, and then the examples with the largest losses so far, which move with each step."""

    def __init__(self, options, context):
        super().__init__(options, context)
        self.scores, self.prior = torch.zeros(len(context.train)), torch.ones(2)
        self.told = []

    def stages(self, epochs):
        return [base.Stage("search", 1), base.Stage("hardest", 2, part="members")]

    def members(self, stage):
        return np.sort(torch.argsort(self.scores, descending=True, stable=True)[:60].numpy())

    def begin(self, stage, model):
        self.told.append((stage.name, self.context.class_counts.tolist()))

    def begin_epoch(self, at, model):
        super().begin_epoch(at, model)
        self.prior.copy_(inverse_frequency(self.context.class_counts))
        self.log(counts=self.context.class_counts.clone())

    def example_weights(self, step, losses):
        self.scores.index_copy_(0, step.batch.rows, losses)
        return self.prior[step.batch.labels] * 2 / len(losses)

    def state(self):
        return {**super().state(), "scores": self.scores, "prior": self.prior}

    def load_state(self, state):
        super().load_state(state)
        self.scores.copy_(state["scores"])
        self.prior.copy_(state["prior"])


def with_method(monkeypatch, method):
    monkeypatch.setattr(none, "Method", method)
    return spec_of("none", batch_size=20, learning_rate=0.1)


def test_members_that_move_with_each_step_are_those_of_the_epoch_wherever_a_run_stops(mnist, monkeypatch):
    spec = with_method(monkeypatch, Hardest)
    whole = run_of(spec, mnist)
    states = states_of(whole)
    whole_outcome = outcome(whole)
    for step, state in states.items():
        assert outcome(resumed(spec, mnist, state)) == whole_outcome, f"stopped after step {step}"


def test_members_are_counted_before_their_stage_begins(mnist, monkeypatch):
    run = run_of(with_method(monkeypatch, Hardest), mnist)
    while run.stage == 0:
        run.advance()
    listed = run.method.members(run.course.stage)
    counts = torch.bincount(run.parts.train.labels[torch.from_numpy(listed)], minlength=2).tolist()
    untold = torch.bincount(run.parts.train.labels[:60], minlength=2).tolist()  # what the scores of before say: nothing
    assert run.method.told[-1] == ("hardest", counts) != ("hardest", untold)
    run.finish()
    assert run.trace()["counts"][1].tolist() == counts


def test_a_method_is_made_with_the_counts_of_what_its_first_stage_trains_on(mnist, monkeypatch):
    class OnAll(hard.Method):
        def stages(self, epochs):
            return [base.Stage("all", epochs, part="train+validation")]

    spec = with_method(monkeypatch, OnAll)
    spec["method_options"] = {"scale": "simplex"}
    spec["data"]["split"]["validation_size"] = 100
    run = run_of(spec, mnist)
    labels = torch.cat([run.parts.train.labels, run.parts.validation.labels])
    expected = inverse_frequency(torch.bincount(labels, minlength=2).float())
    assert torch.equal(run.method.weights, expected)
    assert not torch.allclose(expected, inverse_frequency(torch.bincount(run.parts.train.labels).float()), rtol=0.05)
    assert len(run.method.context.train) == len(labels)
    assert run.method.context.fresh.per_cycle == run.course.steps_per_epoch


@pytest.mark.parametrize("second", ["train", "fresh", "train+validation"])
def test_what_is_deferred_is_deferred_anew_in_each_stage(mnist, monkeypatch, second):
    seen = []

    class Twice(base.Method):
        def stages(self, epochs):
            part = "train+validation" if second == "train+validation" else "train"
            return [base.Stage("one", epochs), base.Stage("two", epochs, part=part, fresh=second == "fresh")]

        def begin_epoch(self, at, model):
            super().begin_epoch(at, model)
            even = self.class_weights.tolist() == [1.0, 1.0]
            seen.append((at.stage_epoch, even, bool(self.loss.kept.all())))

        def example_weights(self, step, losses):
            return torch.full_like(losses, 1 / len(losses))

    spec = with_method(monkeypatch, Twice)
    loss = {"name": "gce", "q": 0.7, "truncation": 0.9, "refresh_from": 2, "refresh_every": 1}
    spec["method_options"] = {"loss": loss, "class_balance": {"beta": 0.99, "from_epoch": 2}}
    spec["training"]["epochs"] = 3
    spec["data"]["split"]["validation_size"] = 100
    run = run_of(spec, mnist)
    run.finish()
    each = [(0, True, True), (1, True, True), (2, False, False)]
    assert seen == [*each, *each]


def test_gradients_are_off_in_what_is_called_between_steps(mnist, monkeypatch):
    """A method may sum up weights there: with a graph, the next step would fail or keep all of them."""
    seen = []

    class Listening(base.Method):
        def begin(self, stage, model):
            seen.append(sum(value.sum() for value in model.parameters()).requires_grad)

        end = begin

        def begin_epoch(self, at, model):
            self.begin(at.stage, model)

        def example_weights(self, step, losses):
            return torch.full_like(losses, 1 / len(losses))

    run_of(with_method(monkeypatch, Listening), mnist).finish()
    assert len(seen) == 6 and not any(seen)


def test_plain_training_on_the_target_set_too_sees_every_example_of_both(mnist, monkeypatch):
    spec = with_method(monkeypatch, none_and_target.Method)
    run = run_of(spec, mnist)
    both = len(run.parts.train) + len(run.parts.target)
    assert len(run.course.part) == both and run.course.steps_per_epoch == both // spec["training"]["batch_size"]
    assert int(run.method.context.class_counts.sum()) == both
    indices = np.concatenate([run.parts.split.train.index, run.parts.split.target.index])
    assert len(set(indices.tolist())) == both  # none of them twice
    run.finish()
    assert run.results()["stages"][0]["part"] == "train+target"


@pytest.mark.parametrize(
    ("change", "says"),
    [({"target_inside": True}, "has one already: target_inside"), ({"target_size": 0}, "the split has no target set")],
)
def test_a_stage_on_a_target_set_that_is_not_beside_the_training_set_is_refused(mnist, monkeypatch, change, says):
    spec = with_method(monkeypatch, none_and_target.Method)
    spec["data"]["split"].update(change)
    with pytest.raises(ConfigError, match=says):
        run_of(spec, mnist)
