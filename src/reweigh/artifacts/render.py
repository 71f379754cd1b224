"""Render an artifact: execute its notebook with papermill, put pdf, png, csv, executed notebook and a receipt in place.

Everything is made in a folder of its own and moved at the end, so that a figure is whole or not there. The kernel is
this interpreter, whatever kernels the machine knows, with folders of its own, so that parallel renderings do not meet.
Times and random ids are taken out of the executed notebook: the same records give the same bytes.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reweigh import canonical_json, os_errors
from reweigh.artifacts import receipt
from reweigh.config.loading import load
from reweigh.config.names import ARTIFACT_ENDINGS as ENDINGS
from reweigh.config.names import ArtifactName
from reweigh.errors import ConfigError, ReweighError

KERNEL = "reweigh-render"
MADE = ("pdf", "png", "csv", "ipynb")
START_SECONDS = 60
TRIES = 2  # a kernel that does not start is started once more


def render(target: str, root: str | Path = ".") -> list[Path]:
    """Make the five files of an artifact from the records that are there; return their paths.

    Raises ConfigError for an artifact that does not exist, ReweighError if its notebook fails. The half-run notebook
    then lies beside the figure as `NAME.failed.ipynb`, and the figure that was there before is left as it was.
    """
    root = Path(root).resolve()
    artifact = ArtifactName.parse(target)
    scale, paper, name = artifact
    config = load(root)
    config.cells_of(scale, paper, name)  # refuses an unknown scale, paper or artifact with the nearest name
    stem = Path(artifact.stem)
    source = root / config.artifact(paper, name).notebook
    if not source.is_file():
        where = config.place(paper, "artifacts", name, "notebook")
        raise ConfigError(f"{source.relative_to(root)} is missing, though {where} names it for {name}")
    (root / stem).parent.mkdir(parents=True, exist_ok=True)
    failed = root / f"{stem}.failed.ipynb"
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=(root / stem).parent) as work:
        made = Path(work) / name
        basis = receipt.figure_basis(config, scale, paper, name)  # first: what comes later is not in the figure
        parameters = {"scale": scale, "paper": paper, "artifact": name, "out": made.relative_to(root).as_posix()}
        try:
            _execute(source, made.with_suffix(".ipynb"), parameters, root)
        except _NotebookError as error:
            shutil.move(made.with_suffix(".ipynb"), failed)
            what = f"{stem}: {source.relative_to(root)} failed: {error}"
            raise ReweighError(f"{what}; the half-run notebook is {failed.relative_to(root)}") from None
        tidy(made.with_suffix(".ipynb"), source.relative_to(root), parameters["out"], stem.as_posix())
        files = {ending: made.with_suffix(f".{ending}") for ending in MADE}
        for ending, file in files.items():
            if not file.is_file():
                raise ReweighError(f"{stem}: {source.relative_to(root)} wrote no .{ending}; it must call save(out)")
        receipt.write(made.with_suffix(".json"), basis, files, root)
        for ending in ENDINGS:
            canonical_json.put_in_place(made.with_suffix(f".{ending}"), root / f"{stem}.{ending}")
    failed.unlink(missing_ok=True)
    return [Path(f"{stem}.{ending}") for ending in ENDINGS]


class _NotebookError(Exception):
    """A cell raised; the message is the cell's error in one line."""


def _execute(source: Path, target: Path, parameters: dict[str, Any], root: Path) -> None:
    """Run a notebook in `root`. Raises _NotebookError if a cell fails, ReweighError if no kernel starts."""
    papermill = _papermill()
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    for attempt in range(1, TRIES + 1):
        with _own_kernel(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                papermill.execute_notebook(
                    str(source),
                    str(target),
                    parameters,
                    kernel_name=KERNEL,
                    cwd=str(root),
                    progress_bar=False,
                    log_output=False,
                    start_timeout=START_SECONDS,
                )
                return
            except PapermillExecutionError as error:
                raise _NotebookError(_one_line(f"{error.ename}: {error.evalue}")) from None
            except Exception as error:  # whatever jupyter raises where a kernel dies or does not answer
                if os_errors.is_of_the_disk(error):
                    raise
                if attempt == TRIES:
                    reason = _one_line(f"{type(error).__name__}: {error}")
                    raise ReweighError(
                        f"{source}: the notebook's kernel did not start or died ({reason}); try again"
                    ) from None


def _papermill() -> Any:
    """papermill, imported without a grammar that jsonschema compiles for more than a second where it finds it.

    It checks international addresses, which no notebook holds; jsonschema does without it where it is not installed.
    """
    grammar = "rfc3987_syntax"
    if "jsonschema" not in sys.modules and grammar not in sys.modules:
        sys.modules[grammar] = None  # type: ignore[assignment]
    try:
        import papermill
    finally:
        if grammar in sys.modules and sys.modules[grammar] is None:
            del sys.modules[grammar]
    return papermill


@contextlib.contextmanager
def _own_kernel() -> Iterator[None]:
    """A kernel of this very interpreter, known by name in a folder that only this rendering sees."""
    with tempfile.TemporaryDirectory(prefix="reweigh-kernel-") as folder:
        spec = Path(folder, "jupyter", "kernels", KERNEL)
        spec.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=40"]
        (spec / "kernel.json").write_text(
            json.dumps({"argv": command, "display_name": KERNEL, "language": "python"}), encoding="utf-8"
        )
        package = str(Path(__file__).parents[2])
        ours = {
            "JUPYTER_PATH": str(Path(folder, "jupyter")),
            "JUPYTER_RUNTIME_DIR": str(Path(folder, "runtime")),
            "IPYTHONDIR": str(Path(folder, "ipython")),
            "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH")))),
            "MPLBACKEND": "agg",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def tidy(path: Path, source: Path, temporary: str, final: str) -> None:
    """Take times, random ids and temporary paths out of an executed notebook, in place."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    parameters = notebook.metadata.get("papermill", {}).get("parameters", {})
    if "out" in parameters:
        parameters["out"] = final
    notebook.metadata["papermill"] = {"input_path": source.as_posix(), "parameters": parameters}
    for place, cell in enumerate(notebook.cells):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
            cell["source"] = cell["source"].replace(temporary, final)
        elif not cell.get("id"):
            cell["id"] = f"cell-{place}"
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _one_line(text: str, longest: int = 400) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
