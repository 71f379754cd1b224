"""What a run measures beside its held-out accuracy, against direct computations; logits that tie in bf16."""

import copy
import types

import numpy as np
import pytest
import torch
from support import two_stages
from support.mnist_runs import CPU, finished, run_of, spec_of
from torch import nn

from reweigh.config import loading as config
from reweigh.config.specs import Spec
from reweigh.config.validation import validated
from reweigh.data import load
from reweigh.data.batches import Batch
from reweigh.errors import ConfigError
from reweigh.evaluate import confusion
from reweigh.streams import rng
from reweigh.training.evaluation import exact_head, margins, predictions


@pytest.fixture(scope="module")
def noisy(raw_root):
    """A finished run on noisy labels of the CIFAR-10 slice, measured on everything; its split."""
    spec = two_stages.spec_of("joint", also_measure=["train", "validation"], keep_margins=True)
    spec["data"]["split"]["noise"] = {"kind": "symmetric", "rate": 0.4}
    raw = load.read("cifar10-slice", root=raw_root)
    run = two_stages.finished(spec, raw)
    return run, raw


def predicted(run, inputs):
    """Logits of raw pictures, one at a time."""
    run.model.eval()
    with torch.no_grad():
        return torch.cat(
            [run.model(run.parts.train.scaled(torch.from_numpy(inputs[i : i + 1]))) for i in range(len(inputs))]
        )


def by_hand(labels, guesses):
    table = np.zeros((10, 10), int)
    for label, guess in zip(labels, guesses, strict=True):
        table[label, guess] += 1
    recalls = [table[c, c] / table[c].sum() for c in range(10) if table[c].sum()]
    return table.tolist(), np.mean(np.array(labels) == guesses), np.mean(recalls)


def test_parts_are_measured_on_given_and_on_true_labels(noisy):
    run, raw = noisy
    results, split = run.results(), run.parts.split
    assert set(results["also_measured"]) == {"train", "train_clean", "validation"}  # what is held out is not noisy
    for name, part in (("train", split.train), ("validation", split.validation)):
        guesses = predicted(run, raw.train_inputs[part.index]).argmax(1).numpy()
        given, true = part.label, raw.train_labels[part.index]
        assert ((given != true).mean() > 0.1) == (name == "train")
        for key, labels in ((name, given), (f"{name}_clean", true))[: 2 if name == "train" else 1]:
            table, accuracy, balanced = by_hand(labels, guesses)
            measured = results["also_measured"][key]
            assert measured["confusion"] == table and measured["size"] == len(labels)
            assert (measured["accuracy"], measured["balanced_accuracy"]) == pytest.approx((accuracy, balanced))
            assert results["curves"][f"{key}_accuracy"][-1] == measured["accuracy"]
            assert results["curves"][f"{key}_balanced_accuracy"][-1] == measured["balanced_accuracy"]
    lengths = {len(values) for values in results["curves"].values()}
    assert lengths == {2} and len(results["curves"]["test_balanced_accuracy"]) == 2


def test_measuring_more_changes_nothing_else(noisy, raw_root):
    run, raw = noisy
    spec = copy.deepcopy(run.spec)
    del spec["training"]["also_measure"], spec["training"]["keep_margins"]
    plain = two_stages.finished(spec, raw)
    assert all(torch.equal(value, run.model.state_dict()[name]) for name, value in plain.model.state_dict().items())
    results = plain.results()
    assert results["metrics"] == run.results()["metrics"] and results["also_measured"] is None
    assert not any(name.startswith(("train_a", "validation")) for name in results["curves"]) and plain.arrays() == {}


def test_clean_labels_are_none_where_no_label_is_noisy(mnist):
    spec = spec_of("none", also_measure=["train"])
    results = finished(spec, mnist).results()
    assert set(results["also_measured"]) == {"train"}
    assert len(results["also_measured"]["train"]["confusion"]) == 2  # 4 against 9: labels of the task


def test_margins_are_those_of_the_definition(noisy):
    run, raw = noisy
    kept = run.arrays()["test_margins"]
    part = run.parts.split.test
    shares = predicted(run, raw.test_inputs[part.index]).double().softmax(1).numpy()
    expected = []
    for label, row in zip(part.label, shares, strict=True):
        expected.append(row[label] - max(value for other, value in enumerate(row) if other != label))
    assert kept.dtype == np.float32 and kept == pytest.approx(np.array(expected), abs=1e-5)
    accuracy = run.results()["metrics"]["test_accuracy"]
    assert (kept > 0).mean() == pytest.approx(accuracy, abs=1e-9)


def test_the_margins_of_a_run_that_chooses_are_those_of_its_validation_part(mnist):
    spec = spec_of("none", evaluate_on="validation", keep_margins=True, keep_features=10)
    spec["data"]["split"]["validation_size"] = 60
    run = run_of(spec, mnist)
    run.parts.__dict__["test"] = None  # never looked at
    run.model.features = lambda images: images.flatten(1)[:, :7]
    run.finish()
    kept = run.arrays()
    assert len(kept["validation_margins"]) == 60
    assert {"train_features", "validation_features"} <= set(kept) and not any("test" in name for name in kept)


class Tied(nn.Module):
    """Two classes whose logits differ by less than bf16 can say."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0], [1.0 + 2**-10]]))

    def forward(self, inputs):
        return self.head(inputs)


def test_logits_that_tie_in_bf16_are_told_apart():
    model, inputs = Tied(), torch.linspace(1, 4, 50)[:, None]
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)

    class Part:
        labels = torch.ones(50, dtype=torch.int64)
        groups = labels

        def in_order(self, size):
            yield Batch(inputs, self.labels, self.groups, torch.arange(50))

    tied = confusion(model, Part(), 2, 2).sum(0)[1]
    assert tied[0] == 50, "in bf16 the logits tie, and the tie goes to the first class"
    with exact_head(model, CPU):
        exact = confusion(model, Part(), 2, 2).sum(0)[1]
        assert (margins(model, Part()) > 0).all()
    assert exact[1] == 50
    assert confusion(model, Part(), 2, 2).sum(0)[1][0] == 50, "only inside of the context"
    assert torch.equal(model(inputs), model(inputs)) and "forward" not in vars(model.head)


def test_a_bf16_run_is_measured_with_an_exact_head(mnist, monkeypatch):
    dtypes = []
    run = run_of(spec_of("none", precision="bf16"), mnist)
    run.model.head.register_forward_hook(lambda head, inputs, output: dtypes.append((head.training, output.dtype)))
    run.finish()
    assert {dtype for training, dtype in dtypes if training} == {torch.bfloat16}
    assert {dtype for training, dtype in dtypes if not training} == {torch.float32}


def test_kept_features_are_what_the_head_sees_in_the_precision_of_the_run(raw_root):
    spec = two_stages.spec_of("joint", precision="bf16", keep_features=20)
    run = two_stages.finished(spec, load.read("cifar10-slice", root=raw_root))
    kept, seen = run.arrays()["test_features"], []
    hook = run.model.eval().head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        for batch in run.parts.test.in_order(500):
            run.model(batch.inputs)
    hook.remove()
    assert seen[0].dtype == torch.bfloat16
    rows = np.sort(rng(spec["seed"], "features", "test").permutation(len(run.parts.test))[:20])
    assert np.array_equal(torch.cat(seen).to(torch.float16).numpy()[rows], kept)


def test_logits_that_are_not_finite_are_no_prediction_of_a_part_beside_either(mnist):
    """Without that, `argmax` would give class 0."""
    spec = spec_of("none", also_measure=["train"])
    run = run_of(spec, mnist)
    zero = run.parts.train.labels == 0
    gone = torch.where(zero)[0][:7]

    def predict(inputs):
        logits = torch.tensor([[1.0, 0.0]]).repeat(len(zero), 1)
        logits[gone, 1] = torch.nan
        return logits

    found = run.evaluation.beside(predict)["train"]
    assert found["confusion"] == [[int(zero.sum()) - 7, 0], [int((~zero).sum()), 0]]
    assert found["accuracy"] == pytest.approx((int(zero.sum()) - 7) / len(zero)) and found["size"] == len(zero)


@pytest.mark.parametrize(("device", "size"), [("cpu", 500), ("cuda", 2000)])
def test_all_parts_are_measured_in_batches_of_one_size(device, size):
    """On a GPU a small batch is all overhead; on a CPU its size decides the last bits."""
    asked = []

    class Part:
        labels = types.SimpleNamespace(device=torch.device(device))

        def in_order(self, batch_size):
            asked.append(batch_size)
            raise StopIteration

    for measure in (predictions, margins):
        with pytest.raises((StopIteration, RuntimeError)):
            measure(None, Part())
    assert asked == [size, size]


# --- the options ------------------------------------------------------------------------------------------------------


def resolved(**training):
    spec = copy.deepcopy(config.resolve("smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"))
    spec["training"].update(training)
    return spec


def test_options_of_what_is_measured():
    spec = resolved()
    assert not {"also_measure", "keep_margins"} & spec["training"].keys(), "specs of older records stay as they are"
    spec = resolved(also_measure=["train"], keep_margins=True)
    assert validated(Spec, spec, "here").model_dump() == spec
    spec["data"]["split"]["validation_size"] = 20
    spec["training"]["also_measure"] = ["validation", "train"]
    assert validated(Spec, spec, "here").model_dump() == spec


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"also_measure": ["validation"]}, "holds nothing out"),
        ({"evaluate_on": "validation"}, "holds nothing out"),
        ({"also_measure": ["train", "train"]}, "measured already"),
        ({"also_measure": ["test"]}, "also_measure"),
        ({"also_measure": []}, "also_measure"),
        ({"keep_margins": False}, "keep_margins"),
    ],
)
def test_options_that_are_refused(training, says):
    with pytest.raises(ConfigError, match=says):
        validated(Spec, resolved(**training), "here")


def test_a_part_is_not_measured_twice(mnist):
    spec = spec_of("none", evaluate_on="validation", also_measure=["validation"])
    spec["data"]["split"]["validation_size"] = 60
    with pytest.raises(ConfigError, match="measures already"):
        run_of(spec, mnist)
    with pytest.raises(ConfigError, match="measured already"):
        validated(Spec, spec, "here")
