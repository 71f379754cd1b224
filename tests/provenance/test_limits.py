"""Limits of the shell, as `ulimit` sets them: few open files are enough; too little memory is said, with the remedy."""

import resource
import subprocess
import sys

import pytest
from support import project, tampering
from support.tampering import ER

FEW_FILES = (resource.RLIMIT_NOFILE, 64)
NO_MEMORY = (resource.RLIMIT_AS, 400 << 20)
CALLS = {
    "audit": ("reweigh.cli", "audit", "--scale", "smoke"),
    "plan": ("reweigh.cli", "plan", "smoke/tdr/mnist-4v9"),
    "explain": ("reweigh.cli", "explain", f"results/{ER}.json"),
    "training": ("reweigh.training", "spec.json"),
    "training again": ("reweigh.training", "--again", "spec.json"),
}


@pytest.fixture(scope="module")
def folder(sound_project, tmp_path_factory):
    root = tampering.copy(sound_project, tmp_path_factory.mktemp("limits") / "project")
    project.spec_file(root, ER).rename(root / "spec.json")
    return root


def called(folder, name, *limits):
    """A command in a process with these limits; when it has ended."""

    def limit():
        for what, most in limits:
            resource.setrlimit(what, (most, most))

    module, *arguments = CALLS[name]
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=folder, env=project.environment(), preexec_fn=limit, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("name", ["audit", "plan", "explain", "training"])
def test_few_open_files_are_enough(folder, name):
    done = called(folder, name, FEW_FILES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["audit", "plan", "training again"])
def test_little_memory_is_said_with_the_remedy(folder, name):
    """Whether or not it is enough. OpenBLAS ends a process in its own words, after which nothing can be said."""
    done = called(folder, name, NO_MEMORY)
    said = done.stderr.splitlines()
    assert said[0] == "this shell allows 0.4 GiB of memory; if that is too little: ulimit -v unlimited"
    assert "Traceback" not in done.stderr and done.returncode in (0, 1)
    assert (len(said) > 1) == (done.returncode == 1)
    assert done.returncode or name == "plan"
