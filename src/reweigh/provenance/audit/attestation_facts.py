"""What an attestation states of its sample, its machine and its commit, as far as it can be computed again.

Checked: the scale of what it covers; that its sample is the one that its seed draws, that all was compared, that every
split was drawn again; that its platform is that of the records it covers; and, of git, that its commit is no younger
than its date, pins the lock that it names, and has the code that it calls `now`, with no other `changed` files.
Not checkable: that its sample was trained at all (`reweigh audit --rerun` trains another), its date within that of its
commit, versions and platform beyond torch, NumPy and the device, which its records state too.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from reweigh.config.names import RunName
from reweigh.digest import digest, is_foreign
from reweigh.provenance import attest, retraining
from reweigh.provenance.audit.commits import code_at, commit_times
from reweigh.provenance.audit.lockfile import LOCK
from reweigh.provenance.consistency import CLOCK_SKEW
from reweigh.records import attestations
from reweigh.records.commit import git, has_repository
from reweigh.records.history import contents

Body = dict[str, Any]
Records = Mapping[str, Body]
MOST_DROPPED = 10  # changed files of which each may be one that the code no longer imports


def contradictions(name: str, body: Body, records: Records) -> Iterator[str]:
    """What of its facts is wrong by itself and its records, one line each."""
    scale = Path(name).parts[1]
    edits = [(part, edit) for part in attestations.PARTS for edit in body[part]]
    covered = {run for _, edit in edits for run in edit["covers"]}
    if elsewhere := sorted(run for run in covered if RunName.parse(run).scale != scale):
        yield f"it covers {elsewhere[0]}, which is not of scale {scale}"
    yield from _sample(body)
    if lacking := [part for part in retraining.COMPARED if part not in body["compared"]]:
        yield f"it did not compare {', '.join(lacking)}"
    stated = retraining.platform(body)
    for part, edit in edits:
        known = _known(edit, records)
        if other := [run for run in known if not retraining.is_same(retraining.platform(records[run]), stated)]:
            made = retraining.described(retraining.platform(records[other[0]]))
            yield f"it is of {retraining.described(stated)}, but {other[0]} was made on {made}"
        drawn = sorted({records[run]["split"]["digest"] for run in known})
        if part == "split" and len(known) == len(edit["covers"]) and sorted(edit["again"]) != drawn:
            yield f"it did not draw again the splits that it covers, as that of {known[0]}"


def _sample(body: Body) -> Iterator[str]:
    sample = body["sample"]
    if sample["drawn"] != attest.ORDER:
        return  # in another way than this version knows
    stale = [(edit["then"], edit["now"], run) for edit in body["code"] for run in edit["covers"]]
    drawn = {run for _, _, run in attest.drawn(stale, sample["asked"], sample["seed"])}
    again = {run for edit in body["code"] for run in edit["again"]}
    if again != drawn:
        other = sorted(again ^ drawn)[0]
        yield f"its seed {sample['seed']} draws another sample: {other} is in only one of the two"


def _known(edit: Body, records: Records) -> list[str]:
    """The runs of an edit whose record is the one that it covers."""
    covers = edit["covers"].items()
    return [run for run, stated in covers if run in records and records[run]["digest"] == stated]


# --- by git ----------------------------------------------------------------------------------------------------------


def against_git(body: Body, records: Records, root: Path) -> tuple[list[str], list[str]]:
    """What of its facts git contradicts, and what git cannot bear out; neither without a repository."""
    if not has_repository(root):
        return [], []
    commit, edited = body["git"]["commit"], body["git"]["dirty"] is not False
    if not commit:
        return [], ["it names no commit"]
    made = commit_times([commit], root).get(commit)
    if made is None:
        return [], [f"this clone's git does not have its commit {commit[:12]}; a full clone has"]
    if datetime.fromisoformat(body["date"]).timestamp() < made - CLOCK_SKEW.total_seconds():
        return [f"its date {body['date']} is before that of its commit {commit[:12]}"], []
    unlike = [*_lock(body, commit, root), *_code(body, commit, records, root)]
    return ([], [f"{line}; its checkout was edited" for line in unlike]) if edited else (unlike, [])


def _lock(body: Body, commit: str, root: Path) -> Iterator[str]:
    stated, name = body["environment"]["lock_digest"], f"{commit}:./{LOCK}"
    found = contents(root, [name])
    if stated is not None and (not found or hashlib.sha256(found[name][1]).hexdigest() != stated):
        yield f"its lock {stated[:12]} is not that of its commit {commit[:12]}"


def _code(body: Body, commit: str, records: Records, root: Path) -> Iterator[str]:
    """Whether the commit has the code of today that each edit names, by the files of the records that it covers."""
    inside = (git(root, "rev-parse", "--show-prefix") or b"").decode().strip()
    known = {id(edit): [records[run]["code"]["files"] for run in _known(edit, records)] for edit in body["code"]}
    then = {id(edit): list({digest(files): files for files in known[id(edit)]}.values()) for edit in body["code"]}
    names = {name for edit in body["code"] for files in then[id(edit)] for name in (*files, *edit["changed"])}
    committed = code_at(commit, sorted(name for name in names if not is_foreign(name)), root, inside)
    for edit in body["code"]:
        variants = then[id(edit)]
        if not variants or any(map(is_foreign, (*edit["changed"], *(name for files in variants for name in files)))):
            continue  # nothing is known of the code that it was
        changed = {name for files in variants for name in files if committed.get(name) != files[name]}
        if unsaid := sorted(changed - set(edit["changed"])):
            yield f"{unsaid[0]} had changed too at its commit {commit[:12]}"
        elif not any(_leads_to(edit, files, committed) for files in variants):
            yield f"its commit {commit[:12]} does not have the code {edit['now'][:12]}"


def _leads_to(edit: Body, then: Mapping[str, str], committed: Mapping[str, str]) -> bool:
    """Whether the files of a record, as a commit has them, with those that it names as changed, are its code of `now`.

    A changed file may also be one that is no longer imported, though it exists: for certain if it is as it was.
    """
    changed = [name for name in edit["changed"] if name in committed and committed[name] != then.get(name)]
    kept = {name: committed[name] for name in then if name in committed and name not in edit["changed"]}
    perhaps = [name for name in changed if name in then]
    for count in range(len(perhaps) + 1 if len(perhaps) <= MOST_DROPPED else 1):
        for dropped in itertools.combinations(perhaps, count):
            imported = {name: committed[name] for name in changed if name not in dropped}
            if digest({**kept, **imported}) == edit["now"]:
                return True
    return False
