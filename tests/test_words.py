"""One word, one thing: words that the project has given up are nowhere in it, but for the changelog."""

import re
import subprocess

import pytest
from support.project import ROOT

# What is no longer said -> what is said. See docs/words.md.
RETIRED = {
    r"\bknobs?\b": "option",
    r"\bnot to be had\b": "not available",
    r"\bimport [\w.]+ as room\b": "the module's own name",
    r"\bclass (Drawn|Pack|Settings|Drawing|Setting\(NamedTuple)\b": "ArtifactJob, SeedBatch, ProjectConfig, Figure",
    r"\b(KNOBS|DRAWING|drawing_digest|method_knobs|any_run|with_settings|code_rooms)\b": "their new names",
    r"\byardstick\b": "plain loop",
    r"\breweigh\.(record|chain|sealed|results|receipt|workflow|doctor|error_rates|bench_grid)\b(?!_)": "its new module",
    r"\b(copied|recorded|locked|whole|witness|others|again|judged)\.py\b": "a file name that says what is inside",
    r"\b(draw|draws|drew) (a |the |an |its |one )?(figure|figures|artifact|artifacts|table)\b": "render",
    r"\breceipt of (a|the) (data set|fetch|raw)": "source file",
}
# The library's word (`typing.Protocol`, `struct.unpack`) and files made by programs are not ours to choose.
SKIPPED = ("CHANGELOG.md", "tests/test_words.py", "results/", "figures/", "data/embedded/", "envs/")


def tracked() -> list[str]:
    """The files of the project, by their paths below its root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:  # a copy without git: what lies there
        return [
            path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/**/*") if path.suffix in (".py", ".md", ".yaml")
        ]
    return [name for name in listed.stdout.split("\0") if name]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    names = [name for name in tracked() if not name.startswith(SKIPPED) and (ROOT / name).is_file()]
    contents = {}
    for name in names:
        try:
            contents[name] = (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue  # a picture, an archive
    assert len(contents) > 300
    return contents


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_is_nowhere(word: str, texts: dict[str, str]) -> None:
    uses = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(word, line)
    ]
    assert not uses, f"say {RETIRED[word]}:\n" + "\n".join(uses)
