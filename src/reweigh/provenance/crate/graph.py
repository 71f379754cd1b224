"""The graph of a crate while it is built: entities that are added once, files with digests, the profile's terms.

The profile is Provenance Run Crate 0.5 of Workflow Run RO-Crate, on RO-Crate 1.1:
https://w3id.org/ro/wfrun/provenance/0.5 and https://w3id.org/ro/crate/1.1.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, Entity
from rocrate.rocrate import ROCrate

from reweigh.digest import file_digest
from reweigh.provenance.crate.contents import WORKFLOW, Contents

VERSION = "0.5"
PROFILES = {
    f"https://w3id.org/ro/wfrun/process/{VERSION}": "Process Run Crate",
    f"https://w3id.org/ro/wfrun/workflow/{VERSION}": "Workflow Run Crate",
    f"https://w3id.org/ro/wfrun/provenance/{VERSION}": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = "https://w3id.org/ro/terms/workflow-run#"  # what is used of it is spelled out in the context
BIOSCHEMAS = "https://bioschemas.org/profiles"
COMPLETED = "http://schema.org/CompletedActionStatus"
MEDIA = {
    "": "text/plain", ".cff": "application/yaml", ".css": "text/css", ".csv": "text/csv", ".gz": "application/gzip",
    ".html": "text/html", ".ipynb": "application/x-ipynb+json", ".js": "text/javascript", ".json": "application/json",
    ".lock": "text/plain", ".md": "text/markdown", ".npz": "application/zip", ".pdf": "application/pdf",
    ".png": "image/png", ".py": "text/x-python", ".rst": "text/x-rst", ".smk": "text/x-python",
    ".toml": "application/toml", ".yaml": "application/yaml", ".yml": "application/yaml",
}  # fmt: skip
# The inputs and outputs of programs: name -> type, description.
PARAMETERS = {
    "raw": ("File", "A raw file of a data set."),
    "config": ("File", "What there is to train, to render and to claim."),
    "published": ("File", "The numbers that a paper printed."),
    "notebook": ("File", "The notebook that renders one figure or table."),
    "split": ("Dataset", "The examples to train, guide and test with, drawn from raw files for one seed."),
    "spec": ("Text", "Everything that a run depends on, as canonical JSON."),
    "seed": ("Integer", "The seed of every random stream of a run."),
    "record": ("File", "What a run leaves: metrics, curves, cost, and where they come from."),
    "trace": ("File", "Arrays that a run logged beside its record."),
    "figure": ("File", "A figure or table: picture, numbers, executed notebook, receipt."),
    "scorecard": ("File", "Every published number and claim beside ours, with a verdict."),
}


class Graph:
    """An RO-Crate that is being built. Adding an identity a second time returns the entity that was added first."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_terms |= {name: TERMS + name for name in ("md5", "resourceUsage", "sha256")}
        self.authors: list[Entity] = []
        # Indexed here because the crate's own look-up is linear in its entities.
        self._entities: dict[str, Entity] = {}
        self._packed: dict[str, Entity] = {}

    def files(self, paths: Iterable[str]) -> list[Entity]:
        """The entities of those of these files that are packed."""
        return [self._packed[path] for path in paths if path in self._packed]

    def add(self, identity: str, kind: str, /, **properties: Any) -> Entity:
        """An entity that is no packed file. Properties without a value are left out."""
        if identity not in self._entities:
            entity = ContextEntity(self.crate, identity, properties={"@type": kind, **tidy(properties)})
            self._entities[identity] = self.crate.add(entity)
        return self._entities[identity]

    def add_web(self, url: str, **properties: Any) -> Entity:
        """A file on the web that is part of the crate."""
        is_new = url not in self._entities
        entity = self.add(url, "File", **properties)
        if is_new:
            self.crate.root_dataset.append_to("hasPart", entity)
        return entity

    def add_value(self, identity: str, name: str, value: Any, /, **properties: Any) -> Entity:
        """A named value."""
        return self.add(identity, "PropertyValue", name=name, value=value, **properties)

    def add_file(self, path: str, **properties: Any) -> Entity:
        """A file of the project, packed under its own path, with its sha256 and size in bytes."""
        source = self.contents.root / path
        all_properties = {
            "name": path,
            "contentSize": str(source.stat().st_size),
            "sha256": file_digest(source),
            "encodingFormat": media_type(path),
            **tidy(properties),
        }
        if path == WORKFLOW:
            version = self.contents.pins.get("snakemake")
            language = {"lang": "snakemake", "lang_version": version}
            entity = self.crate.add_workflow(source, path, properties=all_properties, main=True, **language)
        else:
            entity = self.crate.add_file(source, path, properties=all_properties)
        self._packed[path] = entity
        return entity

    def library(self, name: str, version: str) -> Entity:
        """A version of a library, or of Python, identified by its page on the web."""
        release, _, build = version.partition("+")  # the page of torch 2.15.0+cu132 is that of 2.15.0
        page = f"https://pypi.org/project/{name}/{release}/"
        if name == "python":
            page = f"https://www.python.org/downloads/release/python-{release.replace('.', '')}/"
        identity = f"{page}#{build}" if build else page
        return self.add(identity, "SoftwareApplication", name=name, softwareVersion=version, url=page)

    def example(self, name: str) -> Entity:
        """The formal parameter that a thing is an example of."""
        kind, about = PARAMETERS[name]
        return self.add(
            f"#parameter/{name}",
            "FormalParameter",
            name=name,
            description=about,
            additionalType=kind,
            conformsTo={"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"},
        )

    def act(self, identity: str, /, **properties: Any) -> Entity:
        """A completed action, mentioned by the crate's root."""
        action = self.add(identity, "CreateAction", agent=self.authors, actionStatus=COMPLETED, **properties)
        self.crate.root_dataset.append_to("mentions", action)
        return action


def media_type(path: str) -> str:
    """The media type of a file by its ending; application/octet-stream for an unknown one."""
    return MEDIA.get(Path(path).suffix, "application/octet-stream")


def moment(utc: str) -> str:
    """A record's time in the profile's format: `2026-11-21T15:00:42Z` -> `2026-11-21T15:00:42+00:00`."""
    return utc.removesuffix("Z") + "+00:00" if utc.endswith("Z") else utc


def tidy(properties: dict[str, Any]) -> dict[str, Any]:
    """Properties as RO-Crate 1.1 requires them: none without a value, and the only member in place of a list of one."""
    kept = {name: value for name, value in properties.items() if value is not None and value not in ("", [])}
    return {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in kept.items()}
