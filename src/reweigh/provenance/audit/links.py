"""What an audit finds: links of the chain, each in one of six states, and how a fault is mended."""

import sys
from collections.abc import Collection, Iterable
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")

STATES = ("intact", "attested", "stale", "broken", "missing", "unverifiable")
SOUND = ("intact", "attested")
FAILING = ("stale", "broken", "missing")
KINDS = (
    "record", "spec", "code", "commit", "recipe", "lock", "trace", "split", "raw", "embedded", "attestation", "witness",
    "rerun", "figure", "rendering", "receipt", "scorecard", "page",
)  # fmt: skip


class Link(NamedTuple):
    """One link: what kind, which one, its state, and what is wrong with it or attested of it (empty if intact)."""

    kind: str
    name: str
    state: str
    detail: str = ""


_TRAIN = "train it: snakemake results/{name}.json"
_RESTORE = "restore it from git, or delete it and train it again: snakemake results/{name}.json"
_RENDER = "render it again: reweigh render {stem}"
_SCORE = "make it again: reweigh scorecard --scale {scale}"
_ATTEST = "if the edit changes no number: reweigh attest; else train it again: snakemake results/{name}.json"
MENDS = {
    ("record", "broken"): _RESTORE,
    ("record", "missing"): f"restore it from git, or {_TRAIN}",
    ("spec", "stale"): "set the config back, or train it again: snakemake results/{name}.json",
    ("code", "stale"): _ATTEST,
    ("recipe", "stale"): _ATTEST,
    ("lock", "stale"): "install what its lock pinned, or train again with what is pinned now",
    ("lock", "missing"): "restore envs/requirements.lock from git",
    ("lock", "broken"): "restore envs/requirements.lock from git, or the records that name it",
    ("commit", "broken"): "restore these records from git, or delete them and train again",
    ("trace", "broken"): "restore it from git, or delete it and its record and train again",
    ("trace", "stale"): "delete it, or restore its record from git",
    ("trace", "missing"): "restore it from git, or delete its record and train again",
    ("split", "broken"): "delete it with its .json, and they are drawn again; if that is no help, train again",
    ("split", "stale"): "train the runs that use it again",
    ("split", "missing"): "delete what is left of it, and it is drawn again",
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
    **{("witness", state): "make it again: snakemake {target}" for state in ("stale", "missing", "unverifiable")},
    ("witness", "broken"): "restore it from git, or delete it and make it again: snakemake {target}",
    **{(kind, state): _SCORE for kind in ("scorecard", "page") for state in FAILING},
}


def mend(link: Link) -> str:
    """What to do about a fault, in one phrase; empty where nothing is to be done, or its detail says it."""
    parts = link.name.split("/")
    place = {
        "name": link.name,
        "target": link.name if "." in parts[-1] else f"results/{link.name}.json",
        "stem": link.name.rpartition(".")[0],
        "dataset": parts[0],
        "scale": parts[1] if parts[0] == "results" else "",
    }
    if link.kind == "raw" and link.state in FAILING and parts[0] in ("data", "results"):
        return "restore it from git" if parts[0] == "data" else f"restore it from git, or train again: {link.name}"
    of_scorecard = link.kind == "receipt" and parts[0] == "results"
    text = _SCORE if of_scorecard and link.state in FAILING else MENDS.get((link.kind, link.state), "")
    return text.format(**place)


def watched(items: Collection[Item], what: str) -> Iterable[Item]:
    """The items, one after the other, with a progress bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, what, console=Console(stderr=True), transient=True)
