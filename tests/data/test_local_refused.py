"""What cannot be imported: each mistake, each damage is one line: where, and what to do. Nothing is written then.

The folders of images are in `test_local_folders.py`.
"""

import pytest
from support import own_data
from support.own_data import HEADER, ROWS, table

from reweigh.config.known_sizes import sizes_of
from reweigh.data import tables
from reweigh.errors import ConfigError, DataError
from reweigh.planning import importing, memory
from reweigh.planning.import_parts import Asked
from reweigh.planning.importing import imported, slug


@pytest.fixture
def project(tmp_path, monkeypatch):
    return own_data.project(tmp_path / "project", monkeypatch)


GOOD = "\n".join([HEADER, *ROWS]) + "\n"
# name: content, what is said. The label is `label`, the group `gender`, where the header has them.
FILES = {
    "empty": (b"", "is empty; save it as CSV"),
    "blank lines alone": (b"\n \n\n", "is empty"),
    "header alone": (f"{HEADER}\n", "has a header and no rows"),
    "binary": (bytes(range(256)), "is no CSV file but binary"),
    "Excel": (b"PK\x03\x04" + bytes(60), "an Excel workbook or another zip archive; save it as CSV"),
    "gzip": (b"\x1f\x8b\x08" + bytes(60), "compressed by gzip"),
    "prose": ("Dear Sir, I write\nto you, as you see, of a thing\nwhich is\nnothing.\n" * 3, "is no CSV file: neither"),
    "one column": ("label\n" + "a\nb\n" * 20, "is no CSV file: neither comma"),
    "Latin-1": (GOOD.replace(",b,", ",é,").encode("latin-1"), "line 3: not UTF-8; name its encoding"),
    "a long row": (GOOD + "1,a,2,m,5\n", "line 62: 5 fields, but the header has 4"),
    "a short row": (GOOD + "1,a\n", "line 62: 2 fields, but the header has 4"),
    "a quote that is never closed": (GOOD + '1,"a,2,m\n', "line 62: not CSV"),
    "text after a quote": (GOOD + '1,"a"x,2,m\n', "line 62: not CSV"),
    "a column twice": (GOOD.replace("amount", "age"), "has two columns 'age', 1 and 3; give one another name"),
    "no header": ("\n".join(["1,0,2.5,3"] * 30), "its first line has numbers, no names of columns"),
    "one class": (GOOD.replace(",b,", ",a,"), "has one class only, 'a'"),
    "a class of three rows": (GOOD + "1,c,2,m\n" * 3, "class 'c' has 3 rows, too few"),
    "labels missing": (GOOD + "1,,2,m\n1,NA,2,m\n" * 2, "'label' is missing in 4 rows, lines 62, 63, 64, ...; fill"),
    "labels that are measured": (
        "age,label\n" + "".join(f"{k % 9},{k / 7:.4f}\n" for k in range(60)),
        "label 'label' has 60 different numbers with fractions, no classes",
    ),
    "a label for each row": (
        "age,label\n" + "".join(f"{k % 9},u{k}\n" for k in range(1100)),
        "label 'label' has 1,100 different values, no classes",
    ),
    "a group of three rows": (GOOD + "1,a,2,x\n" * 3, "group 'x' has 3 rows, too few"),
    "one group": (GOOD.replace(",m\n", ",f\n"), "has one group only, 'f'"),
    "a group of each row": (
        f"{HEADER}\n" + "".join(f"1,{'ab'[k % 2]},{k},g{k}\n" for k in range(150)),
        "group 'gender' has 150 different values, at most 100",
    ),
    "infinite": (GOOD + "1,a,inf,m\n1,a,-Infinity,m\n", "'amount' is a column of numbers, but 'inf' is not finite"),
    "too large for float32": (
        GOOD + "1,a,1e39,m\n",
        "but '1e39' is not finite (or too large for float32) (1 row, line 62)",
    ),
    "text among numbers": (
        GOOD + "1,a,n.a.,m\n",
        "but 'n.a.' is no number (1 row, line 62); correct it, or say",
    ),
    "constant columns alone": ("age,label\n" + "1,a\n1,b\n" * 20, "has no column to learn from: 'age': always 1 in"),
    "names of rows alone": (
        "id,label\n" + "".join(f"r{k},{'ab'[k % 2]}\n" for k in range(60)),
        "has no column to learn from: 'id': texts, no two the same",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_is_one_line(project, name):
    content, said = FILES[name]
    path = project / "my data" / "заявки.csv"
    path.parent.mkdir()
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    group = "gender" if b"gender" in path.read_bytes()[:40] else None
    with pytest.raises(DataError) as refused:
        imported(path, Asked(label="label", group=group))
    line = str(refused.value)
    assert said in line and str(path) in line
    assert "\n" not in line and "delete" not in line and len(line) < 400
    assert not (project / "data" / "local").exists()


def test_a_class_in_cells_of_one_row_cannot_be_tested(project):
    rows = [f"{k % 7},a,{k},g{g}" for g in range(11) for k in range(12)] + [f"1,b,{g},g{g}" for g in range(11)]
    with pytest.raises(DataError, match=r"class 'b' has one row only in each group, and so none to test on"):
        imported(table(project / "a.csv", rows), Asked(label="label", group="gender"))


ASKED = {
    "no such label": ({"label": "lable"}, "has no column 'lable'; did you mean 'label'?"),
    "nothing near": ({"label": "outcome"}, "has no column 'outcome'; known: age, label, amount, gender"),
    "no such group": ({"group": "sex"}, "has no column 'sex'"),
    "no label": ({"label": None}, "which column is the label? say --label COLUMN"),
    "label is group": ({"group": "label"}, "'label' is label and group"),
    "group dropped": ({"group": "gender", "drop": ("gender",)}, "named by --group and by --drop"),
    "two types": ({"number": ("age",), "category": ("age",)}, "named by --category and by --number"),
    "group of nobody": ({"use_group": True}, "--use-group makes the group an input, but there is none"),
    "no share": ({"test": 1.0}, "--test is 1; it is the share"),
    "negative seed": ({"seed": -1}, "--seed is -1"),
    "side": ({"side": 64}, "--side does not go with a file"),
    "a paper's name": ({"name": "tdr"}, "tdr is the name of a paper; give yours another: --name my-tdr"),
    "a data set's name": ({"name": "mnist"}, "mnist is the name of a data set of data/manifest.yaml"),
    "no name": ({"name": "My Claims"}, "cannot be a name; use small letters, digits, _ . and -, at most 60, the first"),
    "a path as name": ({"name": "../x"}, "cannot be a name"),
    "no encoding": ({"encoding": "utf-9"}, "--encoding 'utf-9' is unknown; try utf-8, cp1252"),
    "no text's encoding": ({"encoding": "base64"}, "--encoding 'base64' is unknown"),
    "no separator": ({"separator": "ab"}, "--separator is 'ab'; it is one character"),
    "a label of categories": ({"category": ("label",)}, "'label' is named by --label and by --category"),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_and_cannot_be_is_one_line(project, name):
    asked, said = ASKED[name]
    with pytest.raises((ConfigError, DataError)) as refused:
        imported(table(project / "claims.csv"), Asked(**{"label": "label"} | asked))
    line = str(refused.value)
    assert said in line and "\n" not in line and len(line) < 300
    assert not (project / "data" / "local").exists()


def test_a_place_that_is_not_there(project):
    table(project / "claims.csv")
    with pytest.raises(ConfigError, match=r"no file or folder clams.csv; beside it: claims.csv$"):
        imported(importing.Path("clams.csv"), Asked(label="label"))
    with pytest.raises(ConfigError, match=r"^no file or folder nowhere/clams.csv$"):
        imported(importing.Path("nowhere/clams.csv"), Asked(label="label"))
    with pytest.raises(ConfigError, match=r"no file or folder nothing; beside it: claims.csv, config, data$"):
        imported(importing.Path("nothing"), Asked(label="label"))
    for name in ("x" * 5000, "a\0b", "a\nb"):
        with pytest.raises(ConfigError, match=r"^no file or folder .{3,200}$"):
            imported(importing.Path(name), Asked(label="label"))


def test_where_nothing_can_be_written(project):
    (project / "data" / "local").touch()
    with pytest.raises(DataError, match=r"data/local/claims.yaml cannot be written \(.*\); free disk space or allow"):
        imported(table(project / "claims.csv"), Asked(label="label"))


def test_the_remedies_work(project):
    """What a refusal proposes is then accepted."""
    path = table(project / "a.csv", [*ROWS, "1,a,n.a.,m", "1,b,inf,f"])
    card = imported(path, Asked(label="label", missing=("n.a.", "inf"))).card
    assert card["columns"][1]["missing"] == 2 and card["read"]["missing"] == ["inf", "n.a."]
    own_data.read(card)
    columns = imported(path, Asked(label="label", category=("amount",), name="b")).card["columns"]
    assert [one["type"] for one in columns] == ["number", "category", "category"]
    assert len(imported(path, Asked(label="label", drop=("amount",), name="c")).card["columns"]) == 2


def test_notes_say_what_may_be_amiss(project):
    """A column that is the label in other words; a group that is missing; a class that a group has nobody of."""
    words = {"a": "yes", "b": "no"}
    rows = [f"{row},{words[row.split(',')[1]]}" for row in ROWS] + ["5,a,3,,yes"] * 12
    notes = imported(table(project / "a.csv", rows, f"{HEADER},said"), Asked(label="label", group="gender")).notes
    assert [note for note in notes if "'said' tells the label of every row" in note]
    assert [note for note in notes if "group 'gender': missing in 12 rows, a group of their own" in note]
    assert [note for note in notes if note.startswith("there is nobody of class 'b' in group '(missing)'")]


def test_what_memory_does_not_hold_is_refused(project, monkeypatch):
    path = table(project / "a.csv")
    monkeypatch.setattr(memory, "left", lambda: 3000)
    with pytest.raises(DataError, match=r"reading it takes 20 times that; 0 MiB of memory are free"):
        imported(path, Asked(label="label"))
    monkeypatch.setattr(memory, "left", lambda: tables.TIMES * path.stat().st_size)
    wide = tuple(HEADER.split(",")[::2])
    with pytest.raises(DataError, match=r"inputs of 60 rows, 0 MiB; only 0 MiB are free: --drop a column"):
        imported(path, Asked(label="label", category=wide))


def test_slugs_are_names_for_any_title():
    for title in ("данные 7", "数据", "Ünïcode", "...", "a" * 200, "UPPER case", "x\ny", "ß", "-", "日本 A 1" * 20):
        assert importing.NAME.fullmatch(slug(title)) and len(slug(title)) <= importing.LONGEST
    assert slug("данные") != slug("数据") and slug("Ma vie, 2024") == "ma-vie-2024" and slug("Café (2)") == "cafe-2"


def test_a_spec_without_a_card_is_refused_where_sizes_are_asked(project):
    with pytest.raises(DataError, match=r"no card data/local/x.yaml"):
        sizes_of({"dataset": "table", "options": {"card": "x", "digest": "0"}})
    with pytest.raises(DataError, match=r"options card and digest, and card is not given"):
        sizes_of({"dataset": "folder"})
