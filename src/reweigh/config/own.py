"""Methods of one's own beside those of a paper: where they are trained, and in which artifacts they are drawn.

A method whose entry has `joins: [EXPERIMENT]` is trained in these experiments, whose own entries need not name it. It
is no paper's: its title ends with "(ours)", smaller scales have it too, and scale `paper` has it as an extension.

    joined(paper, where)                    # the paper, its experiments with the methods that join them
    shown(paper, artifact, ["sqrt2"], ...)  # an artifact that draws these too: figures/SCALE/PAPER/fig5+sqrt2

A paper that `extends` another has all that it trains and draws. What both have is trained once, under the name that it
has in the one that is extended.
"""

from collections.abc import Mapping, Sequence

from reweigh.config.broken import broken
from reweigh.config.cards import losses, methods
from reweigh.config.files import Node
from reweigh.config.models import ALL, Artifact, Experiment, Extension, Method, Paper, Reads
from reweigh.config.validation import lookup
from reweigh.errors import ConfigError

ID = "own"  # of the extension that holds the methods which join an experiment
INHERITED = ("methods", "experiments", "artifacts")


def joined(paper: Paper, where: str) -> Paper:
    """The paper with the methods that join its experiments, as an extension of each.

    A method whose module Python cannot read is a placeholder wherever it is named, so that nothing trains it and all
    others are as they were. Raises ConfigError, beginning with `where`, for an experiment that is not there.
    """
    joins: dict[str, list[str]] = {}
    for name, method in paper.methods.items():
        for experiment in method.joins:
            lookup("experiment", experiment, paper.experiments, f"{where}: methods.{name}.joins")
            joins.setdefault(experiment, []).append(name)
    lost = {name: why for name, one in paper.methods.items() if (why := why_broken(one))}
    if not joins and not lost:
        return paper
    experiments = {name: _joined(one, joins.get(name, []), lost) for name, one in paper.experiments.items()}
    return paper.model_copy(update={"experiments": experiments})


def why_broken(method: Method) -> str:
    """Why a method cannot be trained: the file of its module, its loss or the card of one, and what is wrong there."""
    methods(), losses()  # cards are imported, and what is wrong with one is noted
    loss = method.options.get("loss")
    named = loss.get("name") if isinstance(loss, Mapping) else None
    return broken("methods").get(method.uses, "") or broken("losses").get(str(named), "")


def _joined(one: Experiment, added: Sequence[str], lost: Mapping[str, str]) -> Experiment:
    new = [name for name in added if name not in one.with_extensions]
    own = [Extension(id=ID, why="no paper's: they join it by their own entries", methods=new)] if new else []
    changed = one.model_copy(update={"extensions": [*one.extensions, *own]})
    gone = {name: why for name, why in lost.items() if name in changed.with_extensions}
    return changed.model_copy(update={"placeholders": {**one.placeholders, **gone}})


def shown(paper: Paper, artifact: Artifact, also: Sequence[str], where: str) -> Artifact:
    """An artifact with the methods that it really reads: those behind `all` written out, and `also` beside its own.

    Methods that it does not name are optional: drawn where they have records. Raises ConfigError, beginning with
    `where`, for one of `also` that no experiment has which it reads.
    """
    if not also and not any(reads.methods == ALL for reads in artifact.reads):
        return artifact
    reads, found = [], set()
    for one in artifact.reads:
        experiment = paper.experiments[one.experiment]
        named = _named(paper, one, experiment)
        beside = [name for name in also if name in experiment.with_extensions]
        found |= {*beside}
        rest = [name for name in dict.fromkeys([*named.optional, *beside]) if name not in named.methods]
        reads.append(named.model_copy(update={"optional": rest}))
    for name in also:
        lookup("method", name, paper.methods, where)
        if name not in found:
            read = ", ".join(dict.fromkeys(one.experiment for one in artifact.reads)) or "no experiment"
            raise ConfigError(f"{where}: it reads {read}, without {name}; add one to `joins` of methods.{name}")
    return artifact.model_copy(update={"reads": reads})


def _named(paper: Paper, reads: Reads, experiment: Experiment) -> Reads:
    """What `methods: all` stands for: those of the protocol, and beside them those of its extensions."""
    if reads.methods != ALL:
        return reads
    beside = [name for name in experiment.with_extensions if name not in experiment.methods]
    return reads.model_copy(update={"methods": list(experiment.methods), "optional": beside})


def extended(own: Node, parent: Node, name: str) -> Node:
    """A paper's block with all that the paper `name`, which it extends, trains and draws; its own entries come last.

    Raises ConfigError for an entry that both have.
    """
    merged = dict(own.value)
    for key in INHERITED:
        theirs = parent.value.get(key)
        if theirs is None:
            continue
        ours = merged.get(key)
        for entry, one in (ours.value if ours else {}).items():
            if entry in theirs.value:
                what = f"{name} has {key}.{entry} already; choose another name"
                raise ConfigError(f"{one.place}: {what}, and write `like: {entry}` to begin with what it says")
        merged[key] = theirs if ours is None else ours.with_value({**theirs.value, **ours.value})
    return own.with_value(merged)
