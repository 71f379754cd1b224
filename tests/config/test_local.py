"""Papers made for a user's own data: at scale local alone, as long as their rule says, in nobody else's way."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support import compared_data

from reweigh.config import loading, local
from reweigh.config.loading import load
from reweigh.config.sources import source_of
from reweigh.errors import ConfigError
from reweigh.planning import compare
from reweigh.planning.plan import everything, of_runs, runs_of_target, steps_of


@pytest.fixture
def project(tmp_path, monkeypatch):
    return compared_data.project(tmp_path / "project", monkeypatch)


def rule(**changes):
    known = {"steps": 2000, "batch_size": 128, "batches": 8, "fewest_epochs": 5, "most_epochs": 50}
    return local.Rule(**{**known, "deferred": 0.8, "target_per_class": 10, **changes})


@given(st.integers(1, 10**7), st.integers(1, 512), st.integers(1, 10**4), st.integers(1, 20), st.integers(20, 300))
def test_a_run_is_as_long_as_its_rule_says(rows, batch_size, steps, fewest, most):
    one = rule(steps=steps, batch_size=batch_size, fewest_epochs=fewest, most_epochs=most)
    found = local.length(rows, one)
    assert 1 <= found.batch_size <= batch_size and (batch_size // found.batch_size) * found.batch_size <= batch_size
    assert found.batch_size == 1 or rows // found.batch_size >= one.batches
    assert fewest <= found.epochs <= most
    taken = found.epochs * max(rows // found.batch_size, 1)
    assert taken >= steps or found.epochs == most
    assert (found.epochs - 1) * max(rows // found.batch_size, 1) < steps or found.epochs == fewest
    assert 0 <= found.deferred < found.epochs and found.deferred >= min(math.ceil(0.8 * found.epochs), found.epochs - 1)
    assert local.length(rows, one, 3).epochs == 3


def test_it_exists_at_one_scale_and_changes_no_other(project):
    before = {scale: everything(load(), scale) for scale in ("smoke", "quick", "paper")}
    assert load().papers_at("local") == [] and everything(load(), "local") == []
    compared_data.card(project)
    config = load()
    assert config.papers_at("local") == ["claims"] and config.refused == {}
    assert {scale: everything(config, scale) for scale in before} == before
    runs = everything(config, "local")
    assert len(runs) == 7 * 5 and all(run.startswith("local/claims/by-class/as-is/") for run in runs)
    for scale in before:
        assert config.runs(scale, "claims") == [] and config.cells_of(scale, "claims", "compare") == []
        with pytest.raises(ConfigError, match="unknown scale"):
            config.resolve(f"{scale}/claims/by-class/as-is/none/seed0")
    with pytest.raises(ConfigError, match="unknown scale 'local'"):
        config.resolve("local/tdr/adult/sex/none/seed0")
    assert runs_of_target(config, "figures/local/claims/compare.pdf") == runs


def test_specs_say_where_each_value_comes_from(project):
    card, config = compared_data.card(project, group="sex"), load()
    for run in config.runs("local", "claims"):
        spec = config.resolve(run)
        assert spec["data"]["options"] == {"card": "claims", "digest": card["digest"]}
        assert spec["data"]["split"]["weights_by"] == ("group" if "/by-group/" in run else "class")
        assert spec["data"]["split"]["target_size"] == 30 and spec["data"]["split"]["test"] == "all"
        rows = card["sizes"]["train"]["rows"]
        assert steps_of(spec) == spec["training"]["epochs"] * (rows // spec["training"]["batch_size"])
        sources = config.sources["claims"]
        assert source_of(sources, ("experiments", "by-class", "training", "epochs")).startswith("ours: 2,000 steps on")
    origin = config.origins("local/claims/by-class/as-is/absgd/seed0")["method_options.from_epoch"]
    assert origin.place.file == "data/local/claims.yaml" and "share 0.8" in origin.source
    assert config.resolve("local/claims/by-class/as-is/absgd/seed0")["method_options"]["from_epoch"] == 40
    assert config.resolve("local/claims/by-class/as-is/ldam/seed0")["model"]["options"] == {"head": "cosine"}


def test_a_project_is_read_from_anywhere_by_its_own_cards(project, tmp_path, monkeypatch):
    """Not by what lies in ./data: another project has another card of that name."""
    card = compared_data.card(project, group="sex")
    other = compared_data.project(tmp_path / "other", monkeypatch)
    compared_data.card(other, rows=900)
    for folder in (other, project / "config", tmp_path):
        monkeypatch.chdir(folder)
        loading._load.cache_clear()
        config = load(project)
        assert config.refused == {}
        run = "local/claims/by-class/as-is/none/seed0"
        assert config.resolve(run)["data"]["options"]["digest"] == card["digest"]
        (planned,) = of_runs(config, [run])
        assert planned.state == "missing" and planned.steps == steps_of(config.resolve(run))


def test_below_the_project_the_error_names_its_folder(project, monkeypatch):
    monkeypatch.chdir(project / "config" / "papers")
    with pytest.raises(ConfigError, match=f"; run this in the project's own folder: cd {project}$"):
        load()


def test_what_was_asked_for_is_what_there_is(project):
    compared_data.card(project, group="sex")
    assert compare.ask("claims", "ldam, hard,ldam", 7, 3) == (
        local.Choice(methods=["ldam", "hard"], seeds=7, epochs=3),
        True,
    )
    config = load()
    cells = config.cells("local", "claims")
    asked = ("by-class/as-is/none", "by-class/as-is/hard", "by-class/as-is/ldam")
    assert cells == [f"local/claims/{cell}" for cell in (*asked, "by-group/as-is/hard")]
    assert config.cells_of("local", "claims", "compare") == cells and len(config.runs_of(cells[0])) == 7
    assert config.resolve("local/claims/by-class/as-is/tdr/seed0")["training"]["epochs"] == 3  # it keeps its name
    assert compare.ask("claims", None, None, None)[1] is False
    assert compare.ask("claims", "ldam", None, 0)[0] == local.Choice(methods=["ldam"], seeds=7)
    config = load()
    assert config.methods_of("local", "claims", "by-group") == []
    assert config.run_with_split("local/claims/by-group/as-is/seed0") == "local/claims/by-group/as-is/none/seed0"
    assert compare.ask("claims", "all", 5, None)[0] == local.Choice(seeds=5)
    assert len(load().runs("local", "claims")) == (7 + 2) * 5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"methods": "ldm"}, "--methods: unknown method 'ldm'; did you mean 'ldam'?"),
        (
            {"methods": "group_dro"},
            "--methods: unknown method 'group_dro'; known: none, hard, focal, la, ldam, absgd, tdr",
        ),
        ({"methods": " , "}, "--methods names none; known: none, hard, focal, la, ldam, absgd, tdr, or all"),
        ({"seeds": 21}, "--seeds 21: from 1 to 20"),
        ({"seeds": 0}, "--seeds 0: from 1 to 20"),
        ({"epochs": -1}, "--epochs -1: from 1 on, or 0 for as many as config/local.yaml says"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_and_not_kept(project, asked, said):
    compared_data.card(project)
    with pytest.raises(ConfigError) as error:
        compare.ask("claims", **{"methods": None, "seeds": None, "epochs": None, **asked})
    assert str(error.value) == said and not (project / "data/local/compare").exists()


def test_a_card_that_cannot_be_read_is_in_nobodys_way(project):
    compared_data.card(project)
    compared_data.card(project, 500, name="other")
    path = project / "data/local/claims.yaml"
    card = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**card, "title": "another"}))
    config = load()
    assert config.papers_at("local") == ["other"] and len(config.runs("quick", "tdr")) > 0
    with pytest.raises(ConfigError, match="changed since it was written"):
        config.paper("claims")
    assert compare.listed()[0]["runs"].startswith("data/local/claims.yaml") or "changed" in compare.listed()[0]["runs"]
    (project / "data/local/compare").mkdir()
    (project / "data/local/compare/other.yaml").write_text("methods: [ldm]\n")
    assert load().refused["other"] == "data/local/compare/other.yaml: unknown method 'ldm'; did you mean 'ldam'?"


def test_a_name_is_found_by_title_too(project):
    with pytest.raises(ConfigError, match="no data set has been imported yet; write: reweigh import FILE"):
        compare.named("claims")
    compared_data.card(project)
    for text in (
        "claims",
        compared_data.TITLE,
        compared_data.TITLE.removesuffix(".csv"),
        f"some/{compared_data.TITLE}",
    ):
        assert compare.named(text) == "claims"
    with pytest.raises(ConfigError, match="unknown data set 'claim'; did you mean 'claims'"):
        compare.named("claim")
