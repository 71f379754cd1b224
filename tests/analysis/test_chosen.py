"""What tuning chooses, as blocks of config: valid before any choice, right after it, the same if written again."""

from pathlib import Path

import pytest
import yaml
from support import synthetic_records
from support.config_files import replace
from typer.testing import CliRunner

from reweigh.analysis import chosen
from reweigh.cli import app
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.errors import ConfigError

FILE = "config/papers/compare/experiments/chosen.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project where logit adjustment was tuned on one setting (the fourth point is best), and plain training too.

    Nothing has been chosen in it yet, whatever has been in this one.
    """
    root = synthetic_records.project(tmp_path)
    content = yaml.safe_load((root / FILE).read_text())
    (root / FILE).unlink()  # it shares its bytes with other copies
    (root / FILE).write_text(yaml.safe_dump({**content, "blocks": {name: {} for name in content["blocks"]}}))
    for method, best in (("la", "p4"), ("erm", "p2")):
        for point in ("p1", "p2", "p3", "p4"):
            for seed in (0, 1):
                run = f"paper/compare/mnist-tuning/lt100-{point}/{method}/seed{seed}"
                synthetic_records.make(root, run, test_accuracy=0.8 if point == best else 0.7)
    return root


def spec(config: Config, method: str, setting: str = "lt100") -> dict:
    return config.resolve(f"paper/compare/mnist/{setting}/{method}/seed0")


def test_before_any_choice_every_block_is_there_and_empty(config: Config) -> None:
    found = chosen.blocks(config, "compare")
    written = yaml.safe_load((config.root / FILE).read_text())["blocks"]
    assert set(found) == set(written) and len(found) == 13
    settings = config.paper("compare").experiments["mnist"].settings
    assert all(f"chosen-mnist-{name}" in found for name in settings)


def test_what_is_chosen_is_what_the_runs_then_have(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    before = load(root)
    assert spec(before, "la")["training"]["learning_rate"] == 0.05
    done = CliRunner().invoke(app, ["tune", "compare", "--write"])
    assert done.exit_code == 0 and done.output.strip() == f"wrote {FILE}", done.output
    after = load(root)
    la = spec(after, "la")
    assert (la["training"]["learning_rate"], la["method_options"]["loss"]["tau"]) == (0.02, 2.0)
    assert spec(after, "la", "lt10") == spec(before, "la", "lt10")  # another setting is as it was
    sources = after.sources_of("paper/compare/mnist/lt100/la/seed0")
    assert [text for text in sources.values() if text.startswith("chosen by")] == ["chosen by lt100-la"] * 2
    # What plain training has without a choice was chosen: a block that says it again would change no run.
    assert list(yaml.safe_load((root / FILE).read_text())["blocks"]["chosen-mnist-lt100"]) == ["la"]
    first = (root / FILE).read_text()
    assert CliRunner().invoke(app, ["tune", "compare", "--write"]).exit_code == 0
    assert (root / FILE).read_text() == first
    assert CliRunner().invoke(app, ["tune", "compare", "--blocks"]).output.strip() == first.strip()
    assert "as chosen" in CliRunner().invoke(app, ["tune", "compare"]).output


def test_a_choice_that_is_run_again_with_another_end_replaces_the_old_one(root: Path) -> None:
    (root / FILE).write_text(chosen.text(chosen.blocks(load(root), "compare"), "compare"))
    for seed in (0, 1):
        run = f"paper/compare/mnist-tuning/lt100-p1/la/seed{seed}"
        synthetic_records.make(root, run, test_accuracy=0.95)
    assert chosen.blocks(load(root), "compare")["chosen-mnist-lt100"] == {}  # the first point is what it has anyway


def test_two_rules_for_one_option_are_refused(root: Path) -> None:
    of_plain = "methods: [erm, erm_2x, erm_3x, erm_4x, erm_target, erm_all]"
    replace(root, of_plain, "methods: [erm, la]", "config/papers/compare")
    with pytest.raises(ConfigError, match=r"lt100-erm and lt100-la both choose training\.learning_rate of la"):
        chosen.blocks(load(root), "compare")


def test_a_paper_without_rules_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.root)
    done = CliRunner().invoke(app, ["tune", "tdr", "--blocks"])
    assert done.exit_code and "no rules of tuning" in str(done.exception or done.output)
