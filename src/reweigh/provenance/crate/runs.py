"""Training runs in the graph: the program that trained, the split and raw files that it read, what it left and took."""

import functools
from typing import Any
from urllib.parse import quote, urlsplit

from rocrate.model import Entity

from reweigh.config.grid import Config, load
from reweigh.data.catalogue import Source
from reweigh.digest import canonical, digest, source_digest
from reweigh.errors import ConfigError, DataError
from reweigh.provenance.crate.graph import Graph, media_type, moment
from reweigh.records import lineage

UNITS = "https://qudt.org/vocab/unit"
USAGE = {  # what a run took: field of its record -> name, unit
    "seconds": ("wall clock", f"{UNITS}/SEC"),
    "gpu_seconds": ("time on the GPU", f"{UNITS}/SEC"),
    "peak_bytes": ("largest memory held", f"{UNITS}/BYTE"),
    "energy_joules": ("energy of the GPU", f"{UNITS}/J"),
}
SHOWN = 6  # changed files that a program's description names


class Runs:
    """Adds the training runs of a crate, one by one; what they share is added once. `raw` are their raw files."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.raw: dict[str, Entity] = {}
        self.config: Config = load(graph.contents.root)
        self.sources: dict[tuple[str, str], set[str]] = {}  # (name, sha256) -> where runs had it from
        for body in graph.contents.records.values():
            for file in body["raw"]:
                self.sources.setdefault((file["name"], file["sha256"]), set()).add(file["source"])

    def add(self, body: dict[str, Any]) -> Entity:
        """The action that a record tells of."""
        run = lineage.facts(body)
        name = quote(run["run"])
        inputs = [self._split(run), *self._raw(run), *self._asked(run, body)]
        trace = [] if body["trace"] is None else [_beside(run["record"], body["trace"]["file"])]
        return self.graph.act(
            f"#train/{name}",
            name=f"Training of {run['run']}",
            description=_told(body, lineage.attested(body, self.graph.contents.root)),
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
        """What trained: the source files of one digest, with the versions of what they ran on."""
        code, ground = run["code"]["digest"], run["environment"]
        versions = {name: ground[name] for name in ("python", "torch", "numpy")}
        uses = body["spec"]["uses"]
        there, changed = self._sources(body["code"]["files"])
        return self.graph.add(
            f"#program/train/{uses}/{code[:12]}/{digest(versions)[:8]}",
            "SoftwareApplication",
            name=f"reweigh train, method {uses}",
            description=_program_told(run["code"], changed),
            softwareVersion=f"code {code[:12]}",
            identifier=code,
            url=self.graph.files([f"src/reweigh/methods/{uses}.py"]),
            hasPart=there,
            softwareRequirements=[self.graph.library(name, version) for name, version in versions.items()],
            input=[self.graph.example(one) for one in ("split", "raw", "spec", "seed", "config")],
            output=[self.graph.example(one) for one in ("record", "trace")],
        )

    def _sources(self, files: dict[str, str]) -> tuple[list[Entity], list[str]]:
        """Of the source files of a run, those that are packed as they were then, and the names of the others."""
        same = {name: self._digest_now(name) == then for name, then in files.items()}
        there = self.graph.files(f"src/reweigh/{name}" for name, is_same in same.items() if is_same)
        return there, [name for name, is_same in same.items() if not is_same]

    @functools.cache  # noqa: B019 (lives as long as the crate is made)
    def _digest_now(self, name: str) -> str:
        path = self.graph.contents.root / "src/reweigh" / name
        return source_digest(path.read_text()) if path.is_file() else ""

    # --- what it read ---

    def _split(self, run: dict[str, Any]) -> Entity:
        """The split, which its digest names. Its file is packed if it lies where the record says."""
        split = run["split"]
        protocol = split["path"].removeprefix("data/splits/").removesuffix(".npz")
        sizes = ", ".join(f"{part} {sum(counts)}" for part, counts in split["sizes"].items() if sum(counts))
        return self.graph.add(
            f"#split/{quote(protocol)}/{split['digest'][:12]}",
            "Dataset",
            name=f"Split {protocol}",
            description=f"Examples: {sizes}. To draw it again: reweigh split {protocol}",
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
        """A raw file: at its public address if that gives these very bytes, else beside what the address gives."""
        packed = None if file["url"] is None else self._known(file)
        is_itself = packed is not None and packed.sha256 == file["sha256"] and packed.download is None
        licence = self._licence(file["dataset"])
        sources = ", ".join(sorted(self.sources[file["name"], file["sha256"]]))
        address = "" if file["url"] else "; it has no public address"
        said = {
            "name": f"{file['dataset']}/{file['name']}",
            "description": f"Of {file['what']}; runs had it from: {sources}; not packed{address}.",
            "contentSize": str(file["bytes"]),
            "sha256": file["sha256"],
            "license": licence,
            "exampleOfWork": self.graph.example("raw"),
        }
        if is_itself:
            return self.graph.add_web(file["url"], encodingFormat=media_type(file["name"]), **said)
        identifier = f"#raw/{file['dataset']}/{quote(file['name'])}/{file['sha256'][:12]}"
        origin = self._download(file["url"], packed, licence) if file["url"] else None
        return self.graph.add(identifier, "File", encodingFormat="application/octet-stream", isBasedOn=origin, **said)

    def _download(self, url: str, packed: Source | None, licence: Entity | None) -> Entity:
        """What an address gives: an archive, or the file compressed."""
        expected = None if packed is None else packed.download or packed.expected
        return self.graph.add_web(
            url,
            name=urlsplit(url).path.rpartition("/")[2] or url,
            encodingFormat=media_type(url),
            contentSize=str(expected.bytes) if expected and expected.bytes else None,
            sha256=expected.sha256 if expected else None,
            md5=expected.md5 if expected else None,
            license=licence,
        )

    def _known(self, file: dict[str, Any]) -> Source | None:
        """What the manifest says of the bytes that the address of a raw file gives."""
        try:
            editions = self.graph.contents.manifest[file["dataset"]].editions
        except DataError:
            return None
        sources = [one for edition in editions for one in (*edition.files, *edition.archives.values())]
        return next((one for one in sources if file["url"] in one.urls), None)

    def _licence(self, dataset: str) -> Entity | None:
        try:
            entry = self.graph.contents.manifest[dataset]
        except DataError:
            return None
        said = f"Of the data set {entry.title}. Cite: {entry.citation}"
        return self.graph.add(f"#licence/{dataset}", "CreativeWork", name=entry.licence, description=said)

    def _asked(self, run: dict[str, Any], body: dict[str, Any]) -> list[Entity]:
        """Spec and seed; and the config, if it asks for the same now."""
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
            is_asked = digest(self.config.resolve(run["run"])) == run["spec_digest"]
        except ConfigError:
            is_asked = False
        return values + (self.graph.files(self.config.files_of(run["run"])) if is_asked else [])

    # --- what it took, and where ---

    def _usage(self, run: dict[str, Any], name: str) -> list[Entity]:
        return [
            self.graph.add_value(f"#usage/{name}/{field}", said, run[field], propertyID=field, unitCode=unit)
            for field, (said, unit) in USAGE.items()
            if run.get(field) is not None
        ]

    def _circumstances(self, run: dict[str, Any]) -> list[Entity]:
        device, git, lock = run["device"], run["git"], run["environment"]["lock_digest"]
        told = f"{device['name']} ({device['kind']}, {device['precision']})"
        found = [self.graph.add_value(f"#device/{quote(told)}", "device", told)]
        if git["commit"]:
            state = " with changes" if git["dirty"] else ""
            found.append(
                self.graph.add_value(f"#commit/{git['commit']}{quote(state)}", "git commit", git["commit"] + state)
            )
        if lock:
            found.append(self.graph.add_value(f"#lock/{lock}", "sha256 of the lock", lock))
        return found


def _beside(path: str, name: str) -> str:
    return f"{path.rpartition('/')[0]}/{name}"


def _told(body: dict[str, Any], attested: str) -> str:
    told = f"Trained to its end, {body['steps']} steps."
    if body["status"] == "diverged":
        told = f"The loss ceased to be a number at step {body['diverged_at_step']}; that is its result."
    return f"{told} The code has changed since; {attested}." if attested else told


def _program_told(code: dict[str, Any], changed: list[str]) -> str:
    """How many source files, and whether those that are packed are still the same."""
    told = f"Engine, method, loss, model and reader: {code['files']} source files"
    if not changed:
        return f"{told}, all packed as they were."
    more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return f"{told}. Changed since, apart from comments: {', '.join(changed[:SHOWN])}{more}."
