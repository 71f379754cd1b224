"""The config: what it resolves to, what it refuses and in which words, and that its schema is in step with it."""

import csv
import functools
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from support.config_files import replace
from support.project import ROOT

from reweigh.config import files
from reweigh.config.loading import load, resolve
from reweigh.config.schema import text as schema_text
from reweigh.config.sources import source_of
from reweigh.data.imbalance import long_tail_sizes, two_class_sizes
from reweigh.digest import digest
from reweigh.errors import ConfigError

# --- what it resolves to ---


def test_a_spec_is_complete_and_does_not_change_by_accident(config):
    spec = config.resolve("paper/tdr/mnist-4v9/rho0.005/tdr/seed0")
    assert spec["training"] == {
        "epochs": 100,
        "batch_size": 50,
        "target_batch_size": 10,
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 0.002,
        "nesterov": False,
        "gradient_clip": None,
        "drop_last": True,
        "schedule": {"name": "step", "milestones": [91, 136, 182], "factor": 0.1, "warmup_epochs": 0},
        "precision": "fp32",
        "threads": 1,
        "evaluate_every": 1,
    }
    assert spec["data"]["split"]["imbalance_ratio"] == 200.0
    # Finished records carry this digest. If a change here is meant, they all become stale.
    assert digest(spec) == "f820cdea38e997ae2765f89c91ae89469d1c3c502015840577016c49ef69e24e"


def test_the_paper_to_the_letter_differs_from_the_code_where_they_disagree(config):
    code, printed = (config.resolve(f"paper/tdr/mnist-4v9/rho0.1/{name}/seed3") for name in ("tdr", "tdr_p"))
    differ = {key for key in code["method_options"] if code["method_options"][key] != printed["method_options"][key]}
    assert differ == {
        "outer_learning_rate",
        "clip_max",
        "normalisation",
        "hypergradient_batch",
        "look_ahead_decay",
    }
    assert (printed["training"]["learning_rate"], printed["training"]["momentum"]) == (0.001, 0.0)
    assert code["uses"] == printed["uses"] == "tdr"


def test_layers_scale_over_method_over_setting_over_experiment(config):
    spec = config.resolve("quick/tdr/cifar10-4v9-resnet20/rho0.3/tdr/seed0")
    assert spec["model"] == {"name": "resnet20", "options": {"width": 0.25}}
    assert spec["data"]["dataset"] == "cifar10-slice"
    assert spec["data"]["split"]["imbalance_ratio"] == 10 / 3
    assert spec["training"]["epochs"] == 20
    ablated = config.resolve("paper/tdr/mnist-4v9-ablation/t_in100/tdr/seed0")
    assert ablated["method_options"]["outer_every"] == 100


def test_sizes_are_those_of_the_papers(config):
    def sizes(setting):
        split = config.resolve(f"paper/tdr/{setting}/tdr/seed0")["data"]["split"]
        if split["kind"] == "two-class":
            return two_class_sizes(split["total"], split["imbalance_ratio"])
        return sum(long_tail_sizes(split["largest_class"], split["imbalance_ratio"], 10))

    assert sizes("mnist-4v9/rho0.005") == (24, 4975)
    assert sizes("cifar10-4v9-convnet/rho0.3") == (1153, 3846)
    assert sizes("mnist-lt/rho0.02") == 13996


def test_every_value_of_a_spec_has_a_source(config):
    for method in ("tdr", "er", "none", "hard"):
        sources = config.sources_of(f"paper/tdr/mnist-4v9/rho0.1/{method}/seed0")
        for block in ("training.epochs", "training.schedule", "data.split.total", "data.split.imbalance_ratio"):
            assert sources[block]
    assert config.sources_of("quick/tdr/adult/sex/tdr/seed0")["training.epochs"].startswith("scale quick: 5 of 50")


def test_sources_are_taken_out_and_cover_what_is_below(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("a: { value: { b: 1, c: { value: 2, source: x } }, source: y }\nd: 3\n")
    node = files.read(path, "some.yaml")
    assert files.plain(node) == {"a": {"b": 1, "c": 2}, "d": 3}
    sources = files.sources(node)
    assert [source_of(sources, keys) for keys in (("a", "b"), ("a", "c"), ("d",))] == ["y", "x", ""]
    assert files.with_sources(node)["a"] == {"value": {"b": 1, "c": {"value": 2, "source": "x"}}, "source": "y"}


def test_the_grid(config):
    assert len(config.runs("paper", "tdr")) == 615
    assert len(config.runs("paper", "tdr", "mnist-4v9")) == 160
    extended = config.with_options(extensions=True).runs("paper", "tdr")
    assert set(extended) > set(config.runs("paper", "tdr"))
    assert "paper/tdr/cifar10-4v9-resnet20/rho0.3/er/seed0" in extended
    assert len(config.runs("quick", "tdr")) < 200
    assert not any("nexrad" in cell for cell in config.cells("paper", "tdr"))
    assert config.cells("smoke", "tdr", "cifar10-4v9-convnet-scrambled") == []


def test_an_artifact_needs_its_methods_and_draws_others_where_they_exist(config):
    needed, optional = config.cells_of("paper", "tdr", "fig5"), config.cells_of("paper", "tdr", "fig5", optional=True)
    assert {cell.split("/")[-1] for cell in needed} == {"tdr_p", "er_p", "tdr", "er"}
    assert {cell.split("/")[-1] for cell in optional} == {"none_p", "hard_p", "none", "hard"}
    assert "quick/tdr/mnist-4v9/rho0.1/hard" in config.cells_of("quick", "tdr", "fig5")
    assert config.cells_of("paper", "tdr", "fig8") == []


def test_every_published_row_belongs_to_a_run(config):
    published = config.paper("tdr").published
    rows = list(csv.DictReader((ROOT / published.file).open()))
    assert len(rows) == 64
    for row in rows:
        experiment, setting, method, metric = published.target(row)
        assert metric == row["metric"]
        config.run_name(f"paper/tdr/{experiment}/{setting}/{method}/seed0")


def test_loading_asks_for_no_torch_and_happens_once():
    code = "import sys; from reweigh.config.loading import load; load(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert load(ROOT) is load(ROOT)


def test_a_changed_file_is_loaded_again(tdr_project):
    before = load(tdr_project)
    replace(tdr_project, "scale: quick", "scale: smoke", "config/config.yaml")
    assert (before.project.scale, load(tdr_project).project.scale) == ("quick", "smoke")


# --- what it refuses ---

REFUSED = {
    "unknown key": ("weight_decay: { value: 0.002", "weight_decy: { value: 0.002", "did you mean 'weight_decay'?"),
    "unknown key of an experiment": (
        "varies: group attribute",
        "varies: x\n    colour: red",
        "'experiments.adult.colour'",
    ),
    "unknown key of a split": (
        "target_inside: { value: false",
        "target_insid: { value: false",
        "did you mean 'target_inside'?",
    ),
    "unknown key of a schedule": ("factor: 0.1, warmup", "factr: 0.1, factor: 0.1, warmup", "did you mean 'factor'?"),
    "unknown method": (
        "methods: [tdr_p, none_p, tdr, none, constant]",
        "methods: [tdr_p, none_p, tdrr, none, constant]",
        "did you mean 'tdr'?",
    ),
    "unknown module": ("uses: random_weights", "uses: random_weight", "did you mean 'random_weights'?"),
    "unknown option": (
        'outer_every: { value: 10, source: "paper',
        'outer_evry: { value: 10, source: "paper',
        "did you mean 'outer_every'?",
    ),
    "forgotten option": ('scale: { value: sum, source: "Ren', 'sc: { value: sum, source: "Ren', "methods.er.options"),
    "impossible option": (
        'outer_every: { value: 10, source: "paper',
        'outer_every: { value: 0, source: "paper',
        "is 0",
    ),
    "unknown word": ("augment: { value: crop-flip, source: TDR", "augment: { value: crop, source: TDR", "'crop-flip'"),
    "unknown model": ("{ value: lenet,", "{ value: lennet,", "did you mean 'lenet'?"),
    "unknown option of a model": ("options: { width: 0.25 }", "options: { widht: 0.25 }", "did you mean 'width'?"),
    "unknown data set": ("dataset: adult", "dataset: adlut", "did you mean 'adult'?"),
    "ratio 0": ("imbalance_ratio: 200 }", "imbalance_ratio: 0 }", "greater than or equal to 1, is 0"),
    "negative ratio": ("imbalance_ratio: 200 }", "imbalance_ratio: -3 }", "greater than or equal to 1, is -3"),
    "ratio the wrong way round": ("imbalance_ratio: 200 }", "imbalance_ratio: 0.005 }", "greater than or equal to 1"),
    "ratio that leaves nothing": (
        "imbalance_ratio: 200 }",
        "imbalance_ratio: 20000 }",
        "no minority example among 5000",
    ),
    "more than the class has": ("total: { value: 5000,", "total: { value: 9000,", "class 9 needs"),
    "class that is not there": ("classes: { value: [4, 9]", "classes: { value: [4, 10]", "class 10"),
    "one class twice": ("classes: { value: [4, 9]", "classes: { value: [4, 4]", "two classes"),
    "wrong type": ("epochs: { value: 100,", 'epochs: { value: "100",', "training.epochs"),
    "falling milestones": ("milestones: [91, 136, 182]", "milestones: [136, 91]", "must rise"),
    "no source": ('batch_size: { value: 50, source: "TDR §4.1 and code" }', "batch_size: 50", "has no source"),
    "too large a test set": (
        "split: { total: 800, test_size: 400 }",
        "split: { total: 800, test_size: 2000 }",
        "test_size asks for 1000 images of class 4, cifar10-slice has 200",
    ),
    "unknown experiment": (
        "experiment: mnist-lt, settings: [rho0.02]",
        "experiment: mnist-lt2, settings: [rho0.02]",
        "did you mean 'mnist-lt'?",
    ),
    "claim about an unknown method": (
        "better: tdr\n    worse: [er_ren]",
        "better: tdt\n    worse: [er_ren]",
        "claim accuracy-against-er-at-its-own-rate",
    ),
    "not run without a reason": (
        "    reason: The labels of the radar images were never published.\n",
        "",
        "give its reason",
    ),
    "not YAML": ("title: Targeted", "title: [Targeted", "not valid YAML"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_one_line_that_helps(tdr_project, what):
    old, new, said = REFUSED[what]
    changed = replace(tdr_project, old, new, "config")
    with pytest.raises(ConfigError) as refused:
        load(tdr_project)
    message = str(refused.value)
    assert said in message
    assert message.startswith(("config/papers/tdr/", changed))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("paper/tdr/mnist-4v9/rho0.005/tdrr/seed0", "unknown method 'tdrr'; did you mean 'tdr'?"),
        ("paper/tdr/mnist-4v9/rho0.5/tdr/seed0", "did you mean 'rho0.05'?"),
        ("paper/tdr/minst-4v9/rho0.05/tdr/seed0", "did you mean 'mnist-4v9'?"),
        ("papre/tdr/mnist-4v9/rho0.05/tdr/seed0", "unknown scale 'papre'; did you mean 'paper'?"),
        ("paper/tdt/mnist-4v9/rho0.05/tdr/seed0", "unknown paper 'tdt'"),
        ("quick/tdr/cifar10-4v9-convnet-scrambled/rho0.3/tdr/seed0", "unknown scale 'quick'"),
        ("paper/tdr/mnist-4v9/rho0.05/tdr", "is not the name of a run"),
        ("paper/tdr/mnist-4v9/rho0.05/tdr/seed-1", "is not the name of a run"),
    ],
)
def test_a_run_that_does_not_exist(run, said):
    with pytest.raises(ConfigError) as refused:
        resolve(run, ROOT)
    assert said in str(refused.value)


def test_config_yaml_is_checked_too(project, config):
    replace(project, "seeds_per_job", "seed_per_job", "config/config.yaml")
    with pytest.raises(
        ConfigError, match=r"config/config.yaml:7: unknown key 'seed_per_job'; did you mean 'seeds_per_job'"
    ):
        load(project)
    with pytest.raises(ConfigError, match="--config: scale: must be 'smoke', 'quick', 'paper' or 'local', is 'papre'"):
        config.with_options(scale="papre")


def test_elsewhere_it_says_where_to_go(tmp_path):
    with pytest.raises(ConfigError, match="run this in the project's own folder"):
        load(tmp_path)


# --- schema ---


def test_the_schema_on_disk_is_the_models(config):
    written = (ROOT / "config/schema.json").read_text()
    assert written == schema_text(), "write it again: reweigh schema > config/schema.json"


def kind_of(file):
    """The definition of the schema that a file of config/ has to fit."""
    kinds = {"config.yaml": "ProjectConfig", "priorities.yaml": "Priorities", "local.yaml": "LocalFile"}
    kinds |= {"methods": "SharedFile", "protocols": "SharedFile"}
    return kinds.get(Path(file).parts[1], "PaperFile")


NO_SCHEMA = ("costs.yaml", "amendments.yaml")
YAML = sorted((ROOT / "config").rglob("*.yaml"))
FILES = [str(path.relative_to(ROOT)) for path in YAML if path.name not in NO_SCHEMA]


@functools.cache
def validator(kind):
    """A validator of one kind of file. The schema is checked once, which takes a second."""
    schema = json.loads((ROOT / "config/schema.json").read_text())
    del schema["anyOf"]
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator({**schema, "$ref": f"#/$defs/{kind}"})


@pytest.mark.parametrize("file", FILES)
def test_the_config_files_fit_the_schema(file):
    content = json.loads(json.dumps(yaml.safe_load((ROOT / file).read_text())))
    validator(kind_of(file)).validate(content)
    with pytest.raises(jsonschema.ValidationError):
        validator(kind_of(file)).validate({**content, "colour": "red"})


@pytest.mark.parametrize(
    "keys", [("methods", "tdr"), ("experiments", "mnist-4v9"), ("experiments", "mnist-4v9", "training")]
)
def test_the_schema_refuses_a_key_that_does_not_exist(keys):
    content = {"colour": "red"}
    for key in reversed(keys):
        content = {key: content}
    with pytest.raises(jsonschema.ValidationError):
        validator("PaperFile").validate(content)
