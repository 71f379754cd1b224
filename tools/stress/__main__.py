"""Disturb the program in every way that its authors could think of: nothing may come out differently.

    PYTHONPATH=src:tests:tools python -m stress --kills 100 --changes 10000   # --seed N repeats a call

Half of it kills a replication (`kills`), half changes bytes of the files that the program reads again (`changes`).
"""

import argparse
import random
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from support import project
from tqdm import tqdm

from reweigh.data import manifest
from stress.failures import Failure


def main() -> int:
    options = _options()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="reweigh-stress-"))
    for dataset in ("mnist", "adult"):
        manifest.ensure(dataset, folder / "raw", mirror="", manifest=project.ROOT / "data/manifest.yaml")
    try:
        if options.changes or options.only is not None:
            _change(folder, options.changes, seed, options.only)
        if options.kills and options.only is None:
            _kill(folder, options.kills, seed)
    except Failure as failure:
        if failure.__cause__:
            traceback.print_exception(failure.__cause__)
        print(f"FAILED with random seed {seed}: {failure}\neverything is kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stress", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how many times a replication is disturbed (100)")
    parser.add_argument("--changes", type=int, default=10_000, help="how many changes of bytes are tried (10000)")
    parser.add_argument("--seed", type=int, default=None, help="draw those of an earlier call again")
    parser.add_argument("--only", type=int, default=None, metavar="N", help="try change N of that seed alone")
    return parser.parse_args()


def _change(folder: Path, count: int, seed: int, only: int | None) -> None:
    """Try changes of bytes and print what they came to, by kind of file. Raises Failure at the first wrong answer."""
    from stress import changes
    from stress.kept_files import Kept

    tried = changes.Changes(Kept(folder / "changed", folder / "raw"))
    drawn = changes.several(count, seed) if only is None else [changes.numbered(only, seed)]
    for change in tqdm(drawn, desc=f"changes, random seed {seed}", unit=" changes", mininterval=1):
        try:
            tried.try_(change)
        except Failure as failure:
            again = f"python -m stress --seed {seed} --only {change.number}"
            raise Failure(f"{failure}\nto try this one again: {again}") from failure.__cause__
    for kind in changes.KINDS:
        counts = [f"{tried.counted[kind, outcome]:5} {outcome}" for outcome in changes.OUTCOMES]
        print(f"{kind:18} {' '.join(counts)}")
    print(f"{tried.counted.total()} changes, and no wrong answer (random seed {seed})", flush=True)


def _kill(folder: Path, count: int, seed: int) -> None:
    """Disturb a replication and print how. Raises Failure at the first thing that must not happen."""
    from stress import kills

    done = kills.stress(folder, folder / "raw", count, seed, kills.LARGE, lambda line: print(line, flush=True))
    print("\n".join(f"{done[way]:4} x {way:19} {what}" for way, what in kills.WAYS.items()))
    print(f"{done.total():4} times disturbed, and every record as of an undisturbed run (random seed {seed})")


if __name__ == "__main__":
    sys.exit(main())
