"""The page of a comparison on a user's own data, and its csv: results/local/NAME/compare.html and .csv.

The page needs no network, no other file and no script. All texts of the user's own are escaped.
"""

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reweigh import canonical_json, metrics, spreadsheets
from reweigh.analysis.against_plain import SHOWN, Line, points, remarks, sentence
from reweigh.analysis.tables import Material
from reweigh.config.names import ArtifactName, RunName
from reweigh.data import local_cards
from reweigh.scorecard.text import p_value
from reweigh.terminal import printable

TEMPLATE = Path(__file__).parent / "own_data.html"
NONE = "–"


def write(material: Material, found: list[Line]) -> list[Path]:
    """Write both files from the lines of a comparison; their paths below the project."""
    folder = Path("results", material.scale, material.paper)
    texts = {".html": page(material, found), ".csv": csv_text(found)}
    for ending, text in texts.items():
        canonical_json.write(material.config.root / folder / f"{material.name}{ending}", text)
    return [folder / f"{material.name}{ending}" for ending in texts]


def csv_text(found: list[Line]) -> str:
    """A line for each method: every number of the page's tables; shares as fractions, seconds, gains as fractions."""
    rows = [
        {
            "experiment": line.experiment,
            "method": line.method,
            "title": line.title,
            "n": line.n,
            "runs": line.runs,
            "asked": line.asked,
            **line.means,
            "seconds": line.seconds,
            "times_plain": line.times,
            "gain": line.gain.effect,
            "gain_low": line.gain.low,
            "gain_high": line.gain.high,
            "p": line.p,
            "p_holm": line.p_holm,
            "better": line.better,
            "worse": line.worse,
            "lost": line.lost,
        }
        for line in found
    ]
    stream = io.StringIO()
    spreadsheets.cells(pd.DataFrame(rows)).to_csv(stream, index=False, float_format="%.6g", lineterminator="\n")
    return stream.getvalue()


def page(material: Material, found: list[Line]) -> str:
    """The page. It shows the figure if that has been rendered."""
    config, name = material.config, material.paper
    spec = config.resolve(config.runs(material.scale, name)[0])
    card = local_cards.of(spec["data"]["options"], config.root / "data")
    methods = dict.fromkeys(line.method for line in found)
    tables = [
        _table(material, name_, [line for line in found if line.is_plain or line.experiment == name_])
        for name_ in material.experiments
    ]
    picture = config.root / f"{ArtifactName(material.scale, name, material.name).stem}.png"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=name,
        title=printable(str(card["title"])),
        sentence=sentence(found),
        remarks=remarks(found),
        facts=_facts(card),
        tables=tables,
        several=len(tables) > 1,
        picture=Markup(base64.b64encode(picture.read_bytes()).decode()) if picture.is_file() else None,
        training=_training(material, spec),
        methods=[(material.title(method), config.paper(name).methods[method].about or "") for method in methods],
        csv=f"{material.name}.csv",
        stem=ArtifactName(material.scale, name, material.name).stem,
        example=next((line.method for line in found if not line.is_plain), ""),
    )


def _table(material: Material, experiment: str, found: list[Line]) -> dict[str, Any]:
    """What the page's table of one experiment has: heads, and a row of words for each method."""
    shown = [metric for metric in SHOWN if any(line.means[metric] is not None for line in found)]
    heads = ["n", *(metrics.of(metric).label for metric in shown), "seconds", "× plain", "gain in points", "p (Holm)"]
    rows = [
        {
            "title": material.title(line.method),
            "better": line.better,
            "worse": line.worse,
            "cells": [
                f"{line.n}" if line.n == line.asked else f"{line.n} of {line.asked}",
                *(_share(line.means[metric]) for metric in shown),
                _number(line.seconds, 1),
                "1" if line.is_plain else _number(line.times, 2),
                "" if line.is_plain else _gain(line),
                "" if line.is_plain else (p_value(line.p_holm) if line.p_holm is not None else NONE),
            ],
        }
        for line in found
    ]
    by = material.experiment(experiment).varies
    return {"title": f"{by[:1].upper()}{by[1:]}", "heads": heads, "rows": rows}


def _gain(line: Line) -> str:
    if line.gain.effect is None:
        return NONE
    return points(line.gain, "") if line.gain.low is not None else _number(100 * line.gain.effect, 1)


def _share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}".replace("-", "−")


def _facts(card: dict[str, Any]) -> list[str]:
    """What the data are, by their card."""
    train, test, classes = card["sizes"]["train"], card["sizes"]["test"], card["label"]["classes"]
    counts = train["classes"]
    rarest, largest = min(counts), max(counts)
    facts = [
        f"{train['rows']:,} {local_cards.unit(card)} to train on, {test['rows']:,} to test on, {len(classes)} classes",
        f"rarest class: {printable(classes[counts.index(rarest)])}, {rarest:,} {local_cards.unit(card)} "
        f"({100 * rarest / sum(counts):.1f} %); largest: "
        f"{printable(classes[counts.index(largest)])}, {largest:,}",
    ]
    if group := card["group"]:
        values = ", ".join(
            f"{printable(str(value))} {count:,}" for value, count in zip(group["values"], train["groups"], strict=True)
        )
        facts.append(f"groups by {printable(str(group['column']))}: {values}")
    return facts


def _training(material: Material, spec: dict[str, Any]) -> list[str]:
    """How the runs are trained: what all methods have in common."""
    training, sources = spec["training"], material.config.sources_of(str(RunName.of_spec(spec)))
    return [
        f"net: {spec['model']['name']} ({sources['model.name'].removeprefix('ours: ')})",
        f"{training['epochs']} epochs in batches of {training['batch_size']} "
        f"({sources['training.epochs'].removeprefix('ours: ')})",
        f"learning rate {training['learning_rate']:g}, momentum {training['momentum']:g}, weight decay "
        f"{training['weight_decay']:g}, {training['schedule']['name']} schedule",
    ]
