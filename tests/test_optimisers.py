"""Our optimisers against torch's own, to the last bit; their state; and a training process without torch's compiler."""

import copy
import io
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT, capture

from reweigh.digest import PACKAGE
from reweigh.optimisers import Adam, MomentumSGD

SHAPES = ((), (3,), (17, 5), (4, 3, 3, 3), (1, 1, 3, 1))


def parameters_of(seed, dtype=torch.float32, channels_last=False):
    """Tensors of every shape, by name, some of whose values are 0 and −0."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for number, shape in enumerate(SHAPES):
        value = torch.randn(shape, generator=generator, dtype=dtype)
        draw = torch.rand(shape, generator=generator)
        value = torch.where(draw < 0.2, 0.0, torch.where(draw < 0.4, -0.0, value)).to(dtype)
        if channels_last and value.ndim == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        made[f"layer{number}"] = value
    return made


def gradients_of(parameters, seed, step, missing=0.0, strides="like"):
    """A gradient of every parameter but some: ordinary, huge, tiny and ±0 values; in the parameter's layout or not."""
    generator = torch.Generator().manual_seed(1000 * seed + step)
    made = {}
    for name, value in parameters.items():
        gradient = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        gradient *= 10.0 ** torch.randint(-12, 6, value.shape, generator=generator)
        draw = torch.rand(value.shape, generator=generator)
        gradient = torch.where(draw < 0.1, 0.0, torch.where(draw < 0.2, -0.0, gradient)).to(value.dtype)
        if strides == "like":
            gradient = torch.empty_like(value).copy_(gradient)
        if torch.rand((), generator=generator) >= missing:
            made[name] = gradient
    return made


def torchs(kind, parameters, decay, **options):
    """An optimiser of torch over copies of the parameters, which are returned too; one group a weight decay."""
    copies = {name: torch.nn.Parameter(value.clone(memory_format=torch.preserve_format)) for name, value in
              parameters.items()}  # fmt: skip
    by_name = decay if isinstance(decay, dict) else dict.fromkeys(copies, decay)
    groups = [
        {"params": [copies[name] for name in copies if by_name[name] == value], "weight_decay": value}
        for value in dict.fromkeys(by_name.values())
    ]
    return copies, kind(groups, **options)


def take(optimiser, copies, gradients, rate):
    """One step of an optimiser of torch."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
    for name, value in copies.items():
        value.grad = gradients[name].clone(memory_format=torch.preserve_format) if name in gradients else None
    optimiser.step()


def bits(values):
    """Values to the last bit: 0 and −0 differ, a NaN equals itself."""
    return {name: value.detach().contiguous().numpy().tobytes() for name, value in values.items()}


def assert_equal_steps(ours, theirs, copies, seed, rates, missing=0.0, strides="like"):
    for step, rate in enumerate(rates):
        gradients = gradients_of(ours.parameters, seed, step, missing, strides)
        ours.prepare(rate)
        ours.step(gradients)
        take(theirs, copies, gradients, rate)
        assert bits(ours.parameters) == bits(copies), f"step {step}"


DECAYS = st.sampled_from([0.0, 5e-4, 0.3])
LAYER_DECAYS = st.fixed_dictionaries({f"layer{number}": DECAYS for number in range(len(SHAPES))})
RATES = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=12)
DTYPES = st.sampled_from([torch.float32, torch.float64])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000), dtype=DTYPES, channels_last=st.booleans(), momentum=st.sampled_from([0.0, 0.5, 0.9]),
    nesterov=st.booleans(), decay=st.one_of(DECAYS, LAYER_DECAYS), missing=st.sampled_from([0.0, 0.4]), rates=RATES,
    strides=st.sampled_from(["like", "plain"]),
)  # fmt: skip
def test_momentum_sgd_equals_torchs(seed, dtype, channels_last, momentum, nesterov, decay, missing, rates, strides):
    nesterov = nesterov and momentum > 0
    parameters = parameters_of(seed, dtype, channels_last)
    copies, theirs = torchs(
        torch.optim.SGD, parameters, decay, lr=1.0, momentum=momentum, nesterov=nesterov, foreach=True
    )
    ours = MomentumSGD(parameters, 1.0, momentum, nesterov, decay)
    assert_equal_steps(ours, theirs, copies, seed, rates, missing, strides)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000), dtype=DTYPES, channels_last=st.booleans(), decay=st.one_of(DECAYS, LAYER_DECAYS),
    betas=st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)]), epsilon=st.sampled_from([1e-8, 1e-3]),
    rates=RATES, strides=st.sampled_from(["like", "plain"]),
)  # fmt: skip
def test_adam_equals_torchs(seed, dtype, channels_last, decay, betas, epsilon, rates, strides):
    parameters = parameters_of(seed, dtype, channels_last)
    copies, theirs = torchs(torch.optim.Adam, parameters, decay, lr=1.0, betas=betas, eps=epsilon, foreach=True)
    ours = Adam(parameters, 1.0, betas, epsilon, decay)
    assert_equal_steps(ours, theirs, copies, seed, rates, strides=strides)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000), channels_last=st.booleans(), momentum=st.sampled_from([0.0, 0.9]),
    nesterov=st.booleans(), decay=st.one_of(DECAYS, LAYER_DECAYS), rates=RATES,
)  # fmt: skip
def test_the_captured_path_equals_torchs_fused_kernel(seed, channels_last, momentum, nesterov, decay, rates):
    """With every gradient: torch itself fails where one is missing in the first step and there later."""
    nesterov = nesterov and momentum > 0
    parameters = parameters_of(seed, torch.float32, channels_last)
    copies, theirs = torchs(
        torch.optim.SGD, parameters, decay, lr=torch.tensor(1.0), momentum=momentum, nesterov=nesterov, fused=True
    )
    ours = MomentumSGD(parameters, 1.0, momentum, nesterov, decay, captured=True)
    assert_equal_steps(ours, theirs, copies, seed, rates)


@pytest.mark.parametrize("kind", ["sgd", "nesterov", "adam"])
def test_three_hundred_steps_down_a_valley_equal_torchs(kind):
    """The gradients follow from the parameters, so that one bit would grow."""
    parameters = parameters_of(7)
    if kind == "adam":
        copies, theirs = torchs(torch.optim.Adam, parameters, 5e-4, lr=1.0, foreach=True)
        ours = Adam(parameters, 1.0, decay=5e-4)
    else:
        options = {"momentum": 0.9, "nesterov": kind == "nesterov"}
        copies, theirs = torchs(torch.optim.SGD, parameters, 5e-4, lr=1.0, foreach=True, **options)
        ours = MomentumSGD(parameters, 1.0, decay=5e-4, **options)
    for step in range(300):
        rate = 0.1 / (1 + step)
        ours.prepare(rate)
        ours.step({name: torch.sin(3 * value) + value for name, value in parameters.items()})
        take(theirs, copies, {name: torch.sin(3 * value.detach()) + value.detach() for name, value in copies.items()},
             rate)  # fmt: skip
    assert bits(parameters) == bits(copies)


@pytest.mark.parametrize("captured", [False, True])
def test_gradients_that_lie_otherwise_in_memory_are_taken_as_they_mean(captured):
    """torch's fused kernel reads memory in order: of a gradient in another layout it would take wrong values."""
    parameters = parameters_of(3, channels_last=True)
    twin = {name: value.contiguous().clone() for name, value in parameters.items()}
    optimisers = [MomentumSGD(one, 0.1, 0.9, captured=captured) for one in (parameters, twin)]
    for step in range(3):
        gradients = gradients_of(twin, 3, step)
        for optimiser in optimisers:
            optimiser.step(gradients)
    assert bits(parameters) == bits(twin)


def test_a_captured_optimiser_replays_with_todays_rate():
    def outcome(executor):
        parameters = parameters_of(5)
        outer = parameters_of(6)
        sgd, adam = MomentumSGD(parameters, 1.0, 0.9, True, 1e-3, captured=True), Adam(outer, 1.0, decay=1e-3)

        def device_side():
            sgd.step({name: torch.sin(value) for name, value in parameters.items()})
            adam.step({name: torch.cos(value) for name, value in outer.items()})
            return {}

        for step in range(12):
            sgd.prepare(0.1 / (1 + step))
            adam.prepare(0.01 * (1 + step))
            executor("step", device_side)
        return bits(parameters), bits(outer)

    replayed = capture.Replayed()
    assert outcome(replayed) == outcome(capture.observed) and replayed.replays == 10


def optimisers(seed=4):
    return [MomentumSGD(parameters_of(seed), 0.1, 0.9), Adam(parameters_of(seed), 0.1)]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("stop", [0, 1, 5])
def test_an_optimiser_goes_on_from_its_state_in_place(number, stop):
    whole, first, second = (optimisers()[number] for _ in range(3))
    places = {name: value.data_ptr() for name, value in memory_of(second).items()}
    for step in range(8):
        optimiser = whole
        optimiser.prepare(0.1)
        optimiser.step(gradients_of(optimiser.parameters, 4, step))
    for step in range(stop):
        first.prepare(0.1)
        first.step(gradients_of(first.parameters, 4, step))
    file = io.BytesIO()
    torch.save({"state": first.state(), "parameters": first.parameters}, file)
    file.seek(0)
    saved = torch.load(file)
    kept = copy.deepcopy(saved["state"])
    for name, value in second.parameters.items():
        value.copy_(saved["parameters"][name])
    second.load_state(saved["state"])
    for step in range(stop, 8):
        second.prepare(0.1)
        second.step(gradients_of(second.parameters, 4, step))
    assert bits(second.parameters) == bits(whole.parameters)
    assert {name: value.data_ptr() for name, value in memory_of(second).items()} == places
    assert str(saved["state"]) == str(kept), "what was loaded must not move with the optimiser"


def memory_of(optimiser):
    return {
        f"{kind}.{name}": value
        for kind, values in vars(optimiser).items()
        if kind in ("velocity", "first", "second", "parameters")
        for name, value in values.items()
    }


@pytest.mark.parametrize("number", [0, 1])
def test_a_state_of_other_parameters_is_refused(number):
    optimiser = optimisers()[number]
    key = "velocity" if number == 0 else "first"
    state = {**optimiser.state(), key: {"another": torch.zeros(())}}
    with pytest.raises(ValueError, match="another"):
        optimiser.load_state(state)


# --- a training process -----------------------------------------------------------------------------------------------

WITHOUT_COMPILER = """
import copy, sys
import numpy as np, torch
from reweigh.config import loading as config
from reweigh.data import load
from reweigh.data.split import draw
from reweigh.training.engine import Run

method, model, raw_root = sys.argv[1:]
spec = copy.deepcopy(config.resolve(f"quick/tdr/cifar10-4v9-{model}/rho0.3/{method}/seed0"))
spec["model"]["options"] = {"width": 0.25}
spec["data"]["split"].update(total=60, test_size=20, imbalance_ratio=2.0, target_size=10)
spec["data"]["augment"] = {"crop_padding": 4, "padding": "reflect", "flip": True, "rotation_degrees": 15.0}
spec["training"].update(epochs=1, batch_size=25, target_batch_size=5, gradient_clip=1.0, threads=1, momentum=0.9)
torch.set_num_threads(1)
raw = load.read("cifar10-slice", root=raw_root)
run = Run(spec, raw, draw(raw, spec["data"]["split"], 0), torch.device("cpu"))
run.finish()
assert run.step and run.results()["status"] == "finished"
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


@pytest.mark.parametrize(("method", "model"), [("none", "resnet20"), ("tdr", "convnet"), ("er", "resnet20")])
def test_a_training_process_never_imports_torchs_compiler(method, model, raw_root):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILER, method, model, str(raw_root)],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)}, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "[]"
