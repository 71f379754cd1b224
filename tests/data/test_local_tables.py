"""Tables of a user's own: the card says what the file has, the reader gives what the card says, no test row leaks."""

import csv
import io
import math
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import own_data
from support.own_data import ROWS, card_of, read, table

from reweigh.config import inputs, sizes
from reweigh.config.cards import PlannedStage
from reweigh.data import load, local_cards, local_split, packing, tables
from reweigh.data.obtain import describe
from reweigh.data.split import draw
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError, ReweighError
from reweigh.planning.fill import unavailable
from reweigh.planning.import_parts import Asked
from reweigh.planning.importing import imported


@pytest.fixture
def project(tmp_path, monkeypatch):
    return own_data.project(tmp_path / "project", monkeypatch)


def test_the_card_says_what_was_found(project):
    path = table(project / "claims.csv", [*ROWS, ",a,NaN,f", "200,b,3,m"])
    card = card_of(path, group="gender")
    assert (card["name"], card["title"], card["kind"], card["path"]) == ("claims", "claims.csv", "table", "claims.csv")
    assert (card["sha256"], card["bytes"]) == (file_digest(path), path.stat().st_size)
    assert card["label"] == {"column": "label", "classes": ["a", "b"]}
    assert card["group"] == {"column": "gender", "values": ["f", "m"]}
    assert [(column["name"], column["type"], column["missing"]) for column in card["columns"]] == [
        ("age", "number", 1), ("amount", "number", 1),
    ]  # fmt: skip
    whole = sum(np.array(card["sizes"][part]["class_by_group"]) for part in ("train", "test"))
    lines = [row.split(",") for row in [*ROWS, ",a,,f", "200,b,3,m"]]
    counted = [[sum(line[1] == c and line[3] == g for line in lines) for g in "fm"] for c in "ab"]
    assert whole.tolist() == counted
    assert yaml.safe_load((project / "data/local/claims.yaml").read_text()) == card
    assert local_cards.load("claims") == card


def test_the_reader_gives_what_the_card_says(project):
    card = card_of(table(project / "claims.csv"), group="gender", use_group=True, category=("age",))
    raw = read(card)
    agree(card, raw)
    assert raw.edition == "local" and (raw.class_names, raw.group_names) == (("a", "b"), ("f", "m"))
    # The same by hand: ages as categories of the training part, then the amount, then the group.
    tested = {round(amount * 2) for amount in raw.test_inputs[:, -3].tolist()}
    lines = [row.split(",") for k, row in enumerate(ROWS) if k not in tested]
    ages = sorted({line[0] for line in lines}, key=float)
    by_hand = [
        [*(float(line[0] == age) for age in ages), float(line[2]), *(float(line[3] == g) for g in "fm")]
        for line in lines
    ]
    assert raw.train_inputs.tolist() == by_hand
    assert raw.train_labels.tolist() == ["ab".index(line[1]) for line in lines]


def agree(card, raw):
    """Sizes on the card against arrays."""
    for part in ("train", "test"):
        labels, groups = getattr(raw, f"{part}_labels"), getattr(raw, f"{part}_groups")
        size, given_inputs = card["sizes"][part], getattr(raw, f"{part}_inputs")
        assert len(labels) == size["rows"] == len(given_inputs)
        assert np.bincount(labels, minlength=len(raw.class_names)).tolist() == size["classes"]
        assert given_inputs.shape[1] == card["inputs"] and given_inputs.dtype == np.float32
        assert np.isfinite(given_inputs).all()
        assert (groups is None) == (size["groups"] is None) == (card["group"] is None)
        if groups is not None:
            assert np.bincount(groups, minlength=len(raw.group_names)).tolist() == size["groups"]
            cells = [[int(((labels == k) & (groups == g)).sum()) for g in range(len(raw.group_names))]
                     for k in range(len(raw.class_names))]  # fmt: skip
            assert cells == size["class_by_group"]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)
CELLS = {
    "number": st.one_of(
        st.integers(-1000, 1000).map(str), st.floats(-1e6, 1e6, allow_nan=False).map(repr), st.sampled_from(["", "NA"])
    ),
    "text": st.sampled_from(["a", "b c", "é,", '"', "line\nbreak", "数", "", "?", " a"]),
    "same": st.just("x"),
}


@st.composite
def made_up(draw_):
    """Columns of a table: two classes at least, two groups at least, each of twelve rows."""
    classes = draw_(st.lists(NAMES.map(str.strip).filter(bool), min_size=2, max_size=4, unique=True))
    groups = draw_(st.lists(NAMES.map(str.strip).filter(bool), min_size=2, max_size=3, unique=True))
    assume(not any(tables.is_missing(name) for name in [*classes, *groups]))
    cells = [(label, group) for label in classes for group in groups for _ in range(draw_(st.integers(6, 20)))]
    assume(all(sum(label == one for label, _ in cells) >= 10 for one in classes))
    assume(all(sum(group == one for _, group in cells) >= 10 for one in groups))
    cells = draw_(st.permutations(cells))
    kinds = draw_(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    columns = [draw_(st.lists(CELLS[kind], min_size=len(cells), max_size=len(cells))) for kind in kinds]
    return cells, columns, draw_(st.sampled_from([0.1, 0.2, 0.5])), draw_(st.sampled_from([",", ";", "\t", "|"]))


@settings(max_examples=40)
@given(made_up())
def test_any_table_comes_back_as_its_card_says(tmp_path_factory, data):
    cells, columns, share, separator = data
    with pytest.MonkeyPatch.context() as patch:
        folder = own_data.project(tmp_path_factory.mktemp("any"), patch)
        text = io.StringIO()
        writer = csv.writer(text, delimiter=separator)
        writer.writerow(["y", "g", *(f"column {k}" for k in range(len(columns)))])
        writer.writerows([*cell, *row] for cell, row in zip(cells, zip(*columns, strict=True), strict=True))
        path = folder / "any.csv"
        path.write_bytes(text.getvalue().encode())
        try:
            card = card_of(path, label="y", group="g", test=share, separator=separator)
        except DataError as refused:
            if "no column to learn from" in str(refused):
                return
            raise
        raw = read(card)
        agree(card, raw)
        stratified(card, share)
        block = {"dataset": "table", "options": local_cards.options_of(card), "split": SPLIT}
        assert sizes.training_size(block) == len(draw(raw, SPLIT, 0).train)
        shutil.rmtree(folder)


SPLIT = {"kind": "groups", "target_size": 0, "target_inside": False, "validation_size": 0, "test": "all",
         "test_size": None, "order": "random"}  # fmt: skip


def stratified(card, share):
    """Each class of each group is in the test part by its share, to one row, and in both parts if it has two."""
    for train, test in zip(*(np.array(card["sizes"][part]["class_by_group"]).ravel().tolist()
                             for part in ("train", "test")), strict=True):  # fmt: skip
        whole = train + test
        assert abs(test - Fraction(str(share)) * whole) < 1
        assert whole < 2 or min(train, test) > 0


@given(st.integers(0, 500), st.sampled_from([0.01, 0.1, 0.2, 0.29, 0.5, 0.99]))
def test_a_share_is_the_nearest_whole_number(count, share):
    size = local_split.share_of(count, share) if count else 0
    nearest = math.floor(round(share * 100) * count / 100 + 0.5)
    assert size == (min(max(nearest, 1), count - 1) if count else 0)


def test_the_test_part_does_not_depend_on_other_classes():
    labels = np.repeat([0, 1], 50)
    alone = local_split.drawn_for_test(labels[:50], None, 0.2, 3)
    beside = local_split.drawn_for_test(labels, None, 0.2, 3)
    assert (beside[:50] == alone).all() and beside.sum() == 20
    assert (local_split.drawn_for_test(labels, None, 0.2, 4) != beside).any()


def test_what_is_filled_in_comes_from_the_training_part_alone(project):
    """Whatever the test rows say, medians and categories stay; a category of theirs is 0 in all."""
    before = card_of(table(project / "a.csv", [*ROWS, ",a,,f", ",b,,m"]))
    tested = local_split.drawn_for_test(np.array([k % 2 for k in range(62)]), None, 0.2, 0)
    lines = [line.split(",") for line in [*ROWS, ",a,,f", ",b,,m"]]
    for line, is_tested in zip(lines, tested, strict=True):
        if is_tested:
            line[0], line[2], line[3] = "9999", "-9999", "x"
    after = imported(table(project / "b.csv", [",".join(line) for line in lines]), Asked(label="label"))
    filled = [[column["impute"] for column in card["columns"]] for card in (before, after.card)]
    assert filled[0] == filled[1] and filled[0][:2] != [None, None]
    kept = [float(line[0]) for line, is_tested in zip(lines, tested, strict=True) if not is_tested and line[0]]
    assert filled[0][0] == np.median(kept)
    assert after.card["columns"][2]["categories"] == ["f", "m"]
    assert (read(after.card).test_inputs[:, 2:] == 0).all()
    assert any("0 in all, in the test part in 12 rows" in note for note in after.notes)


def test_missing_categories_are_one_of_their_own(project):
    card = card_of(
        table(project / "a.csv", [f"{row[:-1]}{'' if k % 5 == 0 else row[-1]}" for k, row in enumerate(ROWS)])
    )
    column = card["columns"][-1]
    assert (column["name"], column["impute"], column["categories"]) == ("gender", "category", ["f", "m"])
    assert column["missing"] == 12 and card["inputs"] == 5
    assert (read(card).train_inputs[:, 2:].sum(1) == 1).all()


def test_columns_that_say_nothing_are_left_out_with_the_reason(project):
    rows = [f"{7 * k % 120},{'ab'[k % 2]},x,w{k},,{k % 5},{k % 7},d{k % 119}" for k in range(120)]
    card = card_of(table(project / "a.csv", rows, "id,label,const,word,none,five,days,many"), drop=("days",))
    assert [column["name"] for column in card["columns"]] == ["five"]
    whys = {one["name"]: one["why"] for one in card["dropped"]}
    assert whys["const"] == "always 'x' in the training part" and whys["none"] == "no value in the training part"
    assert "no two the same" in whys["word"] and whys["days"] == "as asked"
    assert "it names the rows" in whys["id"] and list(whys) == ["id", "const", "word", "none", "days", "many"]
    assert "different texts in 96 rows" in whys["many"]


def test_whole_numbers_without_one_twice_are_names_unless_said_otherwise(project):
    path = table(project / "a.csv", [f"{k},{'ab'[k % 2]},{k % 5}" for k in range(120)], "id,label,five")
    assert [one["name"] for one in card_of(path)["dropped"]] == ["id"]
    assert [column["name"] for column in card_of(path, number=("id",), name="b")["columns"]] == ["id", "five"]


@pytest.mark.parametrize("name", ["заявки 2024.csv", "保険 金.csv", 'a b\'s "c" [d].csv', "Été.csv", "x'; drop.CSV"])
def test_any_script_and_spaces(project, name):
    """In the name of the file and its folder, of columns, classes and groups."""
    rows = [row.replace("a", "да").replace("f", "女") for row in ROWS]
    path = table(project / "my données 文" / name, rows, "возраст,метка 1,金 額,пол")
    card = card_of(path, label="метка 1", group="пол")
    assert local_cards.card_path(card["name"]).name.isascii() and card["title"] == name
    assert card["label"]["classes"] == ["b", "да"] and card["group"]["values"] == ["m", "女"]
    agree(card, read(card))


def test_a_path_is_kept_relative_to_the_project_if_it_is_below(project):
    assert card_of(table(project / "sub" / "in.csv"))["path"] == "sub/in.csv"
    outside = table(project.parent / "elsewhere" / "out.csv")
    assert card_of(Path("..", "elsewhere", "out.csv"))["path"] == outside.as_posix()
    agree(local_cards.load("out"), read(local_cards.load("out")))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1251"])
def test_encodings(project, encoding):
    path = table(project / "a.csv", [row.replace("a", "да") for row in ROWS], encoding=encoding)
    card = card_of(path, encoding="cp1251" if encoding == "cp1251" else None)
    assert card["label"]["classes"] == ["b", "да"]
    agree(card, read(card))


# --- once there is a card --------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(project):
    path = table(project / "claims.csv")
    assert not imported(path, Asked(label="label")).was_there
    before = (project / "data/local/claims.yaml").read_bytes()
    assert imported(path, Asked(label="label")).was_there
    with pytest.raises(ConfigError, match=r"says something else; nothing was written.*--name claims-2$"):
        imported(path, Asked(label="label", seed=1))
    assert (project / "data/local/claims.yaml").read_bytes() == before
    assert sorted(os.listdir(project / "data/local")) == ["claims.yaml"]
    assert imported(path, Asked(label="label", seed=1, name="claims-2")).path.name == "claims-2.yaml"


def test_a_file_that_changed_is_refused_and_never_to_be_deleted(project):
    path = table(project / "claims.csv")
    card = card_of(path)
    path.write_text(path.read_text() + "33,a,1,f\n")
    for what in (lambda: read(card), lambda: local_cards.source_file("table", local_cards.options_of(card))):
        with pytest.raises(DataError, match=r"has changed since it was imported.*put the old file back") as refused:
            what()
        assert "delete" not in str(refused.value)
        assert "reweigh import claims.csv --label label --name claims-2, or put" in str(refused.value)
    path.rename(project / "moved.csv")
    with pytest.raises(DataError, match=r"claims.csv is missing.*put it back"):
        read(card)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("impute: null", "impute: 3.0", "changed since it was written"),
        ("card_version: 1", "card_version: 2", "a card of version 2"),
        ("card_version: 1", "- [", "not a card"),
        ("classes: [a, b]", "classes: [b, a]", "changed since it was written"),
    ],
)
def test_an_edited_card_is_seen(project, old, new, said):
    card = card_of(table(project / "claims.csv"))
    path = project / "data/local/claims.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=said) as refused:
        read(card)
    assert "\n" not in str(refused.value)


def test_another_card_of_the_same_name_is_another_spec(project):
    path = table(project / "claims.csv")
    old = local_cards.options_of(card_of(path))
    (project / "data/local/claims.yaml").rename(project / "before.yaml")
    card_of(path, seed=1)
    with pytest.raises(DataError, match=r"its digest is .* the run's is"):
        load.read("table", old)
    with pytest.raises(DataError, match=r"no card data/local/nothing.yaml; make it: reweigh import"):
        load.read("table", old | {"card": "nothing"})
    with pytest.raises(DataError, match="its data set is table, not folder"):
        load.read("folder", local_cards.options_of(local_cards.load("claims")))


# --- what plans and draws --------------------------------------------------------------------------------------------


def test_planning_knows_the_sizes(project):
    card = card_of(table(project / "claims.csv", ROWS * 4), group="gender")
    block = {"dataset": "table", "options": local_cards.options_of(card), "scale_inputs": "standardised",
             "augment": "none"}  # fmt: skip
    for kind in ("all", "groups"):
        split = SPLIT | {"kind": kind, "target_size": 8, "validation_size": 4}
        sizes.check(block | {"split": split}, "here")
        drawn = draw(read(card), split, 0)
        planned = block | {"split": split}
        assert sizes.training_size(planned) == len(drawn.train) == card["sizes"]["train"]["rows"] - 12
        assert sizes.epoch_size(planned, PlannedStage(1)) == sizes.epoch_at_most(planned, PlannedStage(1))[0] == 180
    with pytest.raises(ConfigError, match=r"class 0 needs .* claims has 96; ask for fewer"):
        sizes.check(block | {"split": SPLIT | {"kind": "all", "target_size": 400}}, "here")
    inputs.check(block, "here")
    with pytest.raises(ConfigError, match="claims has features"):
        inputs.check(block | {"augment": "crop-flip"}, "here")
    without = card_of(Path("claims.csv"), name="no-group")
    with pytest.raises(ConfigError, match="kind groups needs a data set that has groups, no-group has none"):
        sizes.check({"dataset": "table", "options": local_cards.options_of(without), "split": SPLIT}, "here")


def test_a_split_says_from_which_file_it_was_drawn(project):
    card = card_of(table(project / "claims.csv"))
    data = {"dataset": "table", "options": local_cards.options_of(card), "split": SPLIT | {"kind": "all"}}
    spec = {"scale": "smoke", "paper": "own", "experiment": "claims", "setting": "all", "seed": 0, "data": data}
    described = describe(spec)
    (file,) = described["raw"]
    assert (file["dataset"], file["edition"], file["name"], file["sha256"]) == (
        "table", "local", "claims.csv", card["sha256"],
    )  # fmt: skip
    assert described["sizes"]["train"] == card["sizes"]["train"]["classes"]
    assert describe(spec)["digest"] == described["digest"]


@settings(max_examples=60)
@given(st.binary(max_size=300), st.integers(0, 2000))
def test_damage_is_one_line_or_a_table(tmp_path_factory, junk, place):
    """Any bytes, put anywhere into a good file: a card whose reader agrees with it, or one line."""
    with pytest.MonkeyPatch.context() as patch:
        folder = own_data.project(tmp_path_factory.mktemp("damaged"), patch)
        good = table(folder / "a.csv").read_bytes()
        (folder / "a.csv").write_bytes(good[:place] + junk + good[place:])
        try:
            card = card_of(folder / "a.csv")
            said = ""
            agree(card, read(card))
        except ReweighError as refused:
            said = str(refused)
        assert "\n" not in said and "delete" not in said and len(said) < 700
        shutil.rmtree(folder)


def test_the_next_name_is_free_and_the_command_can_be_typed(project):
    card = card_of(table(project / "my data" / "it's.csv", header="age,the label,amount,gender"), label="the label")
    assert local_cards.again(card) == """reweigh import 'my data/it'"'"'s.csv' --label 'the label' --name it-s-2"""
    local_cards.card_path("it-s-2").touch()
    assert local_cards.next_name("it-s") == local_cards.next_name("it-s-2") == "it-s-3"
    assert local_cards.next_name("sales-2024") == "sales-2024-2"


def test_the_manifest_is_not_asked_for_local_data(project):
    card = card_of(table(project / "claims.csv"))
    spec = {"data": {"dataset": "table", "options": local_cards.options_of(card)}}
    assert unavailable([spec]) == set()
    with pytest.raises(DataError, match="data of your own cannot be packed; take data/local and the data to where"):
        packing.travels("table")
