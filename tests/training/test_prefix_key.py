"""What the key of stages that runs share is made of, and that of a whole run."""

import copy

from support.two_stages import METHODS, SECOND, spec_of

from reweigh.methods.base import Prefix
from reweigh.training import prefix, shared
from reweigh.training.shared import Surroundings

AROUND = Surroundings("split", ("a", "b"), "cpu", "a processor", {"torch": "1", "numpy": "2"})


def key(spec, around=AROUND, stages=1):
    options = {"stage_one": spec["method_options"]["stage_one"]}
    return prefix.key_of(spec, Prefix(stages, "two_stage", options), around)


def test_methods_and_their_second_stages_share_a_key(alone):
    assert len({alone[method][0]["prefix"]["key"] for method in METHODS}) == 1
    longer = spec_of("crt")
    longer["method_options"]["second_stage"] = {**SECOND, "epochs": 7}
    named = {**spec_of("joint"), "experiment": "another", "setting": "tau", "scale": "paper", "method": "plain"}
    kept = spec_of("joint", keep_features=5, keep_margins=True)
    assert len({key(spec_of(method)) for method in METHODS} | {key(longer), key(named), key(kept)}) == 1


CHANGES = {
    "seed": 1,
    "a_key_to_come": 1,
    "spec_version": 2,
    "data.split.imbalance_ratio": 20.0,
    "data.augment": "crop-flip",
    "data.scale_inputs": "raw",
    "data.options": {"an": "option"},
    "model.name": "lenet",
    "model.options.width": 0.25,
    "training.epochs": 3,
    "training.batch_size": 49,
    "training.learning_rate": 0.1,
    "training.schedule.name": "constant",
    "training.threads": 2,
    "training.precision": "tf32",
    "training.evaluate_every": 2,  # it decides the curves
    "training.evaluate_on": "validation",
    "training.also_measure": ["train"],
    "method_options.stage_one.sampling": "class-aware",
}


def changed(base, path, value):
    spec = copy.deepcopy(base)
    *parents, last = path.split(".")
    place = spec
    for parent in parents:
        place = place[parent]
    assert place.get(last) != value
    place[last] = value
    return spec


def test_everything_that_a_prefix_depends_on_is_in_the_key(monkeypatch):
    base = spec_of("joint")
    keys = [key(base), *(key(changed(base, path, value)) for path, value in CHANGES.items())]
    keys.append(key(base, stages=2))
    others = {
        "split": "other",
        "raw": ("a", "c"),
        "device": "cuda",
        "device_name": "another processor",
        "versions": {"torch": "1", "numpy": "3"},
    }
    assert others.keys() == AROUND.__dict__.keys()
    keys += [key(base, Surroundings(**{**AROUND.__dict__, name: value})) for name, value in others.items()]
    monkeypatch.setattr(shared.record, "code_digest", lambda spec: f"code of {spec['uses']}")
    keys += [key(base), key(spec_of("crt"))]
    assert keys[-1] == keys[-2]  # the code of the prefix, not that of what comes after it
    assert len(set(keys)) == len(keys) - 1


def test_a_whole_run_has_a_key_without_names_but_with_all_else(monkeypatch):
    def whole(spec, around=AROUND):
        return shared.key_of(spec, None, around)

    base = spec_of("crt")
    named = {**base, "experiment": "another", "setting": "tau", "scale": "paper", "paper": "tdr", "method": "plain"}
    assert whole(named) == whole(base)
    more = {**CHANGES, "training.keep_features": 5, "method_options.second_stage.epochs": 7, "uses": "lws"}
    keys = [whole(base), key(base), *(whole(changed(base, path, value)) for path, value in more.items())]
    assert len(set(keys)) == len(more) + 2
