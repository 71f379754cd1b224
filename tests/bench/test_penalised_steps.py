"""HAR's penalised step in the bench: every exact contender takes the same step, and each is measured."""

from dataclasses import replace

import torch
from support.project import ROOT

from reweigh.bench import penalised_steps, table
from reweigh.bench.penalised_loop import PenalisedLoop
from reweigh.config.methods.har import CARD
from reweigh.config.methods.penalised import RESNET32
from reweigh.config.validation import validated

CPU = torch.device("cpu")


def test_its_options_are_those_of_the_card():
    for route in (penalised_steps.EXACT, penalised_steps.DIFFERENCE):
        validated(CARD.options, {**penalised_steps.OPTIONS, **route}, "here")
    assert penalised_steps.OPTIONS["layers"] == RESNET32


def test_the_public_codes_step_has_the_gradient_of_hars_first_step(small):
    for layout, most in (("channels-last", 1e-4), ("nchw", 0.01)):
        run = penalised_steps.run_of(CPU, penalised_steps.EXACT, layout)
        batch = run.course.batches.batch(0)
        loop = PenalisedLoop(penalised_steps.run_of(CPU, None, layout).model, "blocks.")
        assert len(loop.norms) == 30
        strengths = penalised_steps.LAMBDA * run.method.strengths[batch.labels]
        theirs = torch.cat([one.flatten() for one in loop.gradients(batch.inputs, batch.labels, strengths)])
        ours = penalised_steps.gradient_of(run)
        plain = penalised_steps.gradient_of(penalised_steps.run_of(CPU, None, layout))
        assert (ours - theirs).norm() < most * (ours - plain).norm()


def test_a_step_of_the_loop_moves_its_own_model_alone(small):
    run = penalised_steps.run_of(CPU, penalised_steps.EXACT)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    penalised_steps.loop_of(run)()
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_every_contender_is_measured_against_a_plain_step(small):
    lines = penalised_steps.penalised_steps(replace(small, rounds=2))
    assert {one.baseline for one in lines} == {"plain step"} and len(lines) == 6
    assert all(one.ratio > 0 and one.rounds == 2 and one.peak_mebibytes is not None for one in lines)
    (note,) = [one.note for one in lines if one.contender == "HAR, difference"]
    assert float(note.split()[2]) < 0.05


def test_what_was_measured_bears_out_the_page():
    """docs/speed.md: below the goal's multiples of a plain step, faster than public code, and how much less memory."""
    lines = table.read(ROOT / table.CSV.with_name("penalty.csv"))
    by_threads = {}
    for line in lines:
        by_threads.setdefault(line.threads, {})[line.contender] = line
    assert len(by_threads) == 2
    saved = []
    for known in by_threads.values():
        exact, difference = known["HAR, double backward"], known["HAR, difference"]
        public = known["the public code's step, NCHW"]
        assert exact.ratio <= 3.5 and difference.ratio <= 2.2
        assert exact.milliseconds < public.milliseconds and exact.peak_mebibytes < public.peak_mebibytes
        saved.append(round(100 * (1 - difference.peak_mebibytes / exact.peak_mebibytes)))
    text = (ROOT / "docs/speed.md").read_text()
    assert f"{min(saved)} to {max(saved)} % of the memory" in text
