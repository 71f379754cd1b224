"""`reweigh import` as a user calls it: what it prints, and mistakes as one line with a code."""

import shlex

import pytest
from support import own_data
from support.own_data import ROWS, images, table
from support.readme import blocks, page
from typer.testing import CliRunner

from reweigh import cli
from reweigh.data import local_cards
from reweigh.errors import DataError, ReweighError


@pytest.fixture
def project(tmp_path, monkeypatch):
    return own_data.project(tmp_path / "project", monkeypatch)


def called(*arguments):
    return CliRunner().invoke(cli.app, ["import", *map(str, arguments)])


def test_columns_classes_and_groups_are_shown(project):
    path = table(project / "my data" / "claims.csv", [*(f"{row},x" for row in ROWS), ",a,3,m,x"],
                 "age,label,[amount],gender,same")  # fmt: skip
    done = called(path, "--label", "label", "--group", "gender", "--test", "0.25")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["column", "type", "missing", "filled", "with", "categories"],
        ["age", "number", "1", "the", "median,", str(int(age(project)))],
        ["[amount]", "number"],
    ]
    assert "left out: same: always 'x' in the training part" in lines
    assert any(line.split() == ["class", "train", "test", "gender", "f", "gender", "m"] for line in lines)
    assert lines[-2:] == ["wrote data/local/claims.yaml", "next: reweigh compare claims"]
    again = called(path, "--label", "label", "--group", "gender", "--test", "0.25")
    assert "data/local/claims.yaml was there already, and says the same" in again.output


def age(project):
    return local_cards.load("claims")["columns"][0]["impute"]


def test_many_classes_and_groups_are_cut_short(project):
    rows = [f"{k},{k % 50},{k},g{k // 50 % 10}" for k in range(2000)]
    done = called(table(project / "a.csv", rows), "--label", "label", "--group", "gender", "--number", "amount")
    assert "... and 10 more classes" in done.output and "... and 2 more groups" in done.output


def test_images(project):
    done = called(images(project / "pets", ["cat", "dog"]), "--side", "16")
    assert done.exit_code == 0 and "images: 16 x 16 pixels, in colour" in done.output
    assert "20 images to train on, 4 to test on; 3 x 16 x 16 inputs" in done.output


def test_options_reach_the_card(project):
    path = table(project / "a.csv", [row.replace(",", "\t") for row in ROWS], "age\tlabel\tamount\tgender", "utf-16-le")
    done = called(path, "--label", "label", "--drop", "amount", "--category", "age", "--name", "b", "--seed", "3",
                  "--encoding", "utf-16-le", "--separator", "\\t", "--missing", "18", "--missing", "25")  # fmt: skip
    assert done.exit_code == 0, done.output
    card = local_cards.load("b")
    assert card["read"] == {"encoding": "utf-16-le", "separator": "\t", "missing": ["18", "25"]}
    assert (card["split"]["seed"], card["dropped"]) == (3, [{"name": "amount", "why": "as asked"}])
    assert card["columns"][0]["impute"] == "category" and "18" not in card["columns"][0]["categories"]


def pasted(command):
    """The card that a command of a message writes, as a shell would call it."""
    reweigh, import_, *arguments = shlex.split(command)
    done = called(*arguments)
    assert (reweigh, import_, done.exit_code) == ("reweigh", "import", 0), done.output
    return local_cards.load(arguments[arguments.index("--name") + 1])


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--group", "the group", "--use-group", "--test", "0.3", "--seed", "7"),
        ("--drop", "text", "--number", "id", "--category", "amount", "--missing=-999", "--missing", "n. a."),
        ("--drop", "id", "--drop", "amount", "--group", "the group"),
    ],
)
@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "cp1252"), (",", "utf-16")])
def test_the_remedy_for_a_changed_table_imports_it_with_the_same_options(project, options, separator, encoding):
    cells = [[str(k), "ab"[k % 2], str(k % 30 / 2), "mfx"[k % 3], "été"[k % 2]] for k in range(132)]
    rows = [separator.join(row) for row in cells]
    header = separator.join(["id", "größe", "amount", "the group", "text"])
    path = table(project / "my data" / "it's.csv", rows[:120], header, encoding)
    given = ("--encoding", encoding) if encoding == "cp1252" else ()
    done = called(path, "--label", "größe", "--name", "one", *options, *given)
    assert done.exit_code == 0, (done.output, done.exception)
    card = local_cards.load("one")
    table(path, rows, header, encoding)
    with pytest.raises(DataError, match="import it again under another name") as refused:
        local_cards.checked_file(card)
    command = str(refused.value).partition("another name: ")[2].removesuffix(", or put the old file back")
    same = ("path", "kind", "label", "read", "split")
    again = pasted(command)
    assert {key: again[key] for key in same} == {key: card[key] for key in same}
    named = [[(one["name"], one["type"]) for one in each["columns"]] for each in (again, card)]
    assert named[0] == named[1] and ("id" in dict(named[0])) == ("--number" in options)


@pytest.mark.parametrize("options", [(), ("--side", "16", "--test", "0.4", "--seed", "2")])
def test_the_remedy_for_a_folder_that_was_moved_says_path(project, options):
    folder = images(project / "pets 1", ["cat", "dog"], 20)
    (folder / "cat" / "03.png").write_bytes(b"none")
    assert called(folder, "--skip-unreadable", *options).exit_code == 0
    card = local_cards.load("pets-1")
    (listed := local_cards.list_of(card)).unlink()
    folder.rename(project / "elsewhere")
    with pytest.raises(DataError, match="is missing") as refused:
        local_cards.checked_file(card)
    command = str(refused.value).partition("where it is now: ")[2]
    assert command.startswith("reweigh import PATH --side ") and "pets 1" not in command
    again = pasted(command.replace("PATH", "elsewhere"))
    same = ("kind", "label", "side", "split", "sizes", "dropped")
    assert {key: again[key] for key in same} == {key: card[key] for key in same}
    assert not listed.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere.csv", "--label", "label"), 2, "no file or folder nowhere.csv"),
        (("a.csv",), 2, "say --label COLUMN"),
        (("a.csv", "--label", "labe"), 2, "did you mean 'label'?"),
        (("a.csv", "--label", "label", "--side", "64"), 2, "--side does not go with a file"),
        (("empty.csv", "--label", "label"), 1, "is empty"),
        (("pets", "--label", "x"), 2, "--label does not go with a folder"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(project, capsys, monkeypatch, arguments, code, said):
    table(project / "a.csv")
    (project / "empty.csv").touch()
    images(project / "pets", ["cat", "dog"])
    monkeypatch.setattr("sys.argv", ["reweigh", "import", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert ended.value.code == code and printed.out == ""
    assert printed.err.startswith("reweigh: ") and printed.err.count("\n") == 1 and said in printed.err


def test_outside_of_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReweighError, match=r"no project here: no config/config.yaml in .*"):
        CliRunner().invoke(
            cli.app, ["import", str(table(tmp_path / "a.csv")), "--label", "label"], catch_exceptions=False
        )
    assert not (tmp_path / "data").exists()


def test_the_page_shows_what_is_printed_and_written(project):
    """docs/your-data.md: the first example and its card are those of the table that `own_data.claims` makes."""
    shown = page("docs/your-data.md")
    own_data.claims(project / "claims.csv")
    first = blocks(shown, "console")[0]
    command, _, output = first.partition("\n")
    done = CliRunner().invoke(cli.app, command.removeprefix("$ reweigh ").split())
    assert done.output == output
    card = (project / "data/local/claims.yaml").read_text()
    (on_page,) = blocks(shown, "yaml")
    assert card.startswith(on_page) and card[len(on_page) :].startswith("sizes:\n")
