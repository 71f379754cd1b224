"""The shape of a claim: a statement of a paper that records decide, and what each test of one must be given."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from reweigh.config.specs import Frozen, Name

Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]
ON_PARTS = ("reaches", "tracks_test")  # tests of the curves of parts
OF_TRACES = ("varies_less", "follows_frequency", "logs_more", "stays_above", "cell_above")  # tests of what runs logged


class InPrint(Frozen):
    """What a paper's own tables say of a claim that no run decides: in which rows an order is strict, or ranks.

    Methods are named as the file of published numbers names them. `order` goes from the worst to the best. `ranks` are
    those of each row, 1 the best, among all of its methods but those of `without`; `against` is whom they are held to.
    """

    tables: Annotated[list[str], Field(min_length=1)]
    order: list[str] = []
    ranks: list[str] = []
    without: list[str] = []
    against: str | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> "InPrint":
        if bool(self.order) == bool(self.ranks) or len(self.order) == 1:
            raise ValueError("in_print has either order, of two methods or more, or ranks")
        if self.order and (self.without or self.against):
            raise ValueError("in_print.without and in_print.against go with ranks")
        return self

    @property
    def methods(self) -> list[str]:
        """Every method that it names, once."""
        named = [*self.order, *self.ranks, *self.without, *([self.against] if self.against else [])]
        return list(dict.fromkeys(named))


class Claim(Frozen):
    """A statement of a paper that records can decide, and the rule for it; config/README.md explains the tests.

    It compares `better` with each of `worse`, or the two methods of each of `pairs`, the better one first.
    """

    id: Name
    text: str
    source: str
    test: Literal[
        "greater",
        "greater_on_average",
        "grows",
        "gains_more",
        "within",
        "explained_by",
        "smaller_spread",
        "weights_not_inverse_frequency",
        "minority_weighs_more",
        "costs_more",
        "costs_at_most",
        "separates_better",
        "reaches_in_fewer_epochs",
        "reaches_in_less_time",
        "group_ahead",
        "below",
        "weights_near_equal",
        "weights_grow_more",
        "weights_grow_less",
        "collapses_less",
        "ordered",
        "dominates",
        "varies_less",
        "reaches",
        "tracks_test",
        "follows_frequency",
        "logs_more",
        "stays_above",
        "cell_above",
        "not_by_runs",
    ]
    experiment: Name
    settings: list[Name] | None = None
    metric: str = "test_accuracy"
    better: Name | None = None
    worse: list[Name] = []
    pairs: list[Pair] = []
    by: Name | None = None
    margin: float = 0.0
    level: float | None = None
    groups: list[int] = []
    order: Literal["methods", "settings"] | None = None
    second_metric: str | None = None
    trace: str | None = None
    cells: list[Literal["noisy_rare", "noisy_common", "clean_rare", "clean_common"]] = []
    part: Literal["train", "validation", "test"] | None = None
    stage: str | None = None
    per: Literal["run"] | None = None
    reason: str | None = None
    in_print: InPrint | None = None
    rule: str

    @model_validator(mode="after")
    def _compares(self) -> "Claim":
        if bool(self.pairs) == (self.better is not None):
            raise ValueError("a claim has either better and worse, or pairs")
        if (self.by is not None) != (self.test == "explained_by"):
            raise ValueError("explained_by, and no other test, needs by: the method that explains")
        if (self.level is not None) != self.test.startswith("reaches"):
            raise ValueError("a test of when a level is reached, and no other, needs level: a value of its metric")
        if bool(self.groups) != (self.test == "group_ahead") or len(self.groups) not in (0, 2):
            raise ValueError("group_ahead, and no other test, needs groups: the one that is ahead, and the other")
        if bool(self.reason and self.reason.strip()) != (self.test == "not_by_runs"):
            raise ValueError("not_by_runs, and no other test, needs reason: why no run decides it, and what does")
        if self.in_print and self.test != "not_by_runs":
            raise ValueError("not_by_runs, and no other test, may have in_print: what the paper's own tables say of it")
        if self.test == "gains_more" and (len(self.pairs) != 2 or len(set(self.methods)) != 4):
            raise ValueError("gains_more needs two pairs of four methods: the one that gains more first")
        return self

    @model_validator(mode="after")
    def _says_of_what(self) -> "Claim":
        if (self.order is not None) != (self.test == "ordered"):
            raise ValueError("ordered, and no other test, needs order: methods, or settings")
        if self.order and (self.pairs or len(self.worse) not in ((0,) if self.order == "settings" else range(2, 99))):
            raise ValueError("ordered takes better and two of worse at least, or the settings of better alone")
        if (self.second_metric is not None) != (self.test == "dominates"):
            raise ValueError("dominates, and no other test, needs second_metric: what metric is traded for")
        if (self.trace is not None) != (self.test in OF_TRACES):
            raise ValueError("a test of what runs logged, and no other, needs trace: the name that it was logged by")
        if (self.part is not None) != (self.test in ON_PARTS) or (self.stage and not self.part):
            raise ValueError("reaches and tracks_test, and no other test, need part: of a curve; and may have stage")
        if (len(self.cells), len(set(self.cells))) != ((2, 2) if self.test == "cell_above" else (0, 0)):
            raise ValueError(
                "cell_above, and no other test, needs cells: the one with the larger values, and the other"
            )
        if (self.part or self.test in ("stays_above", "cell_above")) and (self.worse or self.pairs):
            raise ValueError(f"{self.test} speaks of better alone; leave worse and pairs out")
        if self.test == "tracks_test" and (self.part != "validation" or self.margin < 0):
            raise ValueError("tracks_test needs part: validation, and a margin of 0 or more")
        if self.per and self.test not in ("costs_more", "costs_at_most"):
            raise ValueError("a test of cost, and no other, may have per: run; else it is asked of a step")
        if self.margin and self.test == "ordered":
            raise ValueError("ordered has no margin: it compares ranks")
        if not self.margin > 0 and self.test in ("reaches", "follows_frequency"):
            raise ValueError(f"{self.test} needs a margin above 0")
        return self

    @property
    def fewest_settings(self) -> int:
        """How many settings its test needs: two values have no order, and one no curve."""
        return {"grows": 2, "dominates": 2, "ordered": 3 if self.order == "settings" else 1}.get(self.test, 1)

    @property
    def contests(self) -> list[tuple[str, str]]:
        """What is compared: (better, worse) each time."""
        return [(one, other) for one, other in self.pairs] or [(self.better or "", rival) for rival in self.worse]

    @property
    def parts(self) -> list[str]:
        """The parts whose curves its test reads; none of a test that names no part."""
        if self.part is None:
            return []
        return ["train", self.part, "test"] if self.test == "tracks_test" else [self.part]

    @property
    def methods(self) -> list[str]:
        """Every method that it speaks of, once."""
        named = [self.better, *self.worse, *(name for pair in self.pairs for name in pair), self.by]
        return list(dict.fromkeys(name for name in named if name))
