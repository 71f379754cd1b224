"""From what there is to the crate: root, files, training runs, figures, scorecard, and the workflow that ties them.

The workflow is the main entity. Its tools are the programs that trained (one for each digest of code and set of
versions), drew and scored; each use of a tool is an action that names what went in and what came out. Only what
records, receipts and files say is said: a figure has no time, because nothing that is kept holds one.
"""

import re
import sys
from typing import Any
from urllib.parse import quote

from rocrate.model import Entity
from rocrate.rocrate import ROCrate

from reweigh.provenance.crate.contents import LOCK, WORKFLOW, Contents, Drawn
from reweigh.provenance.crate.graph import BIOSCHEMAS, COMPLETED, PROFILES, Graph, moment, tidy
from reweigh.provenance.crate.runs import Runs

STEPS = {
    "train": "Train every method, ratio and seed; each run leaves a record.",
    "render": "Draw each figure and table from its records, by its notebook.",
    "score": "Compare the records with the published numbers and decide the claims.",
}
SNAKEMAKE = "https://snakemake.readthedocs.io"


def build(contents: Contents) -> ROCrate:
    """The crate of `contents`, ready to be written; nothing has been copied yet."""
    graph = Graph(contents)
    _describe_root(graph)
    _add_files(graph)
    runs = Runs(graph)
    done = {
        "train": [runs.add(body) for body in _watched(contents.records.values(), "runs")],
        "render": [_add_rendering(graph, one) for one in contents.artifacts],
        "score": [_add_scoring(graph, contents.scorecard)] if contents.scorecard else [],
    }
    _add_steps(graph, {name: actions for name, actions in done.items() if actions}, list(runs.raw.values()))
    return graph.crate


def _watched(things: Any, what: str) -> Any:
    """The same things, with a bar on a terminal where they take more than a second."""
    from tqdm import tqdm

    return tqdm(things, desc=what, unit="", disable=None, delay=1, leave=False, file=sys.stderr)


# --- root and files --------------------------------------------------------------------------------------------------


def _describe_root(graph: Graph) -> None:
    contents, cited = graph.contents, graph.contents.citation
    bodies = contents.records.values()
    diverged = sum(body["status"] == "diverged" for body in bodies)
    home = cited.get("repository-code") or cited.get("url")
    graph.authors = [_author(graph, one, home) for one in cited["authors"]]
    licence = graph.add(
        f"https://spdx.org/licenses/{cited['license']}",
        "CreativeWork",
        name=cited["license"],
        description="Of everything that is packed; the text is in LICENSE. Raw data have licences of their own.",
    )
    said = {
        "name": f"{cited['title']}; what has been run at scale {contents.scale}",
        "description": (
            f"{len(bodies)} training runs with their records, {diverged} of them diverged; {len(contents.artifacts)} "
            "figures and tables drawn from them; workflow, code, configuration and the lock of the environment. "
            "Raw data are named by address and sha256 and not packed; a split can be drawn again from them, by its "
            "seed, and is named by its digest."
        ),
        "datePublished": max(body["ended"] for body in bodies)[:10],
        "identifier": contents.name,
        "version": str(cited["version"]),
        "keywords": ", ".join(cited.get("keywords", ())),
        "license": licence,
        "author": graph.authors,
        "publisher": graph.authors[0],
        "citation": [_paper(graph, one) for one in cited.get("references", ())],
        "conformsTo": [
            graph.add(url, "CreativeWork", name=name, version=url.rpartition("/")[2]) for url, name in PROFILES.items()
        ],
    }
    for name, value in tidy(said).items():
        graph.crate.root_dataset[name] = value


def _author(graph: Graph, one: dict[str, Any], home: str | None) -> Entity:
    """An author of CITATION.cff: a person has a family name, whatever else has a name is an organisation."""
    if "name" in one:
        return graph.add("#authors", "Organization", name=one["name"], url=one.get("website", home))
    name = f"{one.get('given-names', '')} {one['family-names']}".strip()
    return graph.add(
        one.get("orcid", f"#author/{quote(name)}"), "Person", name=name, affiliation=one.get("affiliation")
    )


def _paper(graph: Graph, one: dict[str, Any]) -> Entity:
    address = f"https://doi.org/{one['doi']}" if "doi" in one else one.get("url", f"#paper/{quote(one['title'])}")
    year = str(one["year"]) if "year" in one else None
    return graph.add(address, "ScholarlyArticle", name=one["title"], datePublished=year)


def _add_files(graph: Graph) -> None:
    """Every file that is packed; one that a program reads or writes is an example of that parameter."""
    contents = graph.contents
    roles = {name: "figure" for one in contents.artifacts for name in one.files}
    if contents.scorecard:
        roles |= dict.fromkeys(contents.scorecard.files, "scorecard")
    for path in _watched(contents.files, "files"):
        role = roles.get(path) or _role(path)
        properties: dict[str, Any] = {"exampleOfWork": graph.example(role)} if role else {}
        if path == "README.md":
            properties["about"] = graph.crate.root_dataset
        if path == LOCK:
            properties["description"] = "The environment: every package at its version, for pip."
        if path == WORKFLOW:
            properties |= _workflow_said(graph)
        graph.add_file(path, **properties)


def _role(path: str) -> str | None:
    """Which parameter a file is an example of, by where it lies."""
    for pattern, role in (
        (r"config/.*\.yaml", "config"),
        (r"data/published/.*", "published"),
        (r"notebooks/.*\.ipynb", "notebook"),
        (r"results/.*/seed\d+\.json", "record"),
        (r"results/.*/seed\d+\.npz", "trace"),
    ):
        if re.fullmatch(pattern, path):
            return role
    return None


# --- figures and scorecard -------------------------------------------------------------------------------------------


def _add_rendering(graph: Graph, drawn: Drawn) -> Entity:
    """What rendered one figure or table, and its rendering."""
    _, _, paper, name = drawn.stem.split("/")
    notebook = f"notebooks/{paper}/{name}.ipynb"
    tool = _tool(
        graph,
        drawn,
        f"#program/render/{paper}/{quote(name)}",
        name=f"reweigh render {drawn.stem}",
        description="Executes the notebook, which draws the picture and writes every number in it.",
        url=graph.files([notebook]),
        input=[graph.example(one) for one in ("record", "published", "notebook", "config")],
        output=graph.example("figure"),
    )
    return graph.act(
        f"#render/{quote(drawn.stem)}",
        name=f"Rendering of {drawn.stem}",
        description=_origin(graph, drawn),
        instrument=tool,
        object=_sources(graph, drawn) or graph.files([notebook]),
        result=graph.files(drawn.files),
    )


def _add_scoring(graph: Graph, drawn: Drawn) -> Entity:
    tool = _tool(
        graph,
        drawn,
        "#program/score",
        name="reweigh scorecard",
        description="Gives every published number and every claim a verdict, by rules declared before any run.",
        url=graph.files(["src/reweigh/scorecard/__init__.py"]),
        input=[graph.example(one) for one in ("record", "published", "config")],
        output=graph.example("scorecard"),
    )
    return graph.act(
        f"#score/{graph.contents.scale}",
        name=f"Scorecard of scale {graph.contents.scale}",
        description=_origin(graph, drawn),
        instrument=tool,
        object=_sources(graph, drawn),
        result=graph.files(drawn.files),
    )


def _tool(graph: Graph, drawn: Drawn, identity: str, **properties: Any) -> Entity:
    """A program that made something: code of one digest, on libraries of certain versions; a receipt names them."""
    rendering = drawn.receipt.get("rendering", "")
    return graph.add(
        f"{identity}/{rendering[:12] or 'unknown'}",
        "SoftwareApplication",
        softwareVersion=f"rendering {rendering[:12]}" if rendering else None,
        identifier=rendering,
        softwareRequirements=[graph.library(*one) for one in drawn.receipt.get("environment", {}).items()],
        **properties,
    )


def _sources(graph: Graph, drawn: Drawn) -> list[Entity]:
    """The records and other files that something was made from, as far as those that are packed are the same."""
    packed = graph.contents.records
    runs = [one["run"] for one in drawn.receipt.get("records", ())] if _is_current(graph, drawn) else []
    inputs = drawn.receipt.get("inputs", {}).items()
    same = [path for path, stated in inputs if any(one["sha256"] == stated for one in graph.files([path]))]
    return graph.files([*(f"results/{run}.json" for run in runs if run in packed), *same])


def _is_current(graph: Graph, drawn: Drawn) -> bool:
    """Whether the records that something was made from are those that are packed."""
    packed, named = graph.contents.records, drawn.receipt.get("records", ())
    return all(one["run"] in packed and packed[one["run"]]["digest"] == one["digest"] for one in named)


def _origin(graph: Graph, drawn: Drawn) -> str:
    if not drawn.receipt:
        return "There is no receipt of what it was made from."
    if not _is_current(graph, drawn):
        return "Made from other records than those that are packed; make it again."
    count = len(drawn.receipt["records"])
    return f"Made from exactly {count} of the records that are packed." if count else "Made without records."


# --- the workflow ----------------------------------------------------------------------------------------------------


def _workflow_said(graph: Graph) -> dict[str, Any]:
    return {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "Reweigh: from raw bytes to figures and verdicts",
        "description": "What there is to make is in config/, what is done in workflow/rules/, how in src/reweigh/.",
        "version": str(graph.contents.citation["version"]),
        "url": {"@id": WORKFLOW},
        "license": graph.crate.root_dataset["license"],
        "creator": graph.authors,
        "conformsTo": {"@id": f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"},
        "input": [graph.example(one) for one in ("raw", "config", "published", "notebook")],
        "output": [graph.example(one) for one in ("record", "trace", "figure", "scorecard")],
    }


def _add_steps(graph: Graph, done: dict[str, list[Entity]], raw: list[Entity]) -> None:
    """The steps of the workflow and what was done in each, the run of the whole, and the engine that orders it."""
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
        description="The steps as the workflow has them; a run may also have been started by hand, with reweigh train.",
        agent=graph.authors,
        instrument=engine,
        object=controls,
        result=run,
        actionStatus=COMPLETED,
    )


def _add_workflow_run(graph: Graph, workflow: Entity, raw: list[Entity]) -> Entity:
    contents = graph.contents
    bodies = contents.records.values()
    given = [path for path in contents.files if _role(path) in ("config", "published", "notebook")]
    made = [path for path in contents.files if _role(path) in ("record", "trace")]
    made += [name for one in contents.artifacts for name in one.files]
    made += contents.scorecard.files if contents.scorecard else ()
    return graph.act(
        f"#workflow-run/{contents.scale}",
        name=f"The workflow at scale {contents.scale}",
        description="From the start of the first run to the end of the last one; figures and scorecard came after.",
        instrument=workflow,
        object=[*raw, *graph.files(given)],
        result=graph.files(made),
        startTime=moment(min(body["started"] for body in bodies)),
        endTime=moment(max(body["ended"] for body in bodies)),
    )
