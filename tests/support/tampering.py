"""A sound project for audits, and ways to tamper with one.

sound(root) makes a project whose chain holds from MNIST's own bytes to a figure: real splits, made-up results. Whatever
is changed here is written anew under its name: copies of a project share their bytes by hard links.
"""

import csv
import dataclasses
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from reweigh import canonical_json, scorecard
from reweigh.analysis import tables
from reweigh.artifacts import receipt
from reweigh.config import files, loading
from reweigh.config.loading import load
from reweigh.data.arrays import Split
from reweigh.data.obtain import describe
from reweigh.digest import digest, file_digest
from reweigh.plots import curves
from reweigh.provenance import attest as attest_command
from reweigh.provenance import retraining
from reweigh.records import attestations, record
from reweigh.scorecard import page
from support import synthetic_records

CELL = "smoke/tdr/mnist-4v9/rho0.005"
TDR, ER = f"{CELL}/tdr/seed0", f"{CELL}/er/seed0"
FIGURE = "figures/smoke/tdr/fig3"
PANELS = [("values as printed", ["tdr_p", "er_p"]), ("values of the authors' code", ["tdr", "er"])]  # of its notebook
LOCK = "envs/requirements.lock"
RUN_LINE, RUN_PLACE = "line 2", 0  # the first line of its csv: a panel of printed values has no run and is not there
SCORECARD = "results/smoke/scorecard"
SPLIT = f"data/splits/{CELL}/seed0"


def sound(root):
    """Four records, two with traces, of two splits; a figure, the scorecard, an attestation, all with receipts."""
    synthetic_records.project(root)
    papers = "papers: [tdr, absgd, autobalance, molere, har, compare]"
    replace(root / "config/config.yaml", papers, "papers: [tdr]")  # a part of the scorecard, and of the time
    config = load(root)
    (root / "envs").mkdir()
    drawn_with = "".join(f"{name}=={importlib.metadata.version(name)}\n" for name in ("matplotlib", "pandas"))
    (root / LOCK).write_text(f"numpy==2.0.0\ntorch==2.11.0\ntorchvision==0.26.0\n{drawn_with}")
    bodies = {}
    for cell in config.cells_of("smoke", "tdr", "fig3"):
        for run in config.runs_of(cell):
            body = synthetic_records.make(root, run, split=describe(config.resolve(run), root / "data"))
            environment = {**body["environment"], "lock_digest": file_digest(root / LOCK)}
            bodies[run] = record.write(record.record_path(run, root), {**body, "environment": environment})
    attest(root, bodies)
    material = tables.of_artifact("smoke", "tdr", "fig3", root)
    rows = curves.rows(material, panels=PANELS)
    curves.draw(material, rows, panels=PANELS).save(root / FIGURE)
    (root / f"{FIGURE}.ipynb").write_text("{}")
    made = {ending: root / f"{FIGURE}.{ending}" for ending in ("pdf", "png", "csv", "ipynb")}
    receipt.write(root / f"{FIGURE}.json", receipt.figure_basis(config, "smoke", "tdr", "fig3"), made, root)
    scorecard.write("smoke", root)
    return root


def attest(root, bodies, moves=None, **facts):
    """An attestation of some records, as one of an edit that was undone later; `moves`: code -> the code after it."""
    groups = {}
    for run, body in bodies.items():
        groups.setdefault(body["code"]["digest"], {})[run] = body
    moves = moves or {then: digest(then) for then in groups}
    stale = [(then, moves[then], run) for then, group in groups.items() for run in group]
    drawn = {run for _, _, run in attest_command.drawn(stale, 1, 0)}
    edits = [
        {
            "then": then,
            "now": moves[then],
            "covers": {run: body["digest"] for run, body in group.items()},
            "changed": ["weights.py"],
            "again": {run: digest(retraining.outcome(body)) for run, body in group.items() if run in drawn},
        }
        for then, group in groups.items()
    ]
    sample = {"asked": 1, "seed": 0, "runs": len(drawn), "of": len(bodies), "drawn": attest_command.ORDER}
    ended = max(body["ended"] for body in bodies.values())
    made = next(iter(bodies.values()))
    attestations.write(root, "smoke", {
        "code": edits, "split": [], "sample": {**sample, "outcome": "bit-equal"}, "compared": retraining.COMPARED,
        "date": ended, **{part: made[part] for part in ("git", "device", "environment")}, **facts,
    })  # fmt: skip


def copy(project, target):
    """A copy of a project, in a moment: files share their bytes until one is written anew."""
    return Path(shutil.copytree(project, target, symlinks=True, copy_function=os.link))


def score_once(patch):
    """Score the same records by the same config and published numbers once only: half of what an audit costs here."""
    score, known = scorecard.score, {}

    def remembered(config, scale, **rest):
        files = [*config.root.glob("config/**/*.yaml"), *config.root.glob("data/published/*.csv")]
        files += (config.root / "results" / scale).glob("*/*/*/*/seed*.json")
        key = tuple(sorted((path.relative_to(config.root), file_digest(path)) for path in files))
        if key not in known:
            known[key] = score(config, scale, **rest)
        return known[key]

    patch.setattr(scorecard, "score", remembered)


def load_once(patch):
    """Load the same config of several copies once only: half of what is left of an audit here.

    The times and sizes by which `loading.load` sees a change tell the copies' files apart as well: a file that was not
    written anew is a hard link to the first copy's.
    """
    load, known, template = loading._load, {}, page._template()

    def remembered(root, stamp):
        published = tuple((path.name, *files._stamp(path)) for path in sorted((root / "data/published").glob("*")))
        key = (stamp, published)
        if key not in known:
            known[key] = load(root, stamp)
        if (root, key) not in known:
            known[root, key] = dataclasses.replace(known[key], root=root)
        return known[root, key]

    patch.setattr(loading, "_load", remembered)
    patch.setattr(page, "_template", lambda: template)


def git(root, *command):
    """What a git of one's own prints, whatever the user's settings are."""
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *command], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


# --- changing files --------------------------------------------------------------------------------------------------


def write(path, content):
    """A file with another content, of which other copies learn nothing."""
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def replace(path, old, new, count=1):
    """Other words in a file."""
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    write(path, text.replace(old, new, count))


def flip(path, place=-20):
    """One bit of one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    write(path, bytes(content))


def truncate(path, share=0.6):
    content = path.read_bytes()
    write(path, content[: int(len(content) * share)])


def edit_json(path, change, reseal=False):
    """Change the values of a JSON; `reseal` makes its digest of itself anew."""
    body = json.loads(path.read_text())
    change(body)
    if reseal:
        body["digest"] = digest({key: value for key, value in body.items() if key != "digest"})
    write(path, canonical_json.text_of(body))


def edit_record(root, run, change, reseal=True):
    edit_json(record.record_path(run, root), change, reseal)


def edit_csv(path, place, **changes):
    """Other values in one line of a csv; the first line of data is 0."""
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    for name, value in changes.items():
        assert rows[place][name] != value
        rows[place][name] = value
    write_csv(path, rows)


def edit_lines(path, change):
    """Other lines of a csv: `change` gets the list of them, without the header."""
    head, *lines = path.read_text().splitlines()
    change(lines)
    write(path, "\n".join([head, *lines]) + "\n")


def write_csv(path, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write(path, text.getvalue())


def swap(one, other):
    """The contents of two files, changed one for the other."""
    first, second = one.read_bytes(), other.read_bytes()
    write(one, second)
    write(other, first)


def edit_split(path, part, change):
    """Other indices or labels in a split; `change` works on the array in place."""
    split = Split.from_bytes(path.read_bytes())
    array = np.array(getattr(split.train, part))
    change(array)
    changed = dataclasses.replace(split, train=dataclasses.replace(split.train, **{part: array}))
    write(path, changed.to_bytes())


def rename(root, run, other):
    """The record of a run under another run's name, all names in it changed, its digests made anew."""
    text = record.record_path(run, root).read_text()
    write(record.record_path(other, root), text.replace(run.rpartition("/")[2] + ".npz", "").replace(run, other))
    seed = int(other.rpartition("seed")[2])

    def names(body):
        body["spec"]["seed"] = seed
        body["spec_digest"] = digest(body["spec"])
        body["split"]["path"] = f"data/splits/{other.rsplit('/', 2)[0]}/seed{seed}.npz"

    edit_record(root, other, names)


# What rests on a broken record cannot be checked.
RESTING = {("figure", "unverifiable"), ("receipt", "unverifiable"), ("scorecard", "unverifiable"),
           ("page", "unverifiable")}  # fmt: skip


BROKEN = {("record", "broken"), *RESTING}


# A record that is another than it was, and sound: what was made from it is of yesterday.
ANOTHER = {("figure", "stale"), ("receipt", "stale"), ("scorecard", "stale"), ("page", "stale"),
           ("attestation", "stale")}  # fmt: skip


def attestation(root, change, reseal=True):
    (file,) = (root / "results/smoke/attestations").glob("*.json")
    edit_json(file, change, reseal)
    body = json.loads(file.read_text())
    if reseal:
        file.rename(file.with_name(f"{body['date'][:10]}-{body['digest'][:12]}.json"))
