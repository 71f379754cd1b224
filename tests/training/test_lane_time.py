"""Lanes: whose time it is."""

import time
from types import SimpleNamespace

import pytest
from support import project
from support.lanes import CPU, Run, World, job_of, plain_specs, specs

from reweigh.training import engine, interleave
from reweigh.training.checkpoint import Clock, OutOfTime
from reweigh.training.interleave import Account, Shares
from reweigh.training.run import Job


def seconds_of(waits, at_once, evaluates=0.0, saves=0.0):
    """What runs are charged, by name, whose steps make the host wait so long; and how long all of it took."""
    world = World()

    def make(spec):
        world.now += 5  # reading data: on nobody's account
        run = Run(world, waits[spec["method"]], evaluates)

        def write():
            world.written[spec["method"]] = run.seconds
            return spec

        def keeper(run):
            world.now += saves

        return job_of(spec, run, write, keeper)

    specs = [{"method": name, "data": {"dataset": "mnist"}, "model": {"name": "lenet"}} for name in waits]
    interleave.train(specs, at_once, CPU, make, lambda record: None, clock=world.clock)
    return world.written, world.now


def test_a_run_that_waits_for_the_device_is_not_charged_the_time_of_all():
    charged, _ = seconds_of({"first": [9, 9], "second": [0, 0], "third": [0, 0]}, 3)
    assert charged == {"first": 6, "second": 6, "third": 6}


def test_the_time_is_shared_by_the_lanes_that_are_there():
    charged, _ = seconds_of({"short": [6], "long": [0, 4, 4], "later": [0, 2]}, 2)
    # 6 s for `short` and `long`, 4 + 4 s for `long` and `later`, 2 s for `later` alone.
    assert charged == {"short": 3, "long": 3 + 2 + 2, "later": 2 + 2 + 2}


def test_alone_a_run_is_charged_all_of_its_steps_and_nothing_else():
    charged, passed = seconds_of({"only": [1, 2, 3]}, 1, evaluates=100, saves=50)
    assert charged == {"only": 6} and passed > 300


def test_evaluation_and_checkpoints_are_nobodys():
    charged, _ = seconds_of({"one": [2, 2], "other": [2, 2]}, 2, evaluates=100, saves=50)
    assert charged == {"one": 1 + 1 + 1, "other": 1 + 1 + 1 + 2}  # its last step is alone on the device


def test_shares_of_lanes_that_come_and_go():
    world = World()
    shares = Shares(world.clock)
    a, b = Account(shares), Account(shares)
    a.enter()
    world.now = 4
    assert a() == 4
    b.enter()
    world.now = 10
    assert (a(), b()) == (7, 3)
    world.now = 11
    a.leave()  # between two readings: nobody's
    world.now = 15
    assert b() == 7
    world.now = 20
    assert (a(), b()) == (7, 7)  # `a` reads while it is not there: what it did is nobody's
    world.now = 30
    assert (b.resume(), b()) == (7, 7)


@pytest.mark.parametrize("epochs", [[4], [2, 4], [1, 2, 3, 4]])
def test_what_runs_are_charged_in_all_is_the_time_of_all_steps(folder, monkeypatch, epochs):
    """Also at the end of a stage and of a run, where the engine reads the clock after it has evaluated."""
    monkeypatch.chdir(folder)
    world, device_side, measured = World(), engine.Run._device_side, engine.Run._measured

    def step(run):
        world.now += 1
        return device_side(run)

    def evaluate(run, measure):
        world.now += 1000
        return measured(run, measure)

    monkeypatch.setattr(engine.Run, "_device_side", step)
    monkeypatch.setattr(engine.Run, "_measured", evaluate)
    wanted = [specs("none", seeds=seed + 1, epochs=count)[seed] for seed, count in enumerate(epochs)]
    bodies = []
    interleave.train(wanted, len(wanted), CPU, lambda spec: Job(spec, CPU, Clock()), bodies.append, clock=world.clock)
    charged = {body["spec"]["training"]["epochs"]: (body["steps"], body["seconds"]) for body in bodies}
    assert sorted(charged) == epochs and world.now > 1000
    steps, seconds = (sum(one) for one in zip(*charged.values(), strict=True))
    assert seconds == pytest.approx(steps, abs=0.5)  # beginning the first stage takes real time
    most = max(epochs)
    assert charged[most][1] == pytest.approx(charged[most][0], abs=3)  # whose turn it is when others come and go


def test_what_is_saved_when_time_is_up_costs_nobody_anything():
    world, saved = World(), {}

    def make(spec):
        run = Run(world, [3] * 9, 0)

        def save(run):
            saved[spec["seed"]] = run.seconds
            world.now += 50

        def keeper(run):
            if keeper.clock.is_up():
                save(run)
                raise OutOfTime

        keeper.clock, keeper.save = SimpleNamespace(is_up=lambda: world.now >= 18), save
        return job_of(spec, run, keeper=keeper)

    with pytest.raises(OutOfTime):
        interleave.train(plain_specs(3), 3, CPU, make, lambda record: None, clock=world.clock)
    assert saved == {0: 6, 1: 6, 2: 6} and world.now == 18 + 3 * 50


def test_on_a_cpu_runs_count_processor_time_as_they_always_did(tmp_path, raw_root, monkeypatch):
    monkeypatch.chdir(project.make(tmp_path, raw_root))
    made = []
    interleave.train(specs("tdr")[:1], 1, CPU, lambda spec: made.append(Job(spec, CPU)) or made[-1], lambda body: None)
    assert made[0].run.clock is time.process_time
