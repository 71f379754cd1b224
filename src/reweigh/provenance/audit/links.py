"""What an audit finds: links of the chain, each in one of six states, and the remedy for each fault."""

import sys
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from reweigh.data.local_cards import is_local

Item = TypeVar("Item")

STATES = ("intact", "attested", "stale", "broken", "missing", "unverifiable")
SOUND = ("intact", "attested")
FAILING = ("stale", "broken", "missing")
KINDS = (
    "record", "spec", "code", "commit", "declared", "recipe", "lock", "trace", "split", "raw", "embedded",
    "attestation", "snakemake", "rerun", "figure", "rendering", "receipt", "redraw", "scorecard", "page", "bench",
    "unlisted",
)  # fmt: skip


class Link(NamedTuple):
    """One link of the chain. `detail` says what is wrong with it, or what an attestation says; empty if intact."""

    kind: str
    name: str
    state: str
    detail: str = ""


_TRAIN = "train it: snakemake results/{name}.json"
_RESTORE = "restore it from git, or delete it and train it again: snakemake results/{name}.json"
_RENDER = "render it again: reweigh render {stem}"
_SCORE = "write it again: reweigh scorecard --scale {scale}"
_ATTEST = "if the edit changes no number: reweigh attest; else train it again: snakemake results/{name}.json"
REMEDIES = {
    ("record", "broken"): _RESTORE,
    ("record", "missing"): f"restore it from git, or {_TRAIN}",
    ("spec", "stale"): "restore the config, or train it again: snakemake results/{name}.json",
    ("code", "stale"): _ATTEST,
    ("recipe", "stale"): _ATTEST,
    ("lock", "stale"): "install the versions that the old lock pinned, or train again with those pinned now",
    ("lock", "missing"): "restore envs/requirements.lock from git",
    ("lock", "broken"): "restore envs/requirements.lock, or the records that name it, from git",
    ("commit", "broken"): "restore these records from git, or delete them and train again",
    (
        "declared",
        "stale",
    ): "restore it from git; if the change stands, say why in config/amendments.yaml, as docs/trust.md has it",
    ("declared", "broken"): "mend it, or restore it from git",
    ("bench", "broken"): "restore it from git, or measure it again: reweigh bench",
    ("redraw", "broken"): _RENDER,
    ("unlisted", "unverifiable"): "delete it, or keep it elsewhere",
    ("trace", "broken"): "restore it from git, or delete it and its record and train again",
    ("trace", "stale"): "delete it, or restore its record from git",
    ("trace", "missing"): "restore it from git, or delete its record and train again",
    ("split", "broken"): "delete it and its .json, and both are drawn again; if that does not help, train again",
    ("split", "stale"): "train the runs that use it again",
    ("split", "missing"): "delete the file that is left, and both are drawn again",
    ("raw", "broken"): "delete it, then: reweigh fetch {dataset}",
    ("raw", "stale"): "delete it, then: reweigh fetch {dataset}",
    ("raw", "missing"): "reweigh fetch {dataset}",
    ("embedded", "broken"): "restore it from git",
    ("embedded", "missing"): "restore it from git",
    ("attestation", "broken"): "restore it from git, or delete it and attest again: reweigh attest",
    ("attestation", "stale"): "delete it and attest again: reweigh attest",
    **{(kind, state): _RENDER for kind in ("figure", "rendering", "receipt") for state in FAILING},
    ("rendering", "unverifiable"): _RENDER,
    ("figure", "unverifiable"): f"mend its records first, if any is named; then {_RENDER}",
    ("rerun", "broken"): f"on a machine and versions like its own: {_RESTORE}",
    **{("snakemake", state): "make it again: snakemake {target}" for state in ("stale", "missing", "unverifiable")},
    ("snakemake", "broken"): "restore it from git, or delete it and make it again: snakemake {target}",
    **{(kind, state): _SCORE for kind in ("scorecard", "page") for state in FAILING},
}


def remedy(link: Link) -> str:
    """What to do about a fault, in one phrase; empty if there is nothing to do, or its detail says it."""
    path = PurePosixPath(link.name)
    top = path.parts[0]
    if link.kind == "snakemake" and top == ".snakemake":
        return ""  # it is Snakemake's own, which no target of the workflow makes
    if link.kind == "raw" and is_local(top):
        return ""  # a user's own file, which no command can bring back; the detail says what to do
    if link.kind == "raw" and link.state in FAILING and top in ("data", "results"):
        run = path.relative_to("results").with_suffix("").as_posix() if top == "results" else ""
        return _RESTORE.format(name=run) if run else "restore it from git"
    of_scorecard = link.kind == "receipt" and top == "results"
    text = _SCORE if of_scorecard and link.state in FAILING else REMEDIES.get((link.kind, link.state), "")
    return text.format(
        name=link.name,
        target=link.name if path.suffix else f"results/{link.name}.json",
        stem=path.with_suffix("").as_posix(),
        dataset=top,
        scale=path.parts[1] if top == "results" else "",
    )


def with_progress(items: Collection[Item], title: str) -> Iterable[Item]:
    """The items, one after the other, with a progress bar if stderr is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, title, console=Console(stderr=True), transient=True)
