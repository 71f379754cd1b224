"""Training runs in the graph of a crate: the program, the split and raw files that it read, its results and costs."""

import functools
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from rocrate.model import Entity

from reweigh.config.grid import Config
from reweigh.config.loading import load
from reweigh.config.names import RunName
from reweigh.data.catalogue import Source
from reweigh.digest import canonical, digest, is_foreign, source_digest
from reweigh.errors import ConfigError, DataError
from reweigh.provenance.crate.graph import Graph, media_type, moment
from reweigh.records import lineage

UNITS = "https://qudt.org/vocab/unit"
USAGE = {  # the costs of a run: key of its record -> name, unit
    "seconds": ("wall clock", f"{UNITS}/SEC"),
    "gpu_seconds": ("time on the GPU", f"{UNITS}/SEC"),
    "peak_bytes": ("largest memory held", f"{UNITS}/BYTE"),
    "energy_joules": ("energy of the GPU", f"{UNITS}/J"),
}
SHOWN = 6  # changed files that a program's description names


class Runs:
    """Adds training runs to a graph, one by one; what they share is added once. `raw` are the raw files so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.raw: dict[str, Entity] = {}
        self.config: Config = load(graph.contents.root)
        self.sources: dict[tuple[str, str], set[str]] = {}  # (name, sha256) -> sources of that raw file in all runs
        for body in graph.contents.records.values():
            for file in body["raw"]:
                self.sources.setdefault((file["name"], file["sha256"]), set()).add(file["source"])

    def add(self, body: dict[str, Any]) -> Entity:
        """The action that a record describes."""
        run = lineage.facts(body)
        name = quote(run["run"])
        inputs = [self._split(run), *self._raw(run), *self._requested(run, body)]
        trace = [] if body["trace"] is None else [_beside(run["record"], body["trace"]["file"])]
        return self.graph.act(
            f"#train/{name}",
            name=f"Training of {run['run']}",
            description=_description(body, lineage.attested(body, self.graph.contents.root)),
            identifier=run["digest"],
            instrument=self._program(run, body),
            object=inputs,
            result=self.graph.files([run["record"], *trace]),
            startTime=moment(run["started"]),
            endTime=moment(run["ended"]),
            resourceUsage=self._usage(run, name),
            additionalProperty=self._circumstances(run),
        )

    # --- the program ---

    def _program(self, run: dict[str, Any], body: dict[str, Any]) -> Entity:
        """What trained: source files with one digest, and the versions of Python and the libraries."""
        code, environment = run["code"]["digest"], run["environment"]
        versions = {name: environment[name] for name in ("python", "torch", "numpy")}
        uses = body["spec"]["uses"]
        unchanged, changed = self._sources(body["code"]["files"])
        return self.graph.add(
            f"#program/train/{uses}/{code[:12]}/{digest(versions)[:8]}",
            "SoftwareApplication",
            name=f"reweigh train, method {uses}",
            description=_program_description(run["code"], changed, list(filter(is_foreign, body["code"]["files"]))),
            softwareVersion=f"code {code[:12]}",
            identifier=code,
            url=self.graph.files([f"src/reweigh/methods/{uses}.py"]),
            hasPart=unchanged,
            softwareRequirements=[self.graph.library(name, version) for name, version in versions.items()],
            input=[self.graph.example(name) for name in ("split", "raw", "spec", "seed", "config")],
            output=[self.graph.example(name) for name in ("record", "trace")],
        )

    def _sources(self, files: dict[str, str]) -> tuple[list[Entity], list[str]]:
        """The source files of a run that are packed and unchanged, and the names of those that have changed."""
        same = {name: self._digest_now(name) == then for name, then in files.items() if not is_foreign(name)}
        unchanged = self.graph.files(f"src/reweigh/{name}" for name, is_same in same.items() if is_same)
        return unchanged, [name for name, is_same in same.items() if not is_same]

    @functools.cache  # noqa: B019 (it lives only while the crate is built)
    def _digest_now(self, name: str) -> str:
        path = self.graph.contents.root / "src/reweigh" / name
        return source_digest(path.read_text(encoding="utf-8")) if path.is_file() else ""

    # --- what it read ---

    def _split(self, run: dict[str, Any]) -> Entity:
        """The split, identified by its digest. Its file is packed if it is the one that the record names."""
        split, name = run["split"], str(RunName.parse(run["run"]).split)
        sizes = ", ".join(f"{part} {sum(counts)}" for part, counts in split["sizes"].items() if sum(counts))
        return self.graph.add(
            f"#split/{quote(name)}/{split['digest'][:12]}",
            "Dataset",
            name=f"Split {name}",
            description=f"Examples: {sizes}. To draw it again: reweigh split {name}",
            identifier=split["digest"],
            isBasedOn=self._raw(run),
            hasPart=self.graph.files([split["path"]]),
            exampleOfWork=self.graph.example("split"),
        )

    def _raw(self, run: dict[str, Any]) -> list[Entity]:
        files = [self._raw_file(file) for file in run["raw"]]
        self.raw |= {file.id: file for file in files}
        return files

    def _raw_file(self, file: dict[str, Any]) -> Entity:
        """A raw file: its public address if that serves the very same bytes, else an entity based on what it serves."""
        served = None if file["url"] is None else self._served(file)
        is_itself = served is not None and served.sha256 == file["sha256"] and served.download is None
        licence = self._licence(file["dataset"])
        sources = ", ".join(sorted(self.sources[file["name"], file["sha256"]]))
        address = "" if file["url"] else "; it has no public address"
        properties = {
            "name": f"{file['dataset']}/{file['name']}",
            "description": f"Of {file['what']}; sources of the runs: {sources}; not packed{address}.",
            "contentSize": str(file["bytes"]),
            "sha256": file["sha256"],
            "license": licence,
            "exampleOfWork": self.graph.example("raw"),
        }
        if is_itself:
            return self.graph.add_web(file["url"], encodingFormat=media_type(file["name"]), **properties)
        identifier = f"#raw/{file['dataset']}/{quote(file['name'])}/{file['sha256'][:12]}"
        origin = self._download(file["url"], served, licence) if file["url"] else None
        properties |= {"encodingFormat": "application/octet-stream", "isBasedOn": origin}
        return self.graph.add(identifier, "File", **properties)

    def _download(self, url: str, served: Source | None, licence: Entity | None) -> Entity:
        """What an address serves: an archive, or the compressed file."""
        expected = None if served is None else served.download or served.expected
        return self.graph.add_web(
            url,
            name=PurePosixPath(urlsplit(url).path).name or url,
            encodingFormat=media_type(url),
            contentSize=str(expected.bytes) if expected and expected.bytes else None,
            sha256=expected.sha256 if expected else None,
            md5=expected.md5 if expected else None,
            license=licence,
        )

    def _served(self, file: dict[str, Any]) -> Source | None:
        """The manifest's entry for what the address of a raw file serves."""
        try:
            editions = self.graph.contents.manifest[file["dataset"]].editions
        except DataError:
            return None
        sources = [source for edition in editions for source in (*edition.files, *edition.archives.values())]
        return next((source for source in sources if file["url"] in source.urls), None)

    def _licence(self, dataset: str) -> Entity | None:
        try:
            entry = self.graph.contents.manifest[dataset]
        except DataError:
            return None
        description = f"Of the data set {entry.title}. Cite: {entry.citation}"
        return self.graph.add(f"#licence/{dataset}", "CreativeWork", name=entry.licence, description=description)

    def _requested(self, run: dict[str, Any], body: dict[str, Any]) -> list[Entity]:
        """Spec and seed; and the config, if it still gives the same spec."""
        seed, spec = body["spec"]["seed"], body["spec"]
        values = [
            self.graph.add_value(f"#seed/{seed}", "seed", seed, exampleOfWork=self.graph.example("seed")),
            self.graph.add_value(
                f"#spec/{run['spec_digest']}",
                "spec",
                canonical(spec).decode(),
                identifier=run["spec_digest"],
                exampleOfWork=self.graph.example("spec"),
            ),
        ]
        try:
            is_same = digest(self.config.resolve(run["run"])) == run["spec_digest"]
        except ConfigError:
            is_same = False
        return values + (self.graph.files(self.config.files_of(run["run"])) if is_same else [])

    # --- its costs, and where it ran ---

    def _usage(self, run: dict[str, Any], name: str) -> list[Entity]:
        return [
            self.graph.add_value(f"#usage/{name}/{field}", title, run[field], propertyID=field, unitCode=unit)
            for field, (title, unit) in USAGE.items()
            if run.get(field) is not None
        ]

    def _circumstances(self, run: dict[str, Any]) -> list[Entity]:
        device, git, lock = run["device"], run["git"], run["environment"]["lock_digest"]
        text = f"{device['name']} ({device['kind']}, {device['precision']})"
        values = [self.graph.add_value(f"#device/{quote(text)}", "device", text)]
        if git["commit"]:
            state = " with changes" if git["dirty"] else ""
            values.append(
                self.graph.add_value(f"#commit/{git['commit']}{quote(state)}", "git commit", git["commit"] + state)
            )
        if lock:
            values.append(self.graph.add_value(f"#lock/{lock}", "sha256 of the lock", lock))
        return values


def _beside(path: str, name: str) -> str:
    return PurePosixPath(path).with_name(name).as_posix()


def _description(body: dict[str, Any], attested: str) -> str:
    """How the run ended, and what is attested of the code since."""
    end = f"Trained to its end, {body['steps']} steps."
    if body["status"] == "diverged":
        because = body.get("diverged_because") or "the loss was not finite"
        end = f"Diverged: {because} at step {body['diverged_at_step']}. This counts as a result, without a score."
    if (prefix := body.get("prefix")) and prefix["reused"]:
        end += f" Stages trained by {prefix['run']}: {prefix['stages']} of {prefix['of']}."
    end += "".join(f" Of these, {words}." for words in lineage.begun(body))
    return f"{end} The code has changed since; {attested}." if attested else end


def _program_description(code: dict[str, Any], changed: list[str], foreign: list[str]) -> str:
    """How many source files, which of them have changed since, and which are of other packages and not packed."""
    files = f"Engine, method, loss, model and reader: {code['files']} source files"
    if foreign:
        files += f", of which those of other packages are not packed: {', '.join(foreign)}"
    if not changed:
        return f"{files}, all packed and unchanged." if not foreign else f"{files}; the others are unchanged."
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return f"{files}. Changed since, apart from comments: {', '.join(changed[:SHOWN])}{more}."
