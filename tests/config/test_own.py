"""Methods of one's own: which experiments they join, what shows them, and what a paper has that extends another."""

import pytest

from reweigh.artifacts import receipt
from reweigh.config.loading import load
from reweigh.config.names import ArtifactName
from reweigh.errors import ConfigError
from reweigh.planning import tidy

CELL = "smoke/tdr/mnist-4v9/rho0.1"
ENTRY = """\
methods:
  mine:
    like: none
    title: Mine
    joins: [mnist-4v9]
"""
PAPER = """\
extends: tdr
title: Mine
citation: none
url: https://example.org
methods:
  slow: {{ like: tdr, title: Slow, joins: [mnist-4v9]{more} }}
{rest}
"""


def joined(folder, text=ENTRY):
    (folder / "config/papers/tdr/methods").mkdir(exist_ok=True)
    (folder / "config/papers/tdr/methods/mine.yaml").write_text(text)
    return load(folder)


NO_YAML = "methods: [mine\n"
SAYS = r"config/papers/tdr/methods/mine.yaml:\d+: not valid YAML: "


def test_an_entry_that_is_no_yaml_is_in_the_way_of_its_own_method_alone(tdr_project):
    before = load(tdr_project)
    config = joined(tdr_project, NO_YAML)
    assert config.cells("smoke", "tdr") == before.cells("smoke", "tdr")
    assert config.resolve(f"{CELL}/tdr/seed0") == before.resolve(f"{CELL}/tdr/seed0")
    for asked in (lambda: config.runs_named(f"{CELL}/mine"), lambda: config.artifact("tdr", "fig5+mine")):
        with pytest.raises(ConfigError, match=SAYS) as error:
            asked()
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=rf"unknown method 'mne'.*; or it stands in {SAYS}"):
        config.resolve(f"{CELL}/mne/seed0")
    assert "mine" in joined(tdr_project).paper("tdr").methods


def test_nothing_that_is_kept_goes_while_an_entry_cannot_be_read(tdr_project, monkeypatch):
    kept = tdr_project / tidy.kept.FOLDER
    kept.mkdir(parents=True)
    (kept / "one.json").write_text("{}")
    removed = []
    monkeypatch.setattr(tidy.kept, "remove_unwanted", lambda keep, folder: removed.append(folder) or 1)
    assert tidy.remove_unwanted(joined(tdr_project, NO_YAML)) == 0 and not removed
    assert tidy.remove_unwanted(joined(tdr_project)) == 1 and removed == [kept]


def test_an_entry_that_the_paper_cannot_do_without_is_named(tdr_project):
    extending(tdr_project)
    folder = tdr_project / "config/papers/tdr/methods"
    folder.mkdir(exist_ok=True)
    (tdr_project / "config/papers/tdr/methods.yaml").rename(folder / "theirs.yaml")
    (folder / "theirs.yaml").write_text((folder / "theirs.yaml").read_text() + "\n  - ]\n")
    with pytest.raises(ConfigError, match=r"^config/papers/tdr/methods/theirs.yaml:\d+: not valid YAML"):
        load(tdr_project)


@pytest.mark.parametrize("content", [b"title: [Mine\n", b"title: \xff\n", b"- a list\n"])
def test_a_paper_of_ones_own_that_is_no_yaml_is_in_nobodys_way(content, tdr_project):
    before = extending(tdr_project).cells("smoke", "tdr")
    (tdr_project / "config/papers/second/paper.yaml").write_bytes(content)
    config = load(tdr_project)
    assert config.cells("smoke", "tdr") == before
    for asked in (
        lambda: config.cells("smoke", "second"),
        lambda: config.resolve("smoke/second/mnist-4v9/rho0.1/slow/seed0"),
    ):
        with pytest.raises(ConfigError, match=r"^config/papers/second/paper.yaml(:\d+)?: ") as error:
            asked()
        assert "\n" not in str(error.value)


def extending(folder, rest="", more=""):
    (folder / "config/papers/second").mkdir(exist_ok=True)
    (folder / "config/papers/second/paper.yaml").write_text(PAPER.format(rest=rest, more=more))
    return load(folder)


def test_a_method_joins_an_experiment_and_says_that_it_is_ours(copy):
    config = joined(copy)
    assert config.paper("tdr").methods["mine"].title == "Mine (ours)"
    assert config.paper("tdr").own == ["mine"]
    assert config.methods_of("smoke", "tdr", "mnist-4v9") == ["tdr", "er", "mine"]
    assert f"{CELL}/mine" in config.cells("smoke", "tdr", "mnist-4v9")
    assert "mine" not in config.methods_of("smoke", "tdr", "mnist-lt")
    paper = "paper/tdr/mnist-4v9/rho0.1/mine"
    assert paper not in config.cells("paper", "tdr") and paper in config.with_options(extensions=True).cells(
        "paper", "tdr"
    )
    assert config.experiment("tdr", "mnist-4v9").has("rho0.1", "mine")


def test_it_changes_no_run_and_no_artifact_of_the_paper(copy, config):
    new = joined(copy)
    for name in config.paper("tdr").artifacts:
        for scale in ("smoke", "paper"):
            assert new.cells_of(scale, "tdr", name) == config.cells_of(scale, "tdr", name)
            one, other = (receipt.rendering_digest(each, scale, "tdr", name) for each in (new, config))
            assert one == other
    assert new.resolve(f"{CELL}/tdr/seed0") == config.resolve(f"{CELL}/tdr/seed0")


def test_an_artifact_may_show_it_beside(copy, config):
    new = joined(copy)
    assert f"{CELL}/mine" in new.cells_of("smoke", "tdr", "fig5+mine")
    assert "paper/tdr/mnist-4v9/rho0.1/mine" in new.cells_of("paper", "tdr", "fig5+mine", optional=True)
    assert "paper/tdr/mnist-4v9/rho0.1/mine" not in new.cells_of("paper", "tdr", "fig5+mine")
    assert (new.beside("tdr", "fig5+mine"), new.beside("tdr", "fig5")) == (["mine"], [])
    assert receipt.figure_basis(new, "smoke", "tdr", "fig5+mine", {})["beside"] == ["mine"]
    assert "beside" not in receipt.figure_basis(new, "smoke", "tdr", "fig5", {})
    assert config.beside("tdr", "fig5+er_slow") == ["er_slow"]  # one of an extension


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fig5+tdrr", "artifacts.fig5: unknown method 'tdrr'; did you mean 'tdr'"),
        ("fig5+rand", "it reads mnist-4v9, without rand; add one to `joins` of methods.rand"),
        ("fig+mine", "unknown artifact 'fig'"),
    ],
)
def test_what_an_artifact_cannot_show_is_refused(name, says, copy):
    with pytest.raises(ConfigError, match=says):
        joined(copy).artifact("tdr", name)


def test_the_files_of_such_an_artifact_lie_apart():
    name = ArtifactName.parse("figures/smoke/tdr/fig5.pdf").beside(["mine", "er"])
    assert name.stem == "figures/smoke/tdr/fig5+mine+er" and ArtifactName.parse(name.stem) == name


def test_an_experiment_that_is_not_there_is_refused(copy):
    with pytest.raises(
        ConfigError, match=r"methods\.mine\.joins: unknown experiment 'mnist-4v8'; did you mean 'mnist-4v9'"
    ):
        joined(copy, ENTRY.replace("4v9", "4v8"))


def test_all_methods_are_those_of_the_experiment_and_of_its_extensions(copy):
    artifacts = copy / "config/papers/tdr/artifacts.yaml"
    text = artifacts.read_text()
    old = "- { experiment: mnist-4v9, methods: { like: shown-in-figures }, optional: { like: baselines } }\n  fig6"
    assert text.count(old) == 1
    artifacts.write_text(text.replace(old, "- { experiment: mnist-4v9, methods: all }\n  fig6"))
    config = joined(copy)
    (reads,) = config.artifact("tdr", "fig5").reads
    one = config.experiment("tdr", "mnist-4v9")
    assert reads.methods == one.methods and [*reads.methods, *reads.optional] == one.with_extensions
    assert f"{CELL}/mine" in config.cells_of("smoke", "tdr", "fig5")


# --- extends ---------------------------------------------------------------------------------------------------------


def test_a_paper_that_extends_another_uses_its_runs(copy):
    config = extending(copy)
    whole = config.paper("second")
    assert {*config.paper("tdr").experiments} <= {*whole.experiments} and {*whole.artifacts} == {
        *config.paper("tdr").artifacts
    }
    assert config.cells("smoke", "second") == [f"smoke/second/mnist-4v9/{at}/slow" for at in ("rho0.1", "rho0.005")]
    shown = config.cells_of("smoke", "second", "fig5")
    assert f"{CELL}/tdr" in shown and "smoke/second/mnist-4v9/rho0.1/slow" in shown
    assert not [cell for cell in shown if cell.startswith("smoke/second") and not cell.endswith("/slow")]
    assert config.beside("second", "fig5") == ["slow"] and config.beside("second", "fig6") == []
    assert config.runs_named("smoke/second/mnist-4v9/rho0.1/tdr/seed0") == [f"{CELL}/tdr/seed0"]
    assert config.trained("smoke", "second", "mnist-4v9") == ["slow"]
    assert (whole.claims, whole.published, whole.findings) == ([], None, [])
    assert config.plain("second", "slow") == config.plain("tdr", "tdr")


def test_a_new_experiment_of_it_may_be_like_one_that_it_has(copy):
    rest = "experiments:\n  short: { like: mnist-4v9, title: Short, methods: [tdr, slow], extensions: [], scales: {} }"
    config = extending(copy, rest)
    assert "paper/second/short/rho0.1/tdr" in config.cells("paper", "second")
    assert config.home("second", "short", "tdr") == "second"


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("artifacts: { fig5: { title: x } }", r"paper.yaml:7: tdr has artifacts.fig5 already; choose another name"),
        (
            "experiments: { mnist-4v9: { title: x } }",
            "tdr has experiments.mnist-4v9 already.*write `like: mnist-4v9`",
        ),
    ],
)
def test_an_entry_that_both_have_is_refused(rest, says, copy):
    with pytest.raises(ConfigError, match=says):
        extending(copy, rest)


def test_a_paper_that_is_not_there_and_a_chain_are_refused(copy):
    extending(copy)
    third = copy / "config/papers/third"
    third.mkdir()
    for name, says in (("second", "second itself extends another paper"), ("tdrr", "extends: unknown paper 'tdrr'")):
        (third / "paper.yaml").write_text(PAPER.format(rest="", more="").replace("extends: tdr", f"extends: {name}"))
        with pytest.raises(ConfigError, match=says):
            load(copy)
