"""Crates in tests: a small project to pack, what a crate says, and the validator without a network.

The validator asks for the JSON-LD context of RO-Crate 1.1, which is on the web; here it gets the part of it that our
crates use. A word that is not in that part is an error, since for the validator it would be no word at all.
"""

import json
import shutil
import zipfile

from support import tampering
from support.project import ROOT

CONTEXT_URL = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "provenance-run-crate"  # and all that it builds on
SCHEMA_ORG = """
ComputerLanguage ControlAction CreateAction CreativeWork Dataset HowTo HowToStep Organization OrganizeAction Person
PropertyValue ScholarlyArticle SoftwareApplication SoftwareSourceCode about actionStatus additionalProperty
additionalType affiliation agent author citation contentSize creator datePublished description encodingFormat endTime
exampleOfWork hasPart identifier instrument isBasedOn keywords license mainEntity mentions name object position
programmingLanguage propertyID publisher result softwareRequirements softwareVersion startTime step unitCode url value
version workExample
"""
CONTEXT = {word: f"http://schema.org/{word}" for word in SCHEMA_ORG.split()} | {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "File": "http://schema.org/MediaObject",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}


def project(sound, target):
    """A copy of a sound project with what else a crate packs: the workflow, the citation, the source."""
    root = tampering.copy(sound, target)
    shutil.rmtree(root / "workflow")
    for name in ("workflow", "src/reweigh", "profiles"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "CITATION.cff", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    tampering.write(root / tampering.LOCK, (root / tampering.LOCK).read_text() + "snakemake==9.19.0\n")
    return root


def metadata(place):
    """The metadata of a crate, in a folder or a zip."""
    if place.is_dir():
        return json.loads((place / "ro-crate-metadata.json").read_text())
    with zipfile.ZipFile(place) as archive:
        return json.loads(archive.read("ro-crate-metadata.json"))


def graph(place):
    """Its entities by their names."""
    return {one["@id"]: one for one in metadata(place)["@graph"]}


def of_type(entities, kind):
    return [one for one in entities.values() if kind in many(one["@type"])]


def many(value):
    """A property as a list: JSON-LD writes a list of one as its member."""
    return value if isinstance(value, list) else [] if value is None else [value]


def names(value):
    """The names of the entities that a property refers to."""
    return [one["@id"] for one in many(value)]


def words(place):
    """All types and properties that a crate uses, but for those that its own context explains."""
    body = metadata(place)
    url, ours = body["@context"]
    assert url == CONTEXT_URL
    used = {word for one in body["@graph"] for word in (*one, *many(one["@type"])) if not word.startswith("@")}
    return used - set(ours)


def problems(place, monkeypatch, severity="REQUIRED", profile=PROFILE):
    """What the validator finds: `{(severity, check, entity)}`. Whatever it asks of the web but the context fails."""
    import requests
    from rocrate_validator import models, services

    def send(self, request, **options):
        if request.url != CONTEXT_URL:
            raise requests.ConnectionError(f"no network in tests: {request.url}")
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 200, request.url, request
        answer.headers["Content-Type"] = "application/ld+json"
        answer._content = json.dumps({"@context": CONTEXT}).encode()
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    monkeypatch.chdir(place.parent)
    settings = {
        "rocrate_uri": place.name,
        "profile_identifier": profile,
        "requirement_severity": models.Severity[severity],
        "no_cache": True,
    }
    found = services.validate(settings).get_issues()
    return {(one.severity.name, one.check.name, str(one.violatingEntity)) for one in found}
