"""Render an artifact: execute its notebook with papermill, put pdf, png, csv, executed notebook and a receipt in place.

Everything is made in a folder of its own and moved at the end, so that a figure is whole or not there. The kernel is
this interpreter, whatever kernels the machine knows and whatever its user has set, with folders of its own, so that
parallel renderings do not meet (`artifacts/kernel.py`).
Times and random ids are taken out of the executed notebook: the same records give the same bytes.
"""

import functools
import importlib.util
import logging
import shutil
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reweigh import canonical_json, os_errors
from reweigh.artifacts import receipt
from reweigh.artifacts.kernel import Kernel, own_kernel
from reweigh.artifacts.work_folders import work_folder
from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import ARTIFACT_ENDINGS as ENDINGS
from reweigh.config.names import ArtifactName
from reweigh.errors import ConfigError, ReweighError

MADE = ("pdf", "png", "csv", "ipynb")
START_SECONDS = 60
TRIES = 2  # a kernel that does not start is started once more
END_SECONDS = 5


def render(target: str, root: str | Path = ".") -> list[Path]:
    """Make the five files of an artifact from the records that are there; return their paths.

    Raises ConfigError for an artifact that does not exist, ReweighError if its notebook fails or a file cannot be read
    or written. A half-run notebook then lies beside the figure as `NAME.failed.ipynb`, and the figure that was there
    before is left as it was.
    """
    root = Path(root).resolve()
    artifact = ArtifactName.parse(target)
    config = load(root)
    config.cells_of(*artifact)  # refuses an unknown scale, paper or artifact with the nearest name
    source = root / config.artifact(artifact.paper, artifact.name).notebook
    if not source.is_file():
        where = config.place(artifact.paper, "artifacts", artifact.name, "notebook")
        raise ConfigError(f"{source.relative_to(root)} is missing, though {where} names it for {artifact.name}")
    try:
        _render(config, artifact, source)
    except OSError as error:
        raise ReweighError(f"{artifact.stem}: {os_errors.in_words(error) or error}") from None
    return [Path(f"{artifact.stem}.{ending}") for ending in ENDINGS]


def _render(config: Config, artifact: ArtifactName, source: Path) -> None:
    """Make the files of an artifact by its notebook, in a folder of its own, and put them in place."""
    root, stem, name = config.root, artifact.stem, artifact.name
    (root / stem).parent.mkdir(parents=True, exist_ok=True)
    failed = root / f"{stem}.failed.ipynb"
    with work_folder(f".{name}-", (root / stem).parent) as work:
        made = work / name
        basis = receipt.figure_basis(config, *artifact)  # first: what comes later is not in the figure
        out = made.relative_to(root).as_posix()
        parameters = {"scale": artifact.scale, "paper": artifact.paper, "artifact": name, "out": out}
        try:
            _execute(source, made.with_suffix(".ipynb"), parameters, root)
        except _NotebookError as error:
            what = f"{stem}: {source.relative_to(root)} failed: {error}"
            if not made.with_suffix(".ipynb").is_file():
                raise ReweighError(what) from None
            shutil.move(made.with_suffix(".ipynb"), failed)
            raise ReweighError(f"{what}; the half-run notebook is {failed.relative_to(root)}") from None
        tidy(made.with_suffix(".ipynb"), source.relative_to(root), out, stem)
        files = {ending: made.with_suffix(f".{ending}") for ending in MADE}
        for ending, file in files.items():
            if not file.is_file():
                raise ReweighError(f"{stem}: {source.relative_to(root)} wrote no .{ending}; it must call save(out)")
        receipt.write(made.with_suffix(".json"), basis, files, root)
        for ending in ENDINGS:
            canonical_json.put_in_place(made.with_suffix(f".{ending}"), root / f"{stem}.{ending}")
    failed.unlink(missing_ok=True)


class _NotebookError(Exception):
    """A cell raised; the message is the cell's error in one line."""


def _execute(source: Path, target: Path, parameters: dict[str, Any], root: Path) -> None:
    """Run a notebook in `root`. Raises _NotebookError if a cell fails, ReweighError if it cannot be run at all."""
    import nbformat

    papermill = _papermill()
    from papermill.exceptions import PapermillExecutionError

    try:
        nbformat.validate(nbformat.read(source, as_version=4))
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        what = f"{source.relative_to(root)} is no notebook that can be read ({_one_line(str(error), 120)})"
        raise ReweighError(f"{what}; restore it") from None
    if importlib.util.find_spec("ipykernel") is None:
        raise ReweighError("ipykernel, which runs notebooks, is not installed; install it: make setup")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    for attempt in range(1, TRIES + 1):
        with own_kernel() as kernel, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = functools.partial(
                papermill.execute_notebook,
                _unformatted(source),
                _unformatted(target),
                parameters,
                kernel_name=kernel.name,
                cwd=str(root),
                progress_bar=False,
                log_output=False,
                start_timeout=START_SECONDS,
            )
            try:
                _in_thread(run, kernel)
                return
            except PapermillExecutionError as error:
                raise _NotebookError(_one_line(f"{error.ename}: {error.evalue}")) from None
            except Exception as error:  # whatever jupyter raises where a kernel dies or does not answer
                if isinstance(error, OSError) and not _is_silence(error):
                    raise
                reason = error
        where, what = source.relative_to(root), _one_line(f"{type(reason).__name__}: {reason}")
        if not _is_silence(reason):
            raise ReweighError(f"{where} cannot be run: {what}")
        if attempt == TRIES:
            raise ReweighError(
                f"{where}: the notebook's kernel did not start or died, {TRIES} times ({what}); "
                "is there memory enough? then try again"
            )


def _is_silence(error: Exception) -> bool:
    """Whether it says that a kernel died, did not start or did not answer, which may go better the next time."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from zmq import ZMQError

    said = isinstance(error, RuntimeError) and str(error).startswith("Kernel ")  # jupyter_client has no class for it
    return said or isinstance(error, (DeadKernelError, CellTimeoutError, TimeoutError, ZMQError))


def _unformatted(path: Path) -> str:
    """A path for papermill, which puts values in where it finds braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _in_thread(run: Callable[[], Any], kernel: Kernel) -> None:
    """Call `run` in a thread, and wait. Whatever ends the waiting, such as Ctrl-C, ends the kernel too.

    In the main thread nbclient would take signals for itself, end the kernel, and say that it died.
    """
    raised: list[Exception] = []

    def guarded() -> None:
        try:
            run()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        kernel.end()
        thread.join(END_SECONDS)
        raise
    if raised:
        raise raised[0]


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
