"""`reweigh compare`: the methods of config/local.yaml against plain training, on a user's own data.

What was asked for (methods, seeds, epochs) is kept in data/local/compare/NAME.yaml, so that the same command, or
Snakemake, goes on with it. Training goes through the same door as `reweigh train`; then the figure is rendered and the
page written, also where time ran out: it says what is missing.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweigh import canonical_json
from reweigh.config import files
from reweigh.config.files import CHOICES
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.local import SCALE, Choice, card_content, choice_of, offered, template_of
from reweigh.config.names import ArtifactName, RunName
from reweigh.config.validation import lookup
from reweigh.data import local_cards
from reweigh.errors import ConfigError, RecordError
from reweigh.planning.plan import Planned, of_runs
from reweigh.planning.plan_text import summary
from reweigh.planning.tidy import remove_unwanted
from reweigh.records import record
from reweigh.terminal import printable

ALL = "all"  # in place of methods: those of the template
IMPORT = "reweigh import FILE --label COLUMN, or reweigh import FOLDER"


@dataclass(frozen=True)
class Done:
    """What a comparison came to: the exit code of training, the sentence, remarks, the files that were written."""

    exit_code: int
    sentence: str
    remarks: list[str]
    paths: list[Path]


def named(text: str, root: str | Path = ".") -> str:
    """The data set of that name, or of that title in any script. Raises ConfigError, with the nearest, for another."""
    root = Path(root).resolve()
    if not (known := files.local_names(root)):
        raise ConfigError(f"no data set has been imported yet; write: {IMPORT}")
    if text in known:
        return text
    titles: dict[str, str] = {}
    for name in known:
        title = _title(root, name)
        titles.setdefault(_normal(title), name)
        titles.setdefault(_normal(title.rpartition(".")[0]), name)  # without the ending of a file
    if (found := titles.get(_normal(Path(text).name))) is not None:
        return found
    try:
        return str(lookup("data set", text, known))
    except ConfigError as error:
        raise ConfigError(f"{error}; a new one: {IMPORT}") from None


def listed(root: str | Path = ".") -> list[dict[str, str]]:
    """The imported data sets, one row each: name, title, rows, classes, and how many of their runs have ended."""
    root, config = Path(root).resolve(), load(root)
    rows = []
    for name in files.local_names(root):
        row = {"data set": name, "title": "", "rows": "", "classes": "", "runs": ""}
        if name in config.refused:
            rows.append({**row, "runs": config.refused[name]})
            continue
        card = card_content(root, name)
        runs = config.runs(SCALE, name)
        ended = sum(_has_ended(config, run) for run in runs)
        sizes = card["sizes"]
        rows.append({
            **row,
            "title": printable(str(card["title"])),
            "rows": f"{sizes['train']['rows']:,} + {sizes['test']['rows']:,}",
            "classes": str(len(card["label"]["classes"])),
            "runs": f"{ended} of {len(runs)}",
        })  # fmt: skip
    return rows


def _has_ended(config: Config, run: str) -> bool:
    """Whether a run has a sound record, made for what is asked for now: one that the page shows."""
    try:
        return bool(record.read(record.record_path(run, config.root))["spec"] == config.resolve(run))
    except RecordError:
        return False


def ask(
    name: str, methods: str | None, seeds: int | None, epochs: int | None, root: str | Path = "."
) -> tuple[Choice, bool]:
    """Keep what is asked of a data set; what is not said stays as it was. The choice, and whether it is another.

    `methods` are names of config/local.yaml between commas, or `all`. Raises ConfigError for others, and for more seeds
    than there can be.
    """
    root = Path(root).resolve()
    _, template = template_of(root)
    card, before = card_content(root, name), choice_of(root, name)
    known = offered(template, card)
    chosen = before.methods
    if methods is not None:
        words = [word.strip() for word in methods.split(",") if word.strip()]
        if not words:
            raise ConfigError(f"--methods names none; known: {', '.join(known)}, or {ALL}")
        chosen = None if words == [ALL] else [str(lookup("method", word, known, "--methods")) for word in words]
    if seeds is not None and not 1 <= seeds <= template.seeds.most:
        raise ConfigError(f"--seeds {seeds}: from 1 to {template.seeds.most}")
    if epochs is not None and epochs < 0:
        raise ConfigError(f"--epochs {epochs}: from 1 on, or 0 for as many as config/local.yaml says")
    kept = Choice(
        methods=chosen and list(dict.fromkeys(chosen)),
        seeds=before.seeds if seeds is None else seeds,
        epochs=before.epochs if epochs is None else epochs or None,
    )
    if kept == before:
        return kept, False
    said = {key: value for key, value in kept.model_dump().items() if value is not None}
    lines = [f"{key}: {_yaml(value)}" for key, value in said.items()]
    text = f"# What reweigh compare {name} was last asked for; reweigh compare --help says how to ask.\n"
    canonical_json.write(root / CHOICES / f"{name}.yaml", text + "".join(f"{line}\n" for line in lines or ["{}"]))
    return kept, True


def compare(name: str, seconds: float | None = None, at_once: int | None = None, root: str | Path = ".") -> Done:
    """Train what is missing, render the figure, write the page and its csv; in the project's folder.

    `seconds`: training stops at a checkpoint by then. Raises ConfigError or DataError, in one line.
    """
    from reweigh.training.__main__ import train

    root = Path(root)
    config = load(root)
    artifact = ArtifactName(SCALE, name, *config.paper(name).artifacts)
    runs = in_order(config, name)
    specs = [config.resolve(run) for run in runs]
    local_cards.source_file(specs[0]["data"]["dataset"], specs[0]["data"]["options"], root / "data")
    print(_planned(of_runs(config, runs)), flush=True)
    remove_unwanted(config, specs)
    outcome = train(specs, seconds, False, at_once)
    return write(config, artifact, outcome.exit_code)


def _planned(planned: list[Planned]) -> str:
    """What is to be trained, and of it what is there already, made otherwise: that is not a command to be typed."""
    stale = sum(run.state.startswith("stale") for run in planned)
    again = (
        f"\n{stale} of these have a record, made by other options, data or code, and are trained again" if stale else ""
    )
    return f"{summary(planned).splitlines()[0]}{again}"


def in_order(config: Config, name: str) -> list[str]:
    """The runs of a comparison: all methods with the first seed, then with the next, so that an end of time is fair."""
    return sorted(config.runs(SCALE, name), key=lambda run: RunName.parse(run).seed)


def write(config: Config, artifact: ArtifactName, exit_code: int = 0) -> Done:
    """Render the figure of a comparison and write its page, from the records that are there."""
    from reweigh.analysis.against_plain import current, lines, remarks, sentence
    from reweigh.analysis.tables import material_of
    from reweigh.artifacts import fonts
    from reweigh.artifacts.render import render
    from reweigh.scorecard import own_data

    material = material_of(config, *artifact)
    if not len(current(material).runs):
        why = f"no run has ended yet; go on with: reweigh compare {artifact.paper}"
        return Done(exit_code, f"nothing can be said, and there is no page: {why}", [], [])
    found = lines(material)
    fonts.list_once()
    paths = [path for path in render(artifact.stem, config.root) if path.suffix in (".pdf", ".csv")]
    return Done(exit_code, sentence(found), remarks(found), [*own_data.write(material, found), *paths])


def _title(root: Path, name: str) -> str:
    try:
        return str(card_content(root, name)["title"])
    except ConfigError:
        return name


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _yaml(value: Any) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, Sequence) else str(value)
