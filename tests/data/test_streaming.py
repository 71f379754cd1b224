"""Batches of images that stay on disk: what nothing can disturb, and runs that train on them."""

import copy
import hashlib
import io
import multiprocessing
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import image_layouts
from support.image_layouts import COUNT, CPU, CUT, PLAIN, bits, started, stream_of, whole
from support.project import ROOT, environment

from reweigh.config import loading as config
from reweigh.data import load, loading, transforms
from reweigh.data.arrays import Part, RawData
from reweigh.data.batches import DevicePart
from reweigh.data.split import draw
from reweigh.training import sealed
from reweigh.training.engine import Run

pytestmark = pytest.mark.usefixtures("no_workers")


@pytest.mark.parametrize("data", [PLAIN, CUT])
def test_batches_do_not_depend_on_workers_prefetching_or_where_one_starts(pictures, data, monkeypatch):
    plain = stream_of(pictures, data)
    expected = [bits(plain.batch(number)) for number in range(8)]
    assert plain.per_cycle == 3 and len(set(expected)) == 8
    monkeypatch.setenv(loading.WORKERS, "2")
    worked = stream_of(pictures, data)
    assert [bits(worked.batch(number)) for number in range(8)] == expected
    for number in (7, 2, 2, 3, 0, 5, 6):  # resuming anywhere, standing still, going on
        assert bits(worked.batch(number)) == expected[number]


def test_batches_are_the_same_in_another_process(pictures, tmp_path):
    script = (
        "import hashlib, pathlib, sys, torch; sys.path.insert(0, sys.argv[2]); from support import image_layouts\n"
        "torch.manual_seed(77)\n"
        "stream = image_layouts.stream_of(image_layouts.image_files(pathlib.Path(sys.argv[1])))\n"
        "content = b''.join(part for number in (4, 5) for part in image_layouts.bits(stream.batch(number)))\n"
        "print(hashlib.sha256(content).hexdigest())"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(ROOT / "tests")]
    found = subprocess.run(arguments, env=environment(REWEIGH_LOADER_WORKERS="1"), capture_output=True, text=True)
    stream = stream_of(pictures)
    expected = hashlib.sha256(b"".join(part for number in (4, 5) for part in bits(stream.batch(number)))).hexdigest()
    assert found.stdout.strip() == expected, found.stderr


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, COUNT),
    batch_size=st.integers(1, 2 * COUNT),
    numbers=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    drop_last=st.booleans(),
    scale=st.sampled_from(["centred", "raw", "none", transforms.IMAGENET_MOMENTS]),
)
def test_a_stream_has_the_batches_of_the_same_images_in_memory(pictures, count, batch_size, numbers, drop_last, scale):
    part, data = whole(count), {**PLAIN, "scale_inputs": scale}
    arrays = torch.stack([pictures.pixels(row) for row in range(COUNT)]).numpy()
    in_memory = DevicePart(arrays, part, scale, CPU).stream(batch_size, 2, "target-batches", True, drop_last)
    on_disk = pictures.part(part, data, CPU).stream(batch_size, 2, "target-batches", True, drop_last)
    assert on_disk.per_cycle == in_memory.per_cycle
    for number in numbers:
        assert bits(on_disk.batch(number)) == bits(in_memory.batch(number))
        assert on_disk.size == in_memory.size == len(on_disk.current())


@pytest.mark.parametrize("workers", ["0", "2"])
def test_evaluation_sees_the_whole_part_in_order_and_never_augmented(pictures, workers, monkeypatch):
    monkeypatch.setenv(loading.WORKERS, workers)
    part = Part(np.array([9, 0, 4, 4, 2], np.int32), np.array([1, 0, 2, 2, 1]), np.array([0, 1, 0, 1, 1]))
    streamed = pictures.part(part, {**CUT, "scale_inputs": "none"}, CPU, train=False)
    batches = list(streamed.in_order(2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.cat([batch.labels for batch in batches]).tolist() == part.label.tolist()
    assert torch.cat([batch.groups for batch in batches]).tolist() == part.group.tolist()
    expected = torch.stack([pictures.pixels(row) for row in part.index]).float()
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), expected)
    assert batches[0].inputs.is_contiguous(memory_format=torch.channels_last)


def test_augmentation_is_the_streams_choice_and_each_image_is_cut_anew_each_cycle(pictures):
    part = pictures.part(whole(COUNT), {**CUT, "scale_inputs": "none"}, CPU)
    still = {tuple(pictures.pixels(row).flatten().tolist()) for row in range(COUNT)}

    def seen(augmented, name, cycle):
        return {
            tuple(image.flatten().int().tolist())
            for image in part.stream(COUNT, 0, name, augmented).batch(cycle).inputs
        }

    assert seen(False, "a", 0) == seen(False, "b", 1) == still
    cycles = [seen(True, name, cycle) for name in ("a", "b") for cycle in (0, 1)]
    assert len(set.union(*cycles, still)) == 5 * COUNT  # no two cuts are alike
    alone = pictures.part(whole(1), CUT, CPU).stream(1, 0, "a", True)
    assert len({bits(alone.batch(cycle)) for cycle in range(4)}) == 4


def test_what_the_device_reads_stays_where_it_is(pictures):
    stream = stream_of(pictures)
    stream.seek(0)
    first = stream.current()
    places = (stream._images.data_ptr(), stream._rows.data_ptr())
    kept = bits(first)
    for number in (1, 2, 3, 20):
        stream.seek(number)
        assert (stream._images.data_ptr(), stream._rows.data_ptr()) == places
        assert bits(stream.current()) == bits(stream.current())
    assert bits(first) == kept  # a batch that someone holds is not overwritten


def test_streams_leave_torchs_generator_and_no_processes_behind(pictures, monkeypatch):
    monkeypatch.setenv(loading.WORKERS, "2")
    before = torch.get_rng_state()
    others, stream = set(multiprocessing.active_children()), stream_of(pictures)
    first = started(stream)
    for number in (0, 1, 1, 2):  # standing still or going on: the same workers
        stream.seek(number)
    assert set(multiprocessing.active_children()) - others == set(first)
    stream.batch(6)  # elsewhere: new workers instead of the old ones
    second = set(multiprocessing.active_children()) - others
    assert len(first) == len(second) == 2 and not second & set(first)
    assert torch.equal(torch.get_rng_state(), before) and signal.getsignal(signal.SIGCHLD) in (signal.SIG_DFL, None)
    del stream
    assert set(multiprocessing.active_children()) <= others


# --- a run


@pytest.fixture(scope="module")
def long_tail(tmp_path_factory):
    """An ImageNet-LT of two classes, 40 and 24 pictures of 32 x 32 pixels; read from disk, and held in memory."""
    root = tmp_path_factory.mktemp("raw")
    image_layouts.imagenet_lt(root, train=(40, 24), test=(4, 4), size=(32, 32))
    raw = load.read("imagenet-lt", {"side": 32, "resize": 32}, root)

    def held(inputs):
        return np.stack(
            [
                image_layouts.noise(image_layouts.seed_of(inputs, row), (32, 32)).transpose(2, 0, 1)
                for row in range(len(inputs))
            ]
        )

    in_memory = RawData(
        held(raw.train_inputs), raw.train_labels, held(raw.test_inputs), raw.test_labels, raw.class_names
    )
    return raw, in_memory


def spec_of(method, augment):
    spec = copy.deepcopy(config.resolve("smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"))
    paper = config.resolve(f"paper/tdr/mnist-4v9/rho0.1/{method}/seed0")
    spec.update(method=method, uses=paper["uses"], method_options=paper["method_options"])
    if method == "tdr":
        spec["method_options"]["outer_every"] = 3
    split = {"kind": "long-tail", "largest_class": 32, "imbalance_ratio": 2.0, "target_size": 8, "test": "all"}
    spec["data"] |= {"dataset": "imagenet-lt", "options": {"side": 32, "resize": 32}, "split": split}
    spec["data"] |= {"augment": augment, "scale_inputs": transforms.IMAGENET_MOMENTS}
    spec["model"] = {"name": "resnet20", "options": {"width": 0.5}}
    spec["training"] |= {"epochs": 2, "batch_size": 10, "target_batch_size": 4, "drop_last": False}
    return spec


def run_of(spec, raw):
    return Run(spec, raw, draw(raw, spec["data"]["split"], spec["seed"]), CPU)


def outcome(run):
    """All that a run computed, without its timings."""
    results = copy.deepcopy(run.results())
    results.pop("seconds")
    results["curves"].pop("train_seconds")
    weights = {name: value.numpy().tobytes() for name, value in run.model.state_dict().items()}
    return results, weights, {name: rows.tobytes() for name, rows in run.trace().items()}


@pytest.mark.parametrize("method", ["tdr", "none"])
def test_a_run_from_disk_is_the_run_from_memory_to_the_last_bit(long_tail, method, monkeypatch):
    spec, ends = spec_of(method, "none"), []
    for raw, workers in ((long_tail[1], "0"), (long_tail[0], "0"), (long_tail[0], "1")):
        monkeypatch.setenv(loading.WORKERS, workers)
        run = run_of(spec, raw)
        run.finish()
        ends.append(outcome(run))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][0]["steps"] == 10 and ends[0][0]["metrics"]["test_size"] == 8


@pytest.fixture(scope="module")
def never_stopped(long_tail):
    """The outcomes of a run that nobody stops: with images that are augmented, and with plain ones."""
    ends, threads = [], torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(loading.WORKERS, "0")
        torch.set_num_threads(1)
        for augment in ("crop-flip", "none"):
            run = run_of(spec_of("tdr", augment), long_tail[0])
            run.finish()
            ends.append(outcome(run))
        torch.set_num_threads(threads)
    return ends


@pytest.mark.parametrize("stop", [3, 5, 8])
def test_an_augmented_run_resumed_anywhere_ends_as_if_never_stopped(long_tail, never_stopped, stop, monkeypatch):
    spec = spec_of("tdr", "crop-flip")
    monkeypatch.setenv(loading.WORKERS, "1")
    first = run_of(spec, long_tail[0])
    while first.step < stop:
        first.advance()
    saved = io.BytesIO()
    torch.save(first.state(), saved)
    saved.seek(0)
    del first
    second = run_of(spec, long_tail[0])
    second.load_state(sealed.load(saved))
    second.finish()
    augmented, plain = never_stopped
    assert outcome(second) == augmented
    assert plain[1] != augmented[1]
