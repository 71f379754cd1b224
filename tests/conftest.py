"""What tests share: raw data, projects and runs that are made once; and what a run of tests says at its end."""

import os
import shutil
from pathlib import Path

import pytest
from support import ROOT, disks, needs, shared

from reweigh.data import manifest

# A bare GPU machine, where some tests run too, has neither hypothesis nor pydantic: fixtures import what needs them.
try:
    import hypothesis
except ModuleNotFoundError:
    hypothesis = None

# Two workers on two cores: each computes on one, and so do the processes that it starts. Set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What someone has set for runs of their own, such as REWEIGH_CHECKPOINT_SECONDS, is not meant for those of the tests.
# Neither are colours, which would stand between the words that a test looks for.
COLOURS = {"FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS"}
for name in [name for name in os.environ if name.startswith("REWEIGH_") or name in COLOURS]:
    if name != "REWEIGH_MIRROR":
        del os.environ[name]

# A busy machine is no fault of what is tested.
if hypothesis:
    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(items):
    """Slow tests first, so that no worker begins one when the others have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter):
    """The last line says what was skipped, and for want of what: "98 skipped: 60 want the mirror, 38 a GPU"."""
    skipped = [report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])]
    if skipped:
        terminalreporter.write_line(needs.skipped_line(skipped))


@pytest.fixture(scope="module", autouse=True)
def _nothing_shared_is_changed():
    """By a module, or by one that ran at the same time in another worker."""
    yield
    changed = shared.changed()
    assert not changed, changed


@pytest.fixture(scope="session")
def raw_root(tmp_path_factory):
    """A data/raw with the embedded data sets, real bytes, fetched once a run: MNIST, Adult, slices, Waterbirds."""

    def fetch(root):
        slices = ("cifar10-slice", "cifar10-slice-large", "cifar10n-slice", "cifar100-slice")
        for dataset in ("mnist", "adult", *slices, "waterbirds-small"):
            manifest.ensure(dataset, root, mirror="", manifest=ROOT / "data" / "manifest.yaml")

    return shared.folder(tmp_path_factory, "raw", fetch)


@pytest.fixture(scope="session")
def config():
    """The project's own config."""
    from reweigh.config.loading import load

    return load(ROOT)


@pytest.fixture(scope="session")
def mnist(raw_root):
    """MNIST as its reader gives it."""
    from reweigh.data import load as readers

    return readers.read("mnist", root=raw_root)


@pytest.fixture(scope="session")
def trained_project(tmp_path_factory, raw_root):
    """A project with three real records at scale smoke, `project.TRAINED`; a test that changes any takes a copy."""
    from support import project

    def train(folder):
        project.make(folder, raw_root)
        done = project.train(folder, *(project.spec_file(folder, run) for run in project.TRAINED))
        assert done.returncode == 0, done.stderr

    return shared.folder(tmp_path_factory, "trained", train)


@pytest.fixture(scope="session")
def table3_project(tmp_path_factory):
    """A copy of the project in which Snakemake made table3 and one cell of MNIST (two seeds), at scale smoke.

    A test that changes any of it takes a copy.
    """
    from support import workflow

    def make(folder):
        workflow.copy(folder)
        shutil.copytree(ROOT / "envs", folder / "envs")
        targets = ("tdr_table3", f"results/{workflow.PAIR}/seed0.json")
        workflow.snakemake(folder, "--cores", "2", "--config", "scale=smoke", "--", *targets)

    return shared.folder(tmp_path_factory, "table3", make)


@pytest.fixture(scope="session")
def sound_project(tmp_path_factory):
    """A project whose chain holds from the raw bytes to a figure, for tests that change copies of it; made once."""
    from support import tampering

    return shared.folder(tmp_path_factory, "sound", tampering.sound)


@pytest.fixture(scope="session")
def absgd_project(tmp_path_factory):
    """A project with made-up records of ABSGD, for its figures."""
    from support import absgd_figures

    return absgd_figures.project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def absgd_rendered(absgd_project):
    """Every artifact of ABSGD as a figure, made from that project by its notebook."""
    from support import absgd_figures

    return absgd_figures.draw_all(absgd_project)


@pytest.fixture
def copy(tmp_path, raw_root):
    """A copy of the project that the test may change."""
    for name in ("config", "src", "notebooks", "workflow"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "manifest.yaml", tmp_path / "data")
    shutil.copytree(ROOT / "data" / "published", tmp_path / "data" / "published")
    (tmp_path / "data" / "raw").symlink_to(Path(raw_root).resolve())
    return tmp_path


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of one megabyte; see `support.disks`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not disks.mount(folder):
        pytest.skip("wants to mount a disk (root)")
    yield folder
    disks.unmount(folder)
