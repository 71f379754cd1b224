"""A chain as a tree on the terminal: what several runs share is shown once, and digests are cut to twelve characters.

Only the sha256 of raw and published files are shown in full, to be compared with the digests of other sources.
"""

from typing import Any

from reweigh import terminal
from reweigh.records import lineage

Node = Any  # a branch of rich's tree, which is imported only to print
HEAD = ("mean", "sd", "low", "high", "n", "difference", "gain", "effect", "p", "p_holm", "published", "verdict")
WIDE = 400  # characters of a line where stdout is a file or a pipe, which have no width


def show(tree: dict[str, Any]) -> None:
    """Print a chain as a tree."""
    terminal.console(wide=WIDE, highlight=False).print(as_tree(tree))


def as_tree(tree: dict[str, Any]) -> Node:
    """A chain, as `explain` returns it, as a tree of rich. A fault is its first line, with what to do."""
    from rich.text import Text
    from rich.tree import Tree

    head = Text.assemble((f"AT FAULT: {terminal.harmless(tree['fault'])}\n", "bold red")) if tree["fault"] else Text()
    head.append(terminal.harmless(tree["file"]), "bold").append(
        f" sha256 {_short(tree['sha256'])}" if tree["sha256"] else " (does not exist)"
    )
    if made := tree.get("receipt"):
        versions = ", ".join(f"{name} {version}" for name, version in made["environment"].items())
        head.append(f", made by code {_short(made['rendering'])} with {versions}")
    top, shown = Tree(head), set[str]()
    if tree["kind"] == "table":
        for cell in tree["cells"]:
            _add_cell(_add(top, _headline(cell)), cell, shown)
    elif tree["kind"] == "raw":
        _add(top, f"{tree['what']} of {tree['dataset']}: sha256 {tree['stated_sha256'] or 'unknown'}, {_url(tree)}")
        cells = tree["used_by"]
        users = _add(top, f"named by the records of {len(cells)} cells" if cells else "no record names it")
        for cell in cells:
            _add(users, cell)
    else:
        for run in tree["runs"]:
            _add_run(top, run, shown)
    return top


def _add(branch: Node, text: str) -> Node:
    from rich.text import Text

    return branch.add(Text(terminal.harmless(text)))


def _headline(cell: dict[str, Any]) -> str:
    """What the line is about, and its numbers, or the one that was asked for."""
    line, column = cell["line"], cell.get("column")
    name = line.get("title") or line.get("id") or line.get("contender") or line.get("method", "")
    place = " ".join(filter(None, (line.get("experiment"), line.get("setting"))))
    epoch = f" after epoch {line['epoch']}" if line.get("epoch") else ""
    metric = line.get("metric", line.get("group", "")).replace("_", " ")
    keys = HEAD if column is None else (column,)
    numbers = ", ".join(f"{key} {line[key]}" for key in keys if key in line)
    fields = ((key, field["value"]) for key, field in cell["columns"].items() if key not in ("value", "rounds"))
    numbers = numbers or ", ".join(f"{key} {value}" for key, value in fields)
    return f"{', '.join(filter(None, (name, place, f'{metric}{epoch}')))}: {numbers or 'no number'}"


def _add_cell(branch: Node, cell: dict[str, Any], shown: set[str]) -> None:
    """Add the evidence of one line, part by part."""
    if (column := cell.get("column")) in cell["columns"]:
        _add(branch, f"{column}: {cell['columns'][column]['how']}")
    _add(branch, cell["check"])
    if "reason" in cell and cell["reason"] not in cell["check"]:
        _add(branch, f"not run: {cell['reason']}")
    if "measured" in cell:
        _add(branch, cell["measured"])
    if "claim" in cell:
        _add_claim(branch, cell)
    for run in cell["runs"]:
        _add_run(branch, run, shown)
    if cell.get("baseline"):
        plain = _add(branch, "the runs of plain training" if column else _gain(cell["line"]))
        for run in cell["baseline"]:
            _add_run(plain, run, shown)
    for part, what in (("published", "published"), ("published_baseline", "published, plain training")):
        if part in cell:
            _add_published(branch, cell[part], what)
    if "formula" in cell:
        _add_formula(branch, cell["formula"])
    elif "config" in cell and (column or not cell["runs"]) and "published" not in cell:
        _add(branch, f"names and values by {_config(cell['config'])}")


def _gain(line: dict[str, str]) -> str:
    ends = f" [{line['gain_low']}, {line['gain_high']}]" if "gain_low" in line else ""
    return f"gain over plain training, seed by seed: {line.get('gain', 'no seed in common')}{ends}"


def _add_claim(branch: Node, cell: dict[str, Any]) -> None:
    claim, family = cell["claim"], cell.get("family", [])
    node = _add(branch, f"claim {claim['id']} ({claim['where']}): {claim['text']}")
    _add(node, f"rule: {claim['rule']} (test {claim['test']}, margin {claim['margin']:g})")
    _add(node, _config(claim))
    if tested := [member for member in family if member["p"] is not None]:
        values = ", ".join(f"{member['id']} {member['p']:g} (line {member['line']})" for member in tested)
        _add(node, f"p corrected among {len(tested)} tested claims of the paper: {values}")


def _add_published(branch: Node, fact: dict[str, Any], what: str) -> None:
    printed = fact["says"]
    sd = f" ± {printed['std']}" if "std" in printed else ""
    cell = ", ".join(printed[key] for key in ("dataset", "setting", "method") if key in printed)
    judged = f"; not judged: {fact['not_judged']}" if fact["not_judged"] else ""
    number = printed.get("mean", "no number")
    node = _add(branch, f"{what}: {number}{sd} ({printed['metric']}; {fact['table']}: {cell}{judged})")
    _add(node, f"{fact['file']}, line {fact['line']}, sha256 {fact['sha256']}")
    _add(node, f"{fact['paper']}, {fact['url']}")


def _add_formula(branch: Node, formula: dict[str, Any]) -> None:
    node = _add(branch, formula["how"])
    _add(node, f"{formula['key']} in {_config(formula)}")
    _add(node, f"code {formula['code']['file']}, today's digest {_short(formula['code']['digest'])}")
    for file in formula["raw"]:
        _add(node, _raw_file(file))


def _config(source: dict[str, Any]) -> str:
    place = f"{source['file']}, line {source['line']}"
    return f"{place}, sha256 {source['sha256']}, of {source['paper']}, {source['url']}"


# --- runs ------------------------------------------------------------------------------------------------------------


def _add_run(branch: Node, run: dict[str, Any], shown: set[str]) -> None:
    """Add one run: its value, record, what made it, split and raw files; what was shown before is not repeated."""
    if "digest" not in run:
        _add(branch, f"{run['run']}: {run['state']}")
        return
    value = "" if run["value"] is None else f" = {run['value']:.6g}"
    if run["run"] in shown:
        _add(branch, f"{run['run']}{value}, as above")
        return
    metric = f"{run['metric']}, " if "metric" in run else ""
    node = _add(branch, f"{run['run']}{value} ({metric}{run['status']})")
    digests = f"digest {_short(run['digest'])}, spec {_short(run['spec_digest'])}"
    _add(node, f"record {run['record']}, intact, {digests}")
    if (made := _made(run)) not in shown:
        _add(node, made)
    split = run["split"]
    sizes = ", ".join(f"{part} {sum(counts)} {counts}" for part, counts in split["sizes"].items() if sum(counts))
    place = _add(node, f"split {split['path']}, digest {_short(split['digest'])}, seed {split['seed']}: {sizes}")
    files = [_raw_file(file) for file in run["raw"]]
    if (everything := "".join(files)) in shown:
        _add(place, "from the same raw files, read and trained as above")
    else:
        for text in files:
            _add(place, text)
    shown |= {run["run"], made, everything}


def _raw_file(file: dict[str, Any]) -> str:
    what = f"{file['name']} ({file['dataset']}, {file['what']})"
    source = "which lay there" if file["source"] == "present" else f"taken from {file['source']}"
    return f"{what}, sha256 {file['sha256']}, {source}, {_url(file)}"


def _url(file: dict[str, Any]) -> str:
    if file["url"]:
        return str(file["url"])
    return f"no address of its own; see {file['homepage']}" if file.get("homepage") else "no public address"


def _made(run: dict[str, Any]) -> str:
    """In one line, what made the run: code, commit, versions, device."""
    commit, changed = run["git"]["commit"], run["code"]["changed_since"]
    since = run["code"]["attested"] or (f"changed since: {', '.join(changed)}" if changed else "as today")
    code = f"code {_short(run['code']['digest'])} ({run['code']['files']} files, {since})"
    git = f"commit {_short(commit)}{' with changes' if run['git']['dirty'] else ''}" if commit else "no commit"
    versions = f"Python {run['environment']['python']}, torch {run['environment']['torch']}"
    return f"{code}, {git}, {versions}, {run['device']['name']} ({run['device']['precision']}){_taken_over(run)}"


def _taken_over(run: dict[str, Any]) -> str:
    """Whose training the first stages of a run are, or all of them, and who began the rest; "" if all is its own."""
    prefix, begun = run.get("prefix"), "".join(f", {words}" for words in lineage.begun(run))
    if not prefix or not prefix["reused"]:
        return begun
    stages = "all" if prefix["stages"] == prefix["of"] else f"the first {prefix['stages']} of {prefix['of']} stages"
    return f", {stages} as trained by {prefix['run']}{begun}"


def _short(digest: str) -> str:
    return digest[:12]
