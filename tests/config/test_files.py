"""The files of the config: short, without anchors, none unused; errors that name file, line and the nearest word."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from support.config_files import line_of, replace
from support.project import ROOT

from reweigh.config import files, loading
from reweigh.config.inherit import without_grids
from reweigh.config.loading import load
from reweigh.config.models import Artifact, CutWords, Experiment, Paper, ScaleBlock, Setting
from reweigh.errors import ConfigError

README = ROOT / "config/README.md"
FILES = sorted((ROOT / "config").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "config")))
def test_a_file_is_short_and_has_no_anchors(path):
    most = 300 if path.name in ("priorities.yaml", "chosen.yaml") else 200  # a list of all papers; written by a command
    assert len(path.read_text().splitlines()) <= most
    assert max(len(line) for line in path.read_text().splitlines()) <= 140
    events = list(yaml.parse(path.read_text()))
    assert not [event for event in events if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)]


def test_every_shared_entry_is_used():
    """What is written for several papers is named by a `like`: of a paper, or of something that is shared too."""
    shared = files.shared(ROOT)
    entries = {name for kind in shared.value.values() for name in kind.value}
    named = {name for path in FILES for name in re.findall(r"like: ([\w.-]+)", path.read_text())}
    grids = {"joint", "ncm", "crt", "tau_norm", "lws"}  # like: "{name}"
    assert entries - named - grids == set()


STEPS = 'value: 10, source: "paper §4 (t_in) and code"'
REFUSED = {  # file: (old, new, the text at whose line it is said, what is said)
    "experiments/adult.yaml": (
        "varies: group",
        "vareis: group",
        "vareis",
        "unknown key 'experiments.adult.vareis'; did you mean 'varies'?",
    ),
    "methods.yaml": (
        f"outer_every: {{ {STEPS}",
        f"outer_evry: {{ {STEPS}",
        "    options:",
        "methods.tdr.options: unknown key 'outer_evry'; did you mean 'outer_every'?",
    ),
    "artifacts.yaml": (
        "caption: workflow/report/tdr/fig9",
        "captoin: workflow/report/tdr/fig9",
        "captoin",
        "'artifacts.fig9.captoin'; did you mean 'caption'?",
    ),
    "claims/mnist-figures.yaml": (
        "test: smaller_spread",
        "test: smaler_spread",
        "smaler_spread",
        ".test: must be 'greater'",
    ),
    "published.yaml": (
        "table: Table3\n      published_setting: model=MLP",
        "tabel: Table3\n      published_setting: model=MLP",
        "tabel:",
        "did you mean 'table'?",
    ),
    "findings.yaml": (
        'evidence: "0.6564',
        'evidense: "0.6564',
        "evidense",
        "unknown key 'findings.5.evidense'; did you mean 'evidence'?",
    ),
    "experiments/mnist.yaml": (
        "like: mnist-lenet",
        "like: mnist-lennet",
        "mnist-lennet",
        "unknown parent of mnist-4v9 'mnist-lennet'; did you mean 'mnist-lenet'?",
    ),
    "paper.yaml": ("url: https", "title: https", "title: https", "'title' stands here twice"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_names_file_and_line_and_the_nearest_word(tdr_project, name):
    old, new, at, said = REFUSED[name]
    file = replace(tdr_project, old, new, f"config/papers/tdr/{name}")
    with pytest.raises(ConfigError) as refused:
        load(tdr_project)
    assert str(refused.value).startswith(f"{file}:{line_of(tdr_project, file, at)}: ")
    assert said in str(refused.value)


def test_a_fault_in_what_is_shared_is_named_there(project):
    file = replace(project, "largest_class: { value: 500,", "largest_clas: { value: 500,", "config/protocols")
    with pytest.raises(ConfigError) as refused:
        load(project)
    assert str(refused.value).startswith(f"{file}:{line_of(project, file, 'largest_clas:')}: unknown key")
    replace(project, "largest_clas:", "largest_class:", file)
    replace(project, "protocols:\n", "protocol:\n", file)
    with pytest.raises(ConfigError, match=r"cifar-resnet32.yaml:\d+: .* 'protocol'; did you mean 'protocols'"):
        load(project)


def test_one_entry_in_two_files_is_refused_with_both_places(tdr_project):
    path = tdr_project / "config/papers/tdr/more.yaml"
    path.write_text("methods:\n  er: { like: er }\n")
    with pytest.raises(
        ConfigError, match=r"more.yaml:2: 'methods.er' stands in config/papers/tdr/methods.yaml:\d+ too"
    ):
        load(tdr_project)
    path.write_text("methods:\n  other: { like: er, title: Another }\n")
    assert load(tdr_project).paper("tdr").methods["other"].uses == "er"


def test_a_paper_is_a_folder_with_a_paper_yaml(tdr_project):
    (tdr_project / "config/papers/old.yaml").write_text("title: Old\n")
    with pytest.raises(ConfigError, match=r"papers/old.yaml: a paper is a folder; move this to .*/old/paper.yaml"):
        load(tdr_project)
    (tdr_project / "config/papers/old.yaml").unlink()
    (tdr_project / "config/papers/tdr/paper.yaml").unlink()
    with pytest.raises(ConfigError, match=r"config/papers/tdr has no paper.yaml"):
        load(tdr_project)


def test_the_grid_that_the_readme_shows_makes_what_it_says(tmp_path):
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL) if "grid:" in one]
    (tmp_path / "shown.yaml").write_text(block)
    settings = files.plain(without_grids(files.read(tmp_path / "shown.yaml", "shown.yaml")))["settings"]
    assert block.splitlines()[1].split("# ")[1].removesuffix(", ...").split(", ") == list(settings)[:3]
    assert settings["lambda10-gamma0.9"] == {"value": "λ = 10, γ = 0.9", "options": {"lambda_": 10.0, "gamma": 0.9}}


def test_the_readme_names_every_key():
    known = {
        key for model in (Paper, Experiment, Setting, ScaleBlock, CutWords, Artifact) for key in model.model_fields
    }
    assert not {key for key in known if f"`{key}`" not in README.read_text()}


def test_a_changed_shared_file_is_read_again(tdr_project):
    run = "paper/tdr/mnist-4v9/rho0.1/tdr/seed0"
    assert load(tdr_project).resolve(run)["training"]["epochs"] == 100
    replace(tdr_project, "epochs: { value: 100,", "epochs: { value: 101,", "config/protocols/mnist-lenet.yaml")
    assert load(tdr_project).resolve(run)["training"]["epochs"] == 101


def test_a_value_of_every_spec_stands_where_it_is_said_to(config):
    """The line that an origin names holds the value, or begins the block that does."""
    for run in ("paper/tdr/mnist-4v9/rho0.005/er_ren/seed0", "quick/absgd/noise-cifar10/asym0.4/absgd_sce/seed0"):
        for path, origin in config.origins(run).items():
            line = (ROOT / origin.place.file).read_text().splitlines()[origin.place.line - 1]
            key = path.split(".")[-1]
            assert key in line or "{" in line or line.strip().startswith(path.split(".")[-2]), (path, origin, line)


def test_a_config_that_snakemake_has_checked_is_not_checked_again_unless_a_file_changes(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.setenv(loading.CHECKED, "")
    checked = []
    monkeypatch.setattr(loading.checks, "check", lambda config, paper: checked.append(paper))
    papers = list(loading.load(tmp_path).papers)
    assert checked == papers
    loading.declare_checked(tmp_path)
    loading._load.cache_clear()  # as in a process that starts
    assert list(loading.load(tmp_path).papers) == papers == checked
    file = tmp_path / "config/papers/tdr/claims/mnist-figures.yaml"
    file.write_text(file.read_text() + "# edited\n")
    loading.load(tmp_path)
    assert checked == 2 * papers
    shutil.copytree(tmp_path / "config", tmp_path / "other/config")
    loading.load(tmp_path / "other")
    assert checked == 3 * papers


# Each line stands for ten times what the one above does.
BOMB = "a0: &a0 1\n" + "".join(f"a{k + 1}: &a{k + 1} [{', '.join([f'*a{k}'] * 10)}]\n" for k in range(12))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("title: § 4\n".encode("latin-1"), "not UTF-8, from byte 7 on; save it as UTF-8"),
        (b"\xff\xfe", "not UTF-8, from byte 0 on"),
        (b"title: \x01\n", "not valid YAML"),
        (b"title: &a [*a]\n", "an alias stands inside what it names"),
        (b"title: &a { b: *a }\n", "an alias stands inside what it names"),
        (b"title: 2026-13-45\n", "some.yaml:1: 2026-13-45 is a date"),
        (b"title: !!bool maybe\n", "'maybe' cannot be read as"),
        (b"title: !!int ''\n", "cannot be read as"),
        (b"title: " + b"1" * 5000 + b"\n", "cannot be read as"),
        (b"title: !!nothing x\n", "not valid YAML"),
        (b"", "must hold keys and values, holds nothing"),
        (b"# nothing\n", "holds nothing"),
        (b"- title\n", "holds a list"),
        (b"title\n", "holds a single value"),
        (b"a: 1\nb:\n\tc: 1\n", "some.yaml:3: not valid YAML: a tab; indent with spaces"),
        ("a: 1\n".encode("utf-16"), "not UTF-8"),
        (b"? [a, b]\n: 1\n", "some.yaml:1: a key is a word"),
        (b"a: 1\n---\nb: 1\n", "some.yaml:2: not valid YAML"),
        (b"a:\n  b: 1\n  c: 2\n  b: 3\n", "some.yaml:4: 'b' stands here twice, first in line 2"),
        (b"papers: [tdr, har,\n tdr]\n", "some.yaml:2: 'tdr' stands twice in this list, first in line 1"),
        (b"a: 010\n", "some.yaml:1: 010 is octal, 8, by old YAML alone; write 10 or 8"),
        (b"a: 08\n", "08 is a text because of its 0; write 8"),
        (b"a: 1_000\n", "1_000 is a number by old YAML alone; write it in plain digits"),
        (b"a: [1, 12:30:00]\n", "some.yaml:1: 12:30:00 is a number by old YAML alone"),
        (b"a: { b: No }\n", "No is false by old YAML alone; write false, or 'No' if it is a text"),
        (b"a: on\n", "on is true by old YAML alone"),
        (b"a: 2026-11-30\n", "2026-11-30 is a date, which nothing here takes; write '2026-11-30', in quotes"),
        (BOMB.encode(), "its aliases stand for more than 200,000 values"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content, says):
    (tmp_path / "some.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        files.read(tmp_path / "some.yaml", "some.yaml")
    assert str(error.value).startswith("some.yaml") and says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("\ufeffa: 1\n".encode(), 1),  # the mark that some editors put before a text
        (b"a: 1\r\nb: 2\r\n", 1),
        (b"a: 1\t# one\n", 1),
        (b"a: '010'\n", "010"),
        (b"a: 'no'\n", "no"),
        (b"a: no-reweighting\n", "no-reweighting"),
        (b"a: '2026-11-30'\n", "2026-11-30"),
        (b"a: 0\n", 0),
        (b"a: 0.5\n", 0.5),
        (b"a: 0x10\n", 16),
        (b"a: [1, 1]\n", [1, 1]),
        (b"on: 1\na: true\n", True),
    ],
)
def test_what_can_be_read_in_one_way_alone_is_read(tmp_path, content, value):
    (tmp_path / "some.yaml").write_bytes(content)
    found = files.plain(files.read(tmp_path / "some.yaml", "some.yaml"))["a"]
    assert found == value and type(found) is type(value)


def test_names_that_come_from_the_command_line_stand_once_too(tdr_project):
    with pytest.raises(ConfigError, match=r"papers: 'tdr' stands twice in this list; keep one of them"):
        load(tdr_project).with_options(papers=["tdr", "tdr"])


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_files_are_utf8_wherever_they_are_read(locale, tmp_path):
    (tmp_path / "some.yaml").write_text("title: § 4\n", encoding="utf-8")
    code = "import sys; from pathlib import Path; from reweigh.config.files import read; read(Path(sys.argv[1]), 'a')"
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "some.yaml")], env=environment, check=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2E5", 2e5),
        ("-1.e-3", -1e-3),
        (".5e2", 50.0),
        ("'1e-3'", "1e-3"),
        ("1e-3x", "1e-3x"),
        ("e3", "e3"),
    ],
)
def test_a_number_with_an_exponent_needs_no_point(tmp_path, text, value):
    (tmp_path / "some.yaml").write_text(f"rate: {text}\nrates: [{text}]\n")
    found = files.plain(files.read(tmp_path / "some.yaml", "some.yaml"))
    assert found == {"rate": value, "rates": [value]} and type(found["rate"]) is type(value)
