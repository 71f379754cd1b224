"""From layers to a spec: experiment, setting, method, scale, each over the ones before it.

What experiment and setting say of one method (`by_method`) comes after the method, what the scale says of it last. Each
layer replaces the keys that it names.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from reweigh.config.cards import card_of, check_options
from reweigh.config.files import Keys
from reweigh.config.models import DEFERRALS, Method, MethodPatch, Paper, Patch, Stating
from reweigh.config.names import RunName
from reweigh.config.specs import SPEC_VERSION, Spec
from reweigh.config.validation import validated

# Keys of a config's block -> of a spec's `data`; `options` are the method's.
_DATA_KEYS = {"dataset": "dataset", "dataset_options": "options", "split": "split", "scale_inputs": "scale_inputs",
              "augment": "augment"}  # fmt: skip


class Layer(NamedTuple):
    """One layer of a spec: where it stands in the paper, and what it says in the spec's own shape.

    All of it comes from the one key `where` if `is_one_key`.
    """

    where: Keys
    says: dict[str, Any]
    is_one_key: bool = False

    def place_of(self, path: Keys) -> Keys:
        """Where the value at `path` of the spec stands in the paper."""
        return self.where if self.is_one_key else (*self.where, *_own_path(path, self.where))


def spec_of(paper: Paper, run: RunName, where: str) -> dict[str, Any]:
    """The complete, validated spec of a run. Raises ConfigError, beginning with `where`, if it is not one."""
    merged: dict[str, Any] = {}
    for layer in layers(paper, run):
        merged = laid_over(merged, layer.says)
    spec = {**run._asdict(), "spec_version": SPEC_VERSION, **merged}
    spec["method_options"] = check_options(merged["uses"], merged["method_options"], f"{where}: options")
    if (layout := card_of(merged["uses"]).layout(spec["method_options"])) != "channels-last":
        spec["training"] = {"layout": layout, **merged.get("training", {})}  # unless the config says otherwise
    return validated(Spec, spec, where).model_dump()


def layers(paper: Paper, run: RunName) -> list[Layer]:
    """The layers of a run, the lowest first."""
    experiment, method = paper.experiments[run.experiment], paper.methods[run.method]
    setting, block = experiment.settings[run.setting], experiment.block(run.scale)
    base = ("experiments", run.experiment)
    here = (*base, "settings", run.setting)
    found = [
        Layer(base, _spec_shape(experiment)),
        Layer(here, _spec_shape(setting)),
        Layer(("methods", run.method), {"uses": method.uses, **_method_shape(method)}),
        _of_method(base, experiment.by_method, run.method),
        # A setting may vary an option of the method itself (an ablation): it speaks after the method.
        Layer(here, _method_options(setting)),
        _of_method(here, setting.by_method, run.method),
    ]
    if block:
        where = (*base, "scales", run.scale)
        found += [Layer(where, _spec_shape(block)), _of_method(where, block.by_method, run.method)]
        if block.from_epoch:
            deferred = {"method_options": _deferred(found, block.from_epoch)}
            found.append(Layer((*where, "from_epoch"), deferred, is_one_key=True))
    return found


def laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, key by key; a schedule is replaced whole, as its keys depend on its name."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "schedule"
        merged[key] = laid_over(merged[key], value) if both else value
    return merged


# --- shapes ---


def _set_in(block: Stating, *keys: str) -> dict[str, Any]:
    """What the files say of a block among `keys`, as plain values."""
    return {key: block.stated[key] for key in keys if key in block.stated}


def _spec_shape(patch: Patch) -> dict[str, Any]:
    """A layer in the shape of a spec: the keys about data go below `data`, those of the method to `method_options`."""
    says = {**_set_in(patch, *_DATA_KEYS, "model", "training"), **_method_options(patch)}
    data = {_DATA_KEYS[key]: says.pop(key) for key in _DATA_KEYS if key in says}
    return {**says, **({"data": data} if data else {})}


def _method_options(patch: Patch) -> dict[str, Any]:
    """The options that a layer gives to every method."""
    return {"method_options": patch.stated["options"]} if "options" in patch.stated else {}


def _method_shape(method: Method | MethodPatch) -> dict[str, Any]:
    """What a method, or a patch of one, says, in the shape of a spec."""
    shape = _set_in(method, "options", "model", "training")
    return {"method_options" if key == "options" else key: value for key, value in shape.items()}


def _of_method(where: Keys, patches: Mapping[str, MethodPatch], method: str) -> Layer:
    """The layer of a setting or scale that is for one method alone; it says nothing if there is none."""
    return Layer((*where, "by_method", method), _method_shape(patches[method]) if method in patches else {})


def _deferred(found: list[Layer], epoch: int) -> dict[str, Any]:
    """The options of the method, with what begins later than at once beginning at `epoch`."""

    def shifted(tree: dict[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for key, value in tree.items():
            if isinstance(value, dict) and (below := shifted(value)):
                options[key] = below
            elif key in DEFERRALS and value:
                options[key] = epoch
        return options

    merged: dict[str, Any] = {}
    for layer in found:
        merged = laid_over(merged, layer.says.get("method_options", {}))
    return shifted(merged)


def _own_path(path: Keys, where: Keys) -> Keys:
    """Where the value at `path` of a spec stands in its block of a paper; the inverse of the shapes above."""
    if path[0] == "data":
        own = next(key for key, name in _DATA_KEYS.items() if name == path[1])
        return (own, *path[2:])
    return ("options", *path[1:]) if path[0] == "method_options" else path
