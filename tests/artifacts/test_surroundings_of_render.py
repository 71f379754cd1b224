"""Rendering where someone has settings of her own, is in a hurry, or has no room: the same bytes, or one line."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from support import needs, synthetic_records
from support.project import ROOT

from reweigh.artifacts import kernel, render, work_folders
from reweigh.artifacts.render import ENDINGS
from reweigh.digest import file_digest
from reweigh.errors import ReweighError

STEM = "figures/smoke/tdr/fig5"
RC = "savefig.bbox: tight\nfont.family: serif\nlines.linewidth: 9\nnot.a.key: 1\n"
STARTUP = "import matplotlib\nmatplotlib.rcParams['savefig.pad_inches'] = 3\nprint('good morning')\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = synthetic_records.project(tmp_path_factory.mktemp("made"))
    synthetic_records.fill(root, "smoke", "tdr", "fig5")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A project of one's own with records of fig5; brackets, braces and more are in its path."""
    folder = tmp_path / "reweigh [v2] {work} 100% $HOME it's #1 ünï"
    shutil.copytree(made, folder, symlinks=True)
    (tmp_path / "tmp").mkdir()
    return folder


def command(root: Path, **settings: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(root.parent / "tmp"), **settings}
    call = [sys.executable, "-P", "-m", "reweigh.cli", "render", STEM]  # -P: as the command `reweigh` does
    return subprocess.Popen(
        call,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )


def rendered(root: Path, **settings: str) -> dict[str, str]:
    """The digests of what the command makes."""
    process = command(root, **settings)
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return {ending: file_digest(root / f"{STEM}.{ending}") for ending in ENDINGS}


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_users_own_settings_change_no_byte(root: Path, tmp_path: Path) -> None:
    plain, home = rendered(root), tmp_path / "home"
    written(home / ".config/matplotlib/matplotlibrc", RC)
    written(home / ".ipython/profile_default/startup/a.py", STARTUP)
    written(home / ".ipython/profile_default/ipython_config.py", "c.InteractiveShell.ast_node_interactivity = 'all'\n")
    written(root / "matplotlibrc", RC)
    written(root / "random.py", "raise RuntimeError('a file of mine')\n")
    jupyter = written(home / ".jupyter/jupyter_config.py", "c.KernelManager.shutdown_wait_time = 'no number'\n").parent
    settings = {
        "HOME": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "JUPYTER_CONFIG_DIR": str(jupyter),
        "LC_ALL": "tr_TR.UTF-8",
        "MATPLOTLIBRC": str(written(home / "matplotlibrc", RC)),
        "MPLBACKEND": "svg",
        "PYTHONSTARTUP": str(written(home / "startup.py", STARTUP)),
        "PYTHONWARNINGS": "always",
        "TZ": "Asia/Kathmandu",
    }
    assert rendered(root, **settings) == plain


def test_drawings_without_a_notebook_have_the_house_style_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    from reweigh.plots.figure import Figure
    from reweigh.plots.style import sheet

    def png() -> bytes:
        return Figure(sheet(), None).png()  # type: ignore[arg-type]

    plain = png()
    monkeypatch.setitem(matplotlib.rcParams, "savefig.bbox", "tight")
    monkeypatch.setitem(matplotlib.rcParams, "savefig.facecolor", "red")
    assert png() == plain


def kernels(folder: Path) -> list[int]:
    return [int(path.read_text() or 0) for path in folder.glob("reweigh-kernel-*/empty/pid")]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def slow(root: Path) -> None:
    """The figure's notebook now begins with a long sleep."""
    path = root / "notebooks/tdr/fig5.ipynb"
    notebook = nbformat.read(ROOT / "notebooks/tdr/fig5.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import time; time.sleep(300)", id="sleep"))
    nbformat.write(notebook, path)


@needs.LINUX
def test_what_is_stopped_leaves_nothing_and_what_is_killed_only_until_the_next_time(root: Path, tmp_path: Path) -> None:
    slow(root)
    for number in (signal.SIGINT, signal.SIGKILL):
        process = command(root)
        deadline = time.monotonic() + 120
        while not kernels(tmp_path / "tmp") and time.monotonic() < deadline:
            time.sleep(0.05)
        (pid,) = kernels(tmp_path / "tmp")
        time.sleep(0.5)
        process.send_signal(number)
        said = process.communicate(timeout=60)
        assert process.returncode not in (0, None), said
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(pid)
        assert "Traceback" not in said[1], said[1]
        left = [*(root / "figures/smoke/tdr").glob(".*"), *(tmp_path / "tmp").glob("reweigh-*")]
        assert bool(left) == (number == signal.SIGKILL)
    shutil.copy(ROOT / "notebooks/tdr/fig5.ipynb", root / "notebooks/tdr/fig5.ipynb")
    rendered(root)
    assert not [*(root / "figures/smoke/tdr").glob(".*"), *(tmp_path / "tmp").glob("reweigh-*")]


def test_leftovers_are_told_from_folders_in_use(tmp_path: Path) -> None:
    (tmp_path / ".fig5-abcdefgh").mkdir()  # as older versions left it: it may be in use
    (tmp_path / ".fig5-old_1234").mkdir()
    os.utime(tmp_path / ".fig5-old_1234", (0, 0))
    (tmp_path / ".fig5-b-abcdefgh").mkdir()
    os.utime(tmp_path / ".fig5-b-abcdefgh", (0, 0))  # another artifact's
    written(tmp_path / ".fig5-killed12" / work_folders.LOCK, "")
    with work_folders.work_folder(".fig5-", tmp_path) as first:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, ".fig5-abcdefgh", ".fig5-b-abcdefgh"}
        with work_folders.work_folder(".fig5-", tmp_path):
            assert first.is_dir()
    assert not first.exists()


@pytest.mark.parametrize(
    ("error", "says", "tries"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "figures/x"),
            "figures/x: the disk is full; free some space",
            1,
        ),
        (OSError(errno.EROFS, "Read-only file system"), "the disk is read-only; work in a copy", 1),
        (PermissionError(errno.EACCES, "Permission denied"), "not allowed; have its owner allow it", 1),
        (FileNotFoundError(2, "No usable temporary directory found in ['/a']"), "TMPDIR", 1),
        (ValueError("odd"), "cannot be run: ValueError: odd", 1),
        (RuntimeError("Kernel didn't respond in 60 seconds"), "did not start or died, 2 times", 2),
        (TimeoutError("slow"), "did not start or died, 2 times", 2),
    ],
)
def test_what_stops_a_rendering_is_one_line_with_its_remedy(
    made: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str, tries: int
) -> None:
    tried = []

    def fail(*arguments: object) -> None:
        tried.append(arguments)
        raise error

    monkeypatch.setattr(render, "_in_thread", fail)
    with pytest.raises(ReweighError, match=says) as caught:
        render.render(STEM, made)
    assert "\n" not in str(caught.value) and len(tried) == tries
    assert not list((made / "figures/smoke/tdr").glob(".*"))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"cells": [{}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}']
)
def test_a_damaged_notebook_is_named(root: Path, content: str) -> None:
    path = root / "notebooks/tdr/fig5.ipynb"
    path.unlink()
    path.write_text(content)
    with pytest.raises(ReweighError, match=r"notebooks/tdr/fig5.ipynb is no notebook that can be read .*; restore it"):
        render.render(STEM, root)


def test_a_missing_kernel_package_is_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ReweighError, match="ipykernel, which runs notebooks, is not installed; install it: make setup"):
        render.render(STEM, made)


def test_what_a_user_has_set_is_not_in_the_kernels_environment(tmp_path: Path) -> None:
    settings = {
        "PYTHONSTARTUP": "a",
        "JUPYTER_DATA_DIR": "b",
        "LANG": "c",
        "MPLCONFIGDIR": "d",
        "PATH": "e",
        "LC_TIME": "f",
    }
    clean = kernel.clean(settings, tmp_path)
    assert clean["MPLCONFIGDIR"] == "d" and clean["PATH"] == "e"
    assert not {"PYTHONSTARTUP", "JUPYTER_DATA_DIR", "LANG", "LC_TIME"} & set(clean)
