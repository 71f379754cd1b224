"""What decides a verdict and is edited after the runs: found in git, whether it was committed or not, and named."""

import re
import shutil

import pytest
from support import needs, tampering
from support.project import ROOT
from support.tampering import git

from reweigh.provenance.audit import amendments, report
from reweigh.provenance.audit.declared import BELOW, check_declared
from reweigh.provenance.audit.lockfile import LOCK
from reweigh.records import record

CLAIMS = "config/papers/tdr/claims/mnist-figures.yaml"
PUBLISHED = "config/papers/tdr/published.yaml"
LINK = "claims/tdr/accuracy-at-0.005"


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    """A repository with what TDR declares, and records of three runs that name its commit."""
    root = tmp_path_factory.mktemp("declared")
    for name in (*BELOW, "config/amendments.yaml"):
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name == "config/papers":
            shutil.copytree(ROOT / name / "tdr", target / "tdr")
        elif (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target)
        else:
            shutil.copy(ROOT / name, target)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "declared")
    return root


@pytest.fixture
def project(declared, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(declared, root)
    return root


def audited(root, scale="paper", commit=None):
    """The links by name."""
    commit = commit or git(root, "rev-list", "--max-parents=0", "HEAD")
    runs = (f"{scale}/tdr/{cell}/seed0" for cell in ("mnist-4v9/rho0.1/tdr", "mnist-lt/rho0.1/tdr", "adult/sex/tdr"))
    return {link.name: link for link in check_declared({run: {"git": {"commit": commit}} for run in runs}, scale, root)}


def faults(links):
    return {name: link.state for name, link in links.items() if link.state != "intact"}


def edit(name, old, new):
    return lambda root: tampering.replace(root / name, old, new)


def published_number(root):
    tampering.replace(root / "data/published/tdr.csv", "0.9011,0.018", "0.8511,0.018")


def deleted_claim(root):
    path = root / CLAIMS
    text = path.read_text()
    first = re.search(r"  - grid:.*?rule:[^\n]*\n", text, re.DOTALL)
    tampering.write(path, text.replace(first.group(), ""))


def added_claim(root, source="§4.1.1"):
    extra = f"""
  - {{id: easy, text: TDR is right once, source: "{source}", test: below, experiment: mnist-4v9, metric: test_accuracy,
      better: tdr, margin: 1.0, rule: mean below one}}
"""
    tampering.write(root / CLAIMS, (root / CLAIMS).read_text() + extra)


def unscored(root):
    text = (root / "config/config.yaml").read_text()
    tampering.write(root / "config/config.yaml", re.sub(r"papers: \[tdr, ", "papers: [", text))


EXCLUDED = '\n  excluded: [{ table: Table3, method: TDR, reason: "a misprint" }]\n'


def excluded_number(root):
    tampering.write(root / PUBLISHED, (root / PUBLISHED).read_text() + EXCLUDED)


ALWAYS = '"mean paired difference of {r[of]} above 0"'
MNIST = "config/papers/tdr/experiments/mnist.yaml"
STATS, METRICS, VERDICTS = (f"src/reweigh/{name}.py" for name in ("stats", "metrics", "verdicts"))
MUTATIONS = {  # what is changed, the link that says so, and a part of its detail
    "a published number": (published_number, "published/tdr.csv", "mean 0.9011 -> 0.8511"),
    "a claim's margin": (
        edit(CLAIMS, f"rule: {ALWAYS}", f"margin: 0.1\n    rule: {ALWAYS}"),
        LINK,
        "margin None -> 0.1",
    ),
    "a claim's test": (edit(CLAIMS, "test: greater\n", "test: within\n"), LINK, "test greater -> within"),
    "a claim's source": (edit(CLAIMS, "§4.1.1, Fig. 3{", "ours{"), LINK, "source §4.1.1, Fig. 3 -> ours"),
    "a claim's sides": (edit(CLAIMS, 'better: "tdr{v[set]}"', 'better: "tdr"'), LINK, "better tdr_p -> tdr"),
    "a deleted claim": (deleted_claim, LINK, "deleted since the runs (1 record,"),
    "an added claim": (added_claim, "claims/tdr/easy", "added since the runs (1 record,"),
    "a remark": (edit(PUBLISHED, "is about what", "is far from what"), "published/tdr/remarks", "text "),
    "whose runs": (edit(PUBLISHED, "TDR: tdr_p", "TDR: tdr"), "published/tdr/rows", "methods.TDR tdr_p -> tdr"),
    "an excluded number": (excluded_number, "published/tdr/excluded", "added since the runs (3 records,"),
    "a paper that is not scored": (unscored, "papers/tdr", "True -> False"),
    "seeds": (edit(MNIST, "seeds: { value: 5,", "seeds: { value: 4,"), "seeds/tdr/mnist-4v9", "seeds 5 -> 4"),
    "α": (edit(STATS, "ALPHA = 0.05", "ALPHA = 0.10"), f"rules/{STATS}", "ALPHA 0.05 -> 0.1"),
    "τ": (edit(METRICS, "POINT = 0.01", "POINT = 0.02"), f"rules/{METRICS}", "POINT 0.01 -> 0.02"),
    "reach": (edit(VERDICTS, "REACH = 2 ", "REACH = 3 "), f"rules/{VERDICTS}", "REACH 2 -> 3"),
    "another pin": (edit(LOCK, "scipy==", "scipy==0."), "pins/scipy", "changed since the runs (3 records,"),
    "a pin less": (edit(LOCK, "\npandas==", "\n# "), "pins/pandas", "deleted since the runs (3 records,"),
    "a rule's code": (edit(VERDICTS, "if low > stated + tau", "if low > stated"), f"rules/{VERDICTS}", "code "),
}


def test_what_has_not_changed_since_the_runs_is_intact(declared):
    links = audited(declared)
    assert faults(links) == {}
    assert {name.split("/")[0] for name in links} == {"claims", "published", "seeds", "rules", "pins", "papers"}
    assert not any("nexrad" in name or "cifar10" in name for name in links)  # no run is about them


@pytest.mark.parametrize("committed", [False, True], ids=["uncommitted", "committed"])
@pytest.mark.parametrize("name", MUTATIONS)
def test_what_was_edited_after_the_runs_is_named(project, name, committed):
    change, link, said = MUTATIONS[name]
    change(project)
    if committed:
        git(project, "commit", "-q", "-a", "-m", "nothing to see")
    links = audited(project)
    assert links[link].state == "stale", links[link]
    assert said in links[link].detail and "since the runs" in links[link].detail
    assert set(faults(links).values()) == {"stale"} and len(faults(links)) <= 4


def test_cuts_of_the_audited_scale_are_declared_too(project):
    edit(MNIST, "quick:\n        seeds: 3", "quick:\n        seeds: 1")(project)
    assert faults(audited(project)) == {}
    assert audited(project, "quick")["seeds/tdr/mnist-4v9"].detail.count("quick.seeds 3 -> 1")


def test_an_amendment_names_exactly_what_it_is_about(project):
    published_number(project)
    stated = re.search(r"`published/tdr.csv: (\w+)`", audited(project)["published/tdr.csv"].detail)[1]
    ledger = "amendments:\n  - {date: '2026-11-30', why: printed so, of: {published: {tdr.csv: '%s'}}}\n"
    tampering.write(project / amendments.LEDGER, ledger % stated)
    link = audited(project)["published/tdr.csv"]
    assert link.state == "attested" and "0.9011 -> 0.8511 (2026-11-30: printed so)" in link.detail
    tampering.replace(project / "data/published/tdr.csv", "0.8511,0.018", "0.8011,0.018")
    assert faults(audited(project)) == {"published/tdr.csv": "stale"}


def test_a_report_lists_what_was_amended_and_why(project, capsys):
    added_claim(project, "ours, added after the first runs")
    found = report.Report("paper", list(audited(project).values()))
    assert found.exit_code == 0 and list(found.amended) == ["claims/tdr/easy"]
    assert found.as_dict()["amended"]["claims/tdr/easy"].endswith("as its source says")
    report.show(found)
    assert "changed or added after runs that they are about, and said so: claims 1" in capsys.readouterr().out


def test_a_deletion_may_be_amended_too(project):
    deleted_claim(project)
    gone = [name for name, state in faults(audited(project)).items() if state == "stale"]
    of = ", ".join(f"{name}: deleted" for name in gone)
    tampering.write(project / amendments.LEDGER, f"amendments:\n  - {{date: '2026-11-30', why: twice, of: {{{of}}}}}\n")
    assert {*faults(audited(project)).values()} == {"attested"}


def test_a_claim_that_says_it_came_later_needs_no_amendment(project):
    added_claim(project, "ours, added after the first runs")
    assert faults(audited(project)) == {"claims/tdr/easy": "attested"}


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ("amendments: {}\n", "must hold a list"),
        ("amendments:\n  - {date: '2026-11-30', why: ' ', of: {a: b}}\n", "says no reason"),
        ("amendments:\n  - {date: soon, why: so, of: {a: b}}\n", "a day in quotes"),
        ("amendments:\n  - {why: so, of: {a: b}}\n", "must have date"),
        ("amendments:\n  - {date: '2026-11-30', why: so, of: {a: 12}}\n", "in quotes"),
        ("amendments: [\n", "not valid YAML"),
    ],
)
def test_a_ledger_that_cannot_be_read_amends_nothing(project, ledger, said):
    tampering.write(project / amendments.LEDGER, ledger)
    published_number(project)
    links = audited(project)
    assert links[amendments.LEDGER].state == "broken" and said in links[amendments.LEDGER].detail
    assert links["published/tdr.csv"].state == "stale"


def test_what_git_cannot_tell_is_unverifiable(project, tmp_path):
    added = project / "config/papers/tdr/claims/own.yaml"
    text = "{id: easy, text: a, source: b, test: below, experiment: adult, better: tdr, rule: c}"
    added.write_text(f"claims:\n  - {text}\n")
    assert faults(audited(project)) == {"claims/tdr/easy": "unverifiable"}
    added.unlink()
    assert {*faults(audited(project, commit="0" * 40)).values()} == {"unverifiable"}  # a shallow clone lacks it
    shutil.rmtree(project / ".git")
    (link,) = audited(project, commit="0" * 40).values()
    assert link.state == "unverifiable" and "without git" in link.detail


def test_comments_and_layout_change_nothing(project):
    tampering.replace(project / CLAIMS, "# The paper's", "# All of the paper's")
    tampering.replace(project / "src/reweigh/stats.py", "ALPHA = 0.05", "ALPHA = 0.05  # the usual one")
    (project / LOCK).write_text((project / LOCK).read_text() + "one-package-more==1.0\n")
    (project / CLAIMS).rename(project / "config/papers/tdr/claims/renamed.yaml")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "renamed")
    assert faults(audited(project)) == {}


@needs.CLONE
def test_the_true_history_says_what_was_changed_and_why():
    """Every change has its reason, and every amendment is of something that was changed and says what it says now."""
    records = {run: record.read(path) for run, path in record.files_of("paper", ROOT).items()}
    links = list(check_declared(records, "paper", ROOT))
    assert sum(link.state == "intact" for link in links) >= 200
    unknown = [link for link in links if "git does not have" in link.detail]  # in a shallow clone
    assert [link for link in links if link.state not in ("intact", "attested") and link not in unknown] == []
    ledger = amendments.load(ROOT)
    assert len({name for name, _ in ledger}) == len(ledger)
    if not unknown:
        by_source = {link.name for link in links if link.detail.endswith("as its source says")}
        assert {name for name, _ in ledger} == {link.name for link in links if link.state == "attested"} - by_source
