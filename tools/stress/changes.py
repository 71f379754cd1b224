"""Change the bytes of a file, ask the program about it, and put it back: thousands of times.

What the program says must be what it said before the change, or a line that names the file; nothing may be taken for
what it is not, no error may be one that nobody expected, and nothing may take for ever.
"""

import contextlib
import io
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweigh import os_errors
from reweigh.errors import ReweighError
from stress.byte_changes import WAYS, Change, apply
from stress.failures import Failure
from stress.kept_files import DATASETS, LOG, Kept

PATIENCE_SECONDS = 60.0
OUTCOMES = {
    "found": "refused by a line that names the file",
    "repaired": "made again, with a line that names the file or in silence",
    "harmless": "the same answer as ever",
}

Question = Callable[[Kept, Path], Any]


@dataclass(frozen=True)
class Kind:
    """Files of a kind: where they are, and what is asked when one is changed.

    `every_byte`: whether each of their bytes is promised by something else, so that no change may pass for harmless.
    """

    where: tuple[str, ...]
    questions: tuple[Question, ...]
    every_byte: bool = False

    def files(self) -> list[Path]:
        """Those of the folder that the process is in."""
        return sorted({path for pattern in self.where for path in Path().glob(pattern) if path.is_file()})


def plan(kept: Kept, path: Path) -> Any:
    return kept.plan()


def audit(kept: Kept, path: Path) -> Any:
    return kept.audit()


def traces(kept: Kept, path: Path) -> Any:
    return kept.traces()


def devices(kept: Kept, path: Path) -> Any:
    return kept.devices()


def starts(kept: Kept, path: Path) -> Any:
    return kept.starts()


KINDS = {
    "checkpoint": Kind((".reweigh/checkpoints/**/*.pt*",), (plan, Kept.go_on)),
    "stage file": Kind((".reweigh/prefixes/*.pt*", ".reweigh/prefixes/*.part*"), (plan, Kept.go_on)),
    "note": Kind((".reweigh/prefixes/*.json", ".reweigh/prefixes/whole/*"), (plan, Kept.go_on_later)),
    "note of attempts": Kind((f".reweigh/attempts/{LOG}",), (starts,)),
    "lock": Kind((".reweigh/prefixes/*.lock",), (plan, Kept.go_on)),
    "lease": Kind(("leases/*",), (devices,)),
    "split": Kind(("data/splits/**/mnist-4v9/**/*.npz",), (Kept.begin, plan)),
    "split's report": Kind(("data/splits/**/mnist-4v9/**/*.json",), (Kept.begin, plan)),
    "record": Kind(("results/**/*.json",), (plan, audit, Kept.go_on), every_byte=True),
    "trace": Kind(("results/**/*.npz",), (plan, audit, traces, Kept.go_on), every_byte=True),
    "raw file": Kind(tuple(f"data/raw/{name}/[!.]*[!n]" for name in DATASETS), (Kept.fetch,), every_byte=True),
    "source file": Kind(tuple(f"data/raw/{name}/*.json" for name in DATASETS), (Kept.fetch,)),
}


@dataclass(frozen=True)
class Drawn:
    """A change as it was drawn: the way, and the files with the contents that they get."""

    way: str
    files: dict[Path, bytes]

    @property
    def names(self) -> list[str]:
        """The words by which a line may name one of the files: its path, with or without its ending; a run."""
        paths = [path.as_posix() for path in self.files]
        stems = [path.with_suffix("").as_posix() for path in self.files]
        return [*paths, *stems, *(stem.removeprefix("results/") for stem in stems)]

    def is_named(self, text: str) -> bool:
        return any(name in text for name in self.names)

    def make(self) -> None:
        """Change the files. Other links to them keep what they have."""
        for path, content in self.files.items():
            path.unlink()
            path.write_bytes(content)


def draw(change: Change, kept: Kept) -> Drawn:
    """What a change is, drawn until a file becomes another by it."""
    chance = change.chance
    files = KINDS[change.kind].files()
    while True:
        path, way = chance.choice(files), chance.choice(list(WAYS))
        if way == "swapped":
            other = chance.choice([file for file in files if file.suffix == path.suffix])
            contents = {path: kept.original(other), other: kept.original(path)}
        else:
            contents = {path: apply(kept.original(path), way, chance)}
        if any(content != kept.original(file) for file, content in contents.items()):
            return Drawn(way, contents)


class Changes:
    """Changes to the files of a project, one after the other; `counted` has how many of each kind came to what."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.counted: Counter[tuple[str, str]] = Counter()
        self.known: dict[tuple[Question, Path], Any] = {}

    def try_(self, change: Change) -> str:
        """Make a change, ask what its kind asks, and put all back; what came of it.

        Raises Failure for a wrong answer, an error that nobody expected, or none in time.
        """
        kind = KINDS[change.kind]
        with self.kept.inside():
            drawn = draw(change, self.kept)
            try:
                outcomes = {self._answer(ask, path, drawn) for ask in kind.questions for path in drawn.files}
                outcome = next(outcome for outcome in OUTCOMES if outcome in outcomes)
                if outcome == "harmless" and kind.every_byte:
                    raise Failure("nothing noticed it")
            except Failure as failure:
                where = ", ".join(map(str, drawn.files))
                raise Failure(f"{change}, {WAYS[drawn.way]}, {where}: {failure}") from failure.__cause__
            finally:
                self.kept.restore()
        self.counted[change.kind, outcome] += 1
        return outcome

    def _answer(self, question: Question, path: Path, drawn: Drawn) -> str:
        """What a change comes to by the answer to one question about one of its files."""
        expected = self._expected(question, path)
        drawn.make()
        try:
            answer, said = _asked(question, self.kept, path)
        except ReweighError as error:
            if "\n" in str(error) or not drawn.is_named(str(error)):
                raise Failure(f"{question.__name__}: no line that names the file: {error}") from None
            return "found"
        finally:
            made_again = path.is_file() and path.read_bytes() != drawn.files[path]
            self.kept.restore()
        if said and not drawn.is_named(said):
            raise Failure(f"{question.__name__} said nothing of the file, but: {said}")
        if answer != expected:
            return self._differing(question, answer, expected, drawn)
        return "repaired" if said or made_again else "harmless"

    def _differing(self, question: Question, answer: Any, expected: Any, drawn: Drawn) -> str:
        """Another answer is as good as an error where each part of it that differs names the file."""
        if question in (plan, audit):
            parts = [str(part) for part in (answer.items() if isinstance(answer, dict) else answer)]
            before = {str(part) for part in (expected.items() if isinstance(expected, dict) else expected)}
            if (other := [part for part in parts if part not in before]) and all(map(drawn.is_named, other)):
                return "found"
        raise Failure(f"{question.__name__} answers wrongly: {_difference(answer, expected)}")

    def _expected(self, question: Question, path: Path) -> Any:
        """The answer to a question where nothing was changed."""
        if (question, path) not in self.known:
            try:
                self.known[question, path], said = _asked(question, self.kept, path)
            finally:
                self.kept.restore()
            if said:
                raise Failure(f"{question.__name__} says of what nobody has changed: {said}")
        return self.known[question, path]


def _asked(question: Question, kept: Kept, path: Path) -> tuple[Any, str]:
    """The answer to a question and what was said on the way. Raises ReweighError, and Failure for any other error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _in_time():
            return question(kept, path), said.getvalue()
    except (ReweighError, Failure):
        raise
    except Exception as error:
        if line := os_errors.in_words(error):
            raise ReweighError(line) from None
        raise Failure(f"{question.__name__} ended with {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Raise Failure in this context if it takes too long."""

    def late(number: int, frame: Any) -> None:
        raise Failure(f"no answer in {PATIENCE_SECONDS:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _difference(answer: Any, expected: Any) -> str:
    """Where two answers differ, shortly."""
    if isinstance(answer, list) and isinstance(expected, list) and len(answer) == len(expected):
        return "; ".join(_difference(*pair) for pair in zip(answer, expected, strict=True) if pair[0] != pair[1])
    if isinstance(answer, dict) and isinstance(expected, dict):
        names = [name for name in expected if answer.get(name) != expected[name]]
        return "; ".join(f"{name}: {_difference(answer.get(name), expected[name])}" for name in names)
    return f"{str(answer)[:300]!r} for {str(expected)[:300]!r}"


def numbered(number: int, seed: int) -> Change:
    """The change with this number: kinds take turns."""
    kinds = list(KINDS)
    return Change(seed, number, kinds[number % len(kinds)])


def several(count: int, seed: int) -> list[Change]:
    """So many changes."""
    return [numbered(number, seed) for number in range(count)]
