"""The commit of a record where there is no git: it travels in a file, and says nothing of other code."""

import hashlib
import json
import os
import shutil
import subprocess

import pytest
from support import needs, project
from support.project import ROOT

from reweigh.planning import spec_files
from reweigh.records import commit
from reweigh.records.record import record_path

RUN = "smoke/tdr/mnist-4v9/rho0.1/tdr/seed0"
HOME = {"commit": "a" * 40, "dirty": False}


@pytest.fixture
def told(tmp_path):
    """A folder with what a project at home says of itself."""
    path = tmp_path / "specs" / commit.NAME
    path.parent.mkdir()
    path.write_text(json.dumps({**HOME, "source_digest": commit.source_digest()}))
    return path


def test_what_travels_is_said_where_git_says_nothing(told, monkeypatch):
    monkeypatch.setattr(commit, "_here", lambda: dict(commit.UNKNOWN))
    commit.look_in([told.parent / "nothing", told.parent])
    assert commit.git_state() == HOME
    monkeypatch.setattr(commit, "_here", lambda: {"commit": "b" * 40, "dirty": True})
    assert commit.git_state() == {"commit": "b" * 40, "dirty": True}
    commit.look_in([])
    monkeypatch.setattr(commit, "_here", lambda: dict(commit.UNKNOWN))
    assert commit.git_state() == commit.UNKNOWN


def test_it_says_nothing_of_code_that_was_changed_after_it(told, monkeypatch):
    assert commit.carried(told.parent) == HOME
    monkeypatch.setattr(commit, "source_digest", lambda: "0" * 64)
    assert commit.carried(told.parent) == commit.UNKNOWN


@pytest.fixture
def git(tmp_path):
    """Git in a repository, `outer`, with one commit of a file of its own."""
    outer = tmp_path / "outer"
    outer.mkdir()

    def git(*command):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *who, *command], cwd=outer, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (outer / "theirs.txt").write_text("theirs")
    git("add", ".")
    git("commit", "-qm", "theirs")
    return git


def copied(tmp_path):
    """A project without `.git` inside that repository."""
    (tmp_path / "outer/project/src/reweigh").mkdir(parents=True)
    (tmp_path / "outer/project/src/reweigh/code.py").write_text("x = 1")
    return tmp_path / "outer/project"


def test_the_commit_of_a_repository_around_the_project_is_not_its_own(tmp_path, git, told, monkeypatch):
    project_ = copied(tmp_path)
    assert commit._asked(project_) == commit.UNKNOWN
    assert commit._asked(tmp_path / "outer")["commit"] == git("rev-parse", "HEAD").strip()
    monkeypatch.chdir(project_)
    commit._here.cache_clear()
    commit.look_in([told.parent])
    try:
        assert commit.git_state() == HOME
    finally:
        commit.look_in([])
        commit._here.cache_clear()


def test_a_repository_that_has_the_project_in_a_folder_tells_its_commit(tmp_path, git):
    project_ = copied(tmp_path)
    git("add", ".")
    assert commit._asked(project_) == commit.UNKNOWN  # not in any commit yet
    git("commit", "-qm", "project")
    (tmp_path / "outer/theirs.txt").write_text("edited")  # elsewhere
    assert commit._asked(project_) == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    (project_ / "src/reweigh/code.py").write_text("x = 2")
    assert commit._asked(project_)["dirty"] is True


def test_a_record_that_replaces_a_committed_one_is_no_edit(tmp_path, git):
    """Else all runs after the first of those that a change made stale would say that they had changes."""
    project_ = copied(tmp_path)
    outputs = [project_ / folder / "paper/made.json" for folder in ("results", "figures")]
    for path in outputs:
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    git("add", ".")
    git("commit", "-qm", "project")
    for path in outputs:
        path.write_text("[]")
    assert commit._asked(project_)["dirty"] is False
    (project_ / "src/reweigh/code.py").write_text("x = 2")
    assert commit._asked(project_)["dirty"] is True


def test_a_project_that_lies_at_the_top_of_another_repository_is_not_in_it(tmp_path, git):
    """As where a tarball was unpacked into a home folder that is a repository: nothing of it is tracked."""
    outer = copied(tmp_path).parent
    shutil.move(outer / "project/src", outer)
    assert commit._asked(outer) == commit.UNKNOWN and not commit.has_repository(outer)
    git("add", "src")
    git("commit", "-qm", "project")
    assert commit._asked(outer) == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}


def test_variables_of_another_repositorys_hook_do_not_count(tmp_path, git, monkeypatch):
    project_ = copied(tmp_path)
    git("add", ".")
    git("commit", "-qm", "project")
    right = commit._asked(project_)
    subprocess.run(["git", "init", "-q", tmp_path / "theirs"], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "theirs"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nothing"))
    assert commit._asked(project_) == right and right["dirty"] is False


def test_the_index_is_left_alone(tmp_path, git):
    """Another git may be at work: nobody waits for its lock, and nothing is written."""
    project_ = copied(tmp_path)
    git("add", ".")
    git("commit", "-qm", "project")
    os.utime(project_ / "src/reweigh/code.py", (1, 1))  # git would write down that its content is the same
    index = tmp_path / "outer/.git/index"
    before = index.read_bytes()
    (tmp_path / "outer/.git/index.lock").touch()
    assert commit._asked(project_)["dirty"] is False
    assert index.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root, who may give a folder away")
def test_a_repository_of_another_user_of_which_git_says_nothing_is_unknown(tmp_path, git, monkeypatch):
    project_ = copied(tmp_path)
    git("add", ".")
    git("commit", "-qm", "project")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert commit._asked(project_)["commit"]
    for path in (tmp_path / "outer", tmp_path / "outer/.git"):
        os.chown(path, 65534, 65534)
    assert commit._asked(project_) == commit.UNKNOWN
    (tmp_path / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
    assert commit._asked(project_)["commit"]


@needs.CLONE
def test_every_git_checks_out_the_same_bytes(tmp_path):
    """With line ends of Windows, and with filters that its user has for notebooks, tables and arrays."""
    attributes = tmp_path / "attributes"
    attributes.write_text("*.ipynb filter=strip\n*.csv text=auto eol=crlf\n*.npz filter=strip\n*.py ident\n")
    config = tmp_path / "gitconfig"
    config.write_text(f"""[core]
\tautocrlf = true
\tattributesFile = {attributes}
[filter "strip"]
\tclean = true
\tsmudge = true
[safe]
\tdirectory = *
""")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*command, cwd=tmp_path):
        return subprocess.run(["git", *command], cwd=cwd, env=environment, check=True, capture_output=True).stdout

    git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), "clone")
    clone = tmp_path / "clone"
    some = ("data/published", "data/embedded/adult", "notebooks/tdr", "src/reweigh/records", "results/paper/tdr/adult")
    listed = git("ls-tree", "-r", "-z", "HEAD", "--", *some, cwd=clone).decode().split("\0")[:-1]
    committed = {path: facts.split()[2] for facts, _, path in (line.partition("\t") for line in listed)}
    shutil.copy(ROOT / ".gitattributes", clone / ".git/info/attributes")  # before it is committed it counts too
    git("checkout", "--quiet", "HEAD", "--", *committed, cwd=clone)
    assert len(committed) > 100
    for path, stated in committed.items():
        content = (clone / path).read_bytes()
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        assert blob == stated, path


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"source_digest": "0"}'])
def test_a_file_that_says_nothing(told, content):
    told.write_text(content)
    assert commit.carried(told.parent) == commit.UNKNOWN


def test_every_file_of_the_source_counts(tmp_path):
    for name, text in {"a.py": "x = 1\n", "b/c.py": "", "b/notes.txt": "-"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    first = commit.source_digest_of(tmp_path)
    (tmp_path / "b/notes.txt").write_text("other")
    assert commit.source_digest_of(tmp_path) == first
    (tmp_path / "b/c.py").write_text("# a comment\n")
    assert commit.source_digest_of(tmp_path) != first


@needs.CLONE
def test_a_record_from_a_machine_without_git(tmp_path, raw_root):
    """The commit is that of home; the lock is none, where another numpy is installed than it pins."""
    folder = project.make(tmp_path / "bare", raw_root)
    (folder / "specs").mkdir()
    project.spec_file(folder, RUN).rename(folder / "specs" / "spec.json")
    spec_files.canonical_json.write(folder / "specs" / commit.NAME, json.dumps(commit.described(ROOT)))
    (folder / "envs").mkdir()
    shutil.copy(ROOT / "envs/requirements.lock", folder / "envs")
    pins = (folder / "envs/requirements.lock").read_text()
    (folder / "envs/requirements.lock").write_text(pins.replace("numpy==", "numpy==0."))
    done = project.train_from_command_line(folder, "specs", GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert done.returncode == 0, done.stderr
    body = json.loads((folder / record_path(RUN)).read_text())
    here = commit.described(ROOT)
    assert body["git"] == {"commit": here["commit"], "dirty": here["dirty"]} and here["commit"]
    assert body["environment"]["lock_digest"] is None


@pytest.mark.parametrize(
    ("text", "installed"),
    [
        ("torch=={torch}\nnumpy=={numpy} ; python_version > '3'\n", True),
        ("numpy==0.1 ; python_version < '3'\nnumpy=={numpy} ; python_version > '3'\ntorch=={torch}\n", True),
        ("torch=={torch}\nnumpy==0.1\n", False),
        ("numpy=={numpy}\n", False),
        (None, False),
    ],
)
def test_a_record_names_the_lock_whose_versions_are_installed(tmp_path, text, installed):
    import numpy
    import torch

    from reweigh.training.run import _is_installed

    path = tmp_path / "requirements.lock"
    if text is not None:
        path.write_text(text.format(torch=torch.__version__.partition("+")[0], numpy=numpy.__version__))
    assert _is_installed(path) == installed
