"""Building the crate: root, files, training runs, figures, scorecard, and the workflow that connects them.

The workflow is the main entity. Its tools are the programs that trained (one for each digest of code and set of
versions), rendered and scored; each use of a tool is an action that names its inputs and outputs. The crate states only
what records, receipts and files state: a figure has no time, because none of them holds one.
"""

import re
import sys
from typing import Any
from urllib.parse import quote

from rocrate.model import Entity
from rocrate.rocrate import ROCrate

from reweigh.config.loading import load
from reweigh.config.names import ArtifactName
from reweigh.errors import ConfigError
from reweigh.provenance.crate.contents import LOCK, WORKFLOW, Contents, Output
from reweigh.provenance.crate.graph import BIOSCHEMAS, COMPLETED, PROFILES, Graph, moment, tidy
from reweigh.provenance.crate.runs import Runs

STEPS = {
    "train": "Train every method, ratio and seed; each run leaves a record.",
    "render": "Render each figure and table from its records, with its notebook.",
    "score": "Compare the records with the published numbers and decide the claims.",
}
SNAKEMAKE = "https://snakemake.readthedocs.io"


def build(contents: Contents) -> ROCrate:
    """The crate of `contents`, ready to be written; files are copied when it is."""
    graph = Graph(contents)
    _describe_root(graph)
    _add_files(graph)
    runs = Runs(graph)
    done = {
        "train": [runs.add(body) for body in _with_progress(contents.records.values(), "runs")],
        "render": [_add_rendering(graph, artifact) for artifact in contents.artifacts],
        "score": [_add_scoring(graph, contents.scorecard)] if contents.scorecard else [],
    }
    _add_steps(graph, {name: actions for name, actions in done.items() if actions}, list(runs.raw.values()))
    return graph.crate


def _with_progress(items: Any, title: str) -> Any:
    """The same items, with a progress bar on a terminal if they take more than a second."""
    from tqdm import tqdm

    return tqdm(items, desc=title, unit="", disable=None, delay=1, leave=False, file=sys.stderr)


# --- root and files --------------------------------------------------------------------------------------------------


def _describe_root(graph: Graph) -> None:
    contents, cited = graph.contents, graph.contents.citation
    bodies = contents.records.values()
    diverged = sum(body["status"] == "diverged" for body in bodies)
    home = cited.get("repository-code") or cited.get("url")
    graph.authors = [_author(graph, author, home) for author in cited["authors"]]
    licence = graph.add(
        f"https://spdx.org/licenses/{cited['license']}",
        "CreativeWork",
        name=cited["license"],
        description="Of everything that is packed; the text is in LICENSE. Raw data have licences of their own.",
    )
    properties = {
        "name": f"{cited['title']}; what has been run at scale {contents.scale}",
        "description": (
            f"{len(bodies)} training runs with their records, {diverged} of them diverged; {len(contents.artifacts)} "
            "figures and tables rendered from them; workflow, code, configuration and the lock of the environment. "
            "Raw data are named by address and sha256 and not packed; a split is named by its digest and can be drawn "
            "again from them with its seed."
        ),
        "datePublished": max(body["ended"] for body in bodies)[:10],
        "identifier": contents.name,
        "version": str(cited["version"]),
        "keywords": ", ".join(cited.get("keywords", ())),
        "license": licence,
        "author": graph.authors,
        "publisher": graph.authors[0],
        "citation": [_paper(graph, reference) for reference in cited.get("references", ())],
        "conformsTo": [
            graph.add(url, "CreativeWork", name=name, version=url.rpartition("/")[2]) for url, name in PROFILES.items()
        ],
    }
    for name, value in tidy(properties).items():
        graph.crate.root_dataset[name] = value


def _author(graph: Graph, author: dict[str, Any], home: str | None) -> Entity:
    """An author of CITATION.cff: a person has a family name, an organisation a name."""
    if "name" in author:
        return graph.add("#authors", "Organization", name=author["name"], url=author.get("website", home))
    name = f"{author.get('given-names', '')} {author['family-names']}".strip()
    identity = author.get("orcid", f"#author/{quote(name)}")
    return graph.add(identity, "Person", name=name, affiliation=author.get("affiliation"))


def _paper(graph: Graph, reference: dict[str, Any]) -> Entity:
    """A reference of CITATION.cff."""
    title = reference["title"]
    address = reference.get("url", f"#paper/{quote(title)}")
    if "doi" in reference:
        address = f"https://doi.org/{reference['doi']}"
    year = str(reference["year"]) if "year" in reference else None
    return graph.add(address, "ScholarlyArticle", name=title, datePublished=year)


def _add_files(graph: Graph) -> None:
    """Add every packed file; one that a program reads or writes is an example of that parameter."""
    contents = graph.contents
    roles = {name: "figure" for artifact in contents.artifacts for name in artifact.files}
    if contents.scorecard:
        roles |= dict.fromkeys(contents.scorecard.files, "scorecard")
    for path in _with_progress(contents.files, "files"):
        role = roles.get(path) or _role(path)
        properties: dict[str, Any] = {"exampleOfWork": graph.example(role)} if role else {}
        if path == "README.md":
            properties["about"] = graph.crate.root_dataset
        if path == LOCK:
            properties["description"] = "The environment: every package at its version, for pip."
        if path == WORKFLOW:
            properties |= _workflow_properties(graph)
        graph.add_file(path, **properties)


def _role(path: str) -> str | None:
    """The parameter that a file is an example of, by its path."""
    for pattern, role in (
        (r"config/.*\.yaml", "config"),
        (r"data/local/.*\.yaml", "config"),
        (r"data/published/.*", "published"),
        (r"notebooks/.*\.ipynb", "notebook"),
        (r"results/.*/seed\d+\.json", "record"),
        (r"results/.*/seed\d+\.npz", "trace"),
    ):
        if re.fullmatch(pattern, path):
            return role
    return None


# --- figures and scorecard -------------------------------------------------------------------------------------------


def _add_rendering(graph: Graph, artifact: Output) -> Entity:
    """The program that rendered one figure or table, and its rendering."""
    name = ArtifactName.parse(artifact.stem)
    notebook = _notebook(graph, name)
    tool = _tool(
        graph,
        artifact,
        f"#program/render/{name.paper}/{quote(name.name)}",
        name=f"reweigh render {artifact.stem}",
        description="Executes the notebook, which draws the picture and writes every number in it.",
        url=graph.files([notebook]),
        input=[graph.example(parameter) for parameter in ("record", "published", "notebook", "config")],
        output=graph.example("figure"),
    )
    return graph.act(
        f"#render/{quote(artifact.stem)}",
        name=f"Rendering of {artifact.stem}",
        description=_origin(graph, artifact),
        instrument=tool,
        object=_sources(graph, artifact) or graph.files([notebook]),
        result=graph.files(artifact.files),
    )


def _notebook(graph: Graph, name: ArtifactName) -> str:
    """The notebook that renders an artifact: the config's, or the one of its name where the config has it no more."""
    try:
        return load(graph.contents.root).artifact(name.paper, name.name).notebook
    except ConfigError:
        return f"notebooks/{name.paper}/{name.name}.ipynb"


def _add_scoring(graph: Graph, scorecard: Output) -> Entity:
    """The program that scored, and its run."""
    tool = _tool(
        graph,
        scorecard,
        "#program/score",
        name="reweigh scorecard",
        description="Gives every published number and every claim a verdict, by rules declared before any run.",
        url=graph.files(["src/reweigh/scorecard/__init__.py"]),
        input=[graph.example(parameter) for parameter in ("record", "published", "config")],
        output=graph.example("scorecard"),
    )
    return graph.act(
        f"#score/{graph.contents.scale}",
        name=f"Scorecard of scale {graph.contents.scale}",
        description=_origin(graph, scorecard),
        instrument=tool,
        object=_sources(graph, scorecard),
        result=graph.files(scorecard.files),
    )


def _tool(graph: Graph, output: Output, identity: str, /, **properties: Any) -> Entity:
    """The program that made an output: the digest of its code and the versions of its libraries, by the receipt."""
    rendering = output.receipt.get("rendering", "")
    return graph.add(
        f"{identity}/{rendering[:12] or 'unknown'}",
        "SoftwareApplication",
        softwareVersion=f"rendering {rendering[:12]}" if rendering else None,
        identifier=rendering,
        softwareRequirements=[graph.library(*version) for version in output.receipt.get("environment", {}).items()],
        **properties,
    )


def _sources(graph: Graph, output: Output) -> list[Entity]:
    """The records and other files that an output was made from, as far as the packed ones are the same."""
    packed = graph.contents.records
    runs = [entry["run"] for entry in output.receipt.get("records", ())] if _is_current(graph, output) else []
    inputs = output.receipt.get("inputs", {}).items()
    same = [path for path, stated in inputs if any(file["sha256"] == stated for file in graph.files([path]))]
    return graph.files([*(f"results/{run}.json" for run in runs if run in packed), *same])


def _is_current(graph: Graph, output: Output) -> bool:
    """Whether an output was made from records that are packed."""
    packed, named = graph.contents.records, output.receipt.get("records", ())
    return all(entry["run"] in packed and packed[entry["run"]]["digest"] == entry["digest"] for entry in named)


def _origin(graph: Graph, output: Output) -> str:
    """What an output was made from, in a sentence."""
    if not output.receipt:
        return "There is no receipt of what it was made from."
    if not _is_current(graph, output):
        return "Made from other records than those that are packed; make it again."
    count = len(output.receipt["records"])
    return f"Made from exactly {count} of the records that are packed." if count else "Made without records."


# --- the workflow ----------------------------------------------------------------------------------------------------


def _workflow_properties(graph: Graph) -> dict[str, Any]:
    return {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "Reweigh: from raw bytes to figures and verdicts",
        "description": "config/ says what to make, workflow/rules/ has the steps, and src/reweigh/ their programs.",
        "version": str(graph.contents.citation["version"]),
        "url": {"@id": WORKFLOW},
        "license": graph.crate.root_dataset["license"],
        "creator": graph.authors,
        "conformsTo": {"@id": f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"},
        "input": [graph.example(parameter) for parameter in ("raw", "config", "published", "notebook")],
        "output": [graph.example(parameter) for parameter in ("record", "trace", "figure", "scorecard")],
    }


def _add_steps(graph: Graph, done: dict[str, list[Entity]], raw: list[Entity]) -> None:
    """Add the workflow's steps with their actions, the run of the workflow, and the engine that orchestrates it."""
    workflow = graph.crate.mainEntity
    steps, tools, controls = [], [], []
    for place, (name, actions) in enumerate(done.items(), 1):
        used = list({action["instrument"].id: action["instrument"] for action in actions}.values())
        step = graph.add(
            f"#step/{name}", "HowToStep", name=name, description=STEPS[name], position=str(place), workExample=used
        )
        steps.append(step)
        tools += used
        controls += [
            graph.add(
                f"#order/{action.id[1:]}",
                "ControlAction",
                name=f"{name}: {action['name']}",
                instrument=step,
                object=action,
            )
            for action in actions
        ]
    for name, value in tidy({"hasPart": tools, "step": steps}).items():
        workflow[name] = value
    run = _add_workflow_run(graph, workflow, raw)
    version = graph.contents.pins.get("snakemake")
    engine = graph.add(
        f"https://pypi.org/project/snakemake/{version}/",
        "SoftwareApplication",
        name="Snakemake",
        description="At the version that the lock of this project names.",
        softwareVersion=version,
        url=SNAKEMAKE,
    )
    graph.add(
        f"#snakemake/{graph.contents.scale}",
        "OrganizeAction",
        name=f"Snakemake at scale {graph.contents.scale}",
        description="The steps of the workflow. A run may also have been started by hand, with reweigh train.",
        agent=graph.authors,
        instrument=engine,
        object=controls,
        result=run,
        actionStatus=COMPLETED,
    )


def _add_workflow_run(graph: Graph, workflow: Entity, raw: list[Entity]) -> Entity:
    contents = graph.contents
    bodies = contents.records.values()
    inputs = [path for path in contents.files if _role(path) in ("config", "published", "notebook")]
    outputs = [path for path in contents.files if _role(path) in ("record", "trace")]
    outputs += [name for artifact in contents.artifacts for name in artifact.files]
    outputs += contents.scorecard.files if contents.scorecard else ()
    return graph.act(
        f"#workflow-run/{contents.scale}",
        name=f"The workflow at scale {contents.scale}",
        description="From the start of the first run to the end of the last one; figures and scorecard came after.",
        instrument=workflow,
        object=[*raw, *graph.files(inputs)],
        result=graph.files(outputs),
        startTime=moment(min(body["started"] for body in bodies)),
        endTime=moment(max(body["ended"] for body in bodies)),
    )
