"""A line a minute in the log of a training job: how far, how fast, how long to go."""

from types import SimpleNamespace

from support import ROOT

from reweigh.config.loading import load
from reweigh.training import __main__ as training


def run_of(spec, step):
    course = SimpleNamespace(stage=SimpleNamespace(epochs=4), at=lambda step: SimpleNamespace(epoch=step // 10))
    return SimpleNamespace(
        spec=spec, courses=[course], course=course, stage_step=step, step=step, total_steps=40, over=step == 40
    )


def test_a_log_has_a_line_a_minute(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    config = load(ROOT)
    names = [f"smoke/tdr/mnist-4v9/rho0.1/tdr/seed{seed}" for seed in (0, 1)]
    specs = [config.resolve(name) for name in names]
    with training.Progress(specs) as progress:
        for step in range(1, 41):
            now[0] += 10
            progress.add(1, run_of(specs[0], step))
        progress.ended("first: finished")
        now[0] += 60
        progress.add(100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"1/2 {names[0]}: epoch 1 of 4, 6 of 40 steps, 0.1 steps/s, about 6 min left"
    assert lines[5] == f"1/2 {names[0]}: epoch 4 of 4, 36 of 40 steps, 0.1 steps/s, about 40 s left"
    assert lines[6:] == ["1/2 first: finished", "1 of 2 runs are over, 1.0 steps/s, about 8 min left"]
