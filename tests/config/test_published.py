"""Files of published numbers that cannot be right are refused with file, line and remedy, before any job."""

import codecs
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.config_files import replace
from support.project import ROOT

from reweigh.analysis.published import published as numbers_of
from reweigh.config import published
from reweigh.config.loading import load
from reweigh.data.catalogue import Manifest
from reweigh.errors import ConfigError

FILE = "data/published/tdr.csv"
GOOD = "TDR,Table3,Adult,model=MLP-120-84-2;test=sex-balanced,NoReweighting,test_accuracy,0.7511,NA"


@pytest.fixture
def with_numbers(tdr_project):
    """A project of its own with the published numbers of TDR."""
    path = tdr_project / FILE
    if path.parent.is_symlink():
        path.parent.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / FILE, path)
    return tdr_project


def test_stand_ins_are_editions_of_the_manifest():
    config, manifest = load(ROOT), Manifest.load(ROOT / "data/manifest.yaml")
    known = {edition.name for entry in manifest.datasets.values() for edition in entry.editions}
    for paper in config.papers.values():
        assert set(paper.published.stand_ins if paper.published else ()) <= known


REFUSED = {
    "a percentage as a fraction": (
        GOOD.replace("0.7511", "75.11"),
        "mean 75.11: a test accuracy lies between 0 and 1; test_accuracy_pct is the metric for per cent",
    ),
    "a percentage beyond 100": (
        GOOD.replace("test_accuracy,0.7511", "test_accuracy_pct,175.11"),
        "mean 175.11 %: a test accuracy lies between 0 and 1",
    ),
    "an unknown metric": (
        GOOD.replace("test_accuracy", "test_acuracy"),
        "unknown metric 'test_acuracy'; did you mean 'test_accuracy'?",
    ),
    "a metric that nothing is judged by": (
        GOOD.replace("test_accuracy", "class_weights"),
        "no value of class_weights is better than another, so that none can be judged",
    ),
    "a negative sd": (GOOD.replace(",NA", ",-0.01"), "std -0.01: a standard deviation is not negative; read it again"),
    "an sd beyond the range": (GOOD.replace(",NA", ",1.8"), "std 1.8: more than test_accuracy can scatter"),
    "an sd without a mean": (GOOD.replace("0.7511,NA", "NA,0.01"), "std 0.01 without a mean; write the mean, or NA"),
    "a mean that is no number": (GOOD.replace("0.7511", "0,75"), "not one value for each column"),
    "a word": (GOOD.replace("0.7511", "high"), "mean 'high' is no number; write one, or NA"),
    "an infinite mean": (GOOD.replace("0.7511", "inf"), "mean inf: a test accuracy lies between 0 and 1"),
    "the same number twice": (f"{GOOD}\n{GOOD.replace('0.7511', '0.7611')}", "stands in line 41 too; keep one of them"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_when_the_config_is_loaded(with_numbers, what):
    path, (new, said) = with_numbers / FILE, REFUSED[what]
    text = path.read_text()
    assert GOOD in text
    line = text[: text.index(GOOD)].count("\n") + 1 + new.count("\n")
    path.write_text(text.replace(GOOD, new))
    with pytest.raises(ConfigError) as refused:
        load(with_numbers)
    assert str(refused.value).startswith(f"{FILE}:{line}: ")
    assert said.replace("line 41", f"line {line - 1}") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_baseline_is_a_method(with_numbers):
    path = with_numbers / "config/papers/tdr/paper.yaml"
    path.write_text(path.read_text() + "\nbaseline: nonee\n")
    with pytest.raises(ConfigError, match=r"paper\.yaml:\d+: baseline: .*nonee.*did you mean 'none'"):
        load(with_numbers)


def test_a_missing_column_is_named(with_numbers):
    path = with_numbers / FILE
    path.write_text(path.read_text().replace(",metric,", ",metrik,", 1))
    with pytest.raises(ConfigError, match=r"tdr\.csv:1: no column 'metric'; the columns are paper,"):
        load(with_numbers)


NOT_A_CSV = {
    "another encoding": (GOOD.replace("TDR", "TDRé").encode("latin-1"), "{line}: not UTF-8; save it as UTF-8"),
    "a cell without end": (GOOD.replace("TDR", "T" * 200_000).encode(), "{line}: not a line of a csv (field larger"),
    "a byte order mark": (GOOD.encode(), "1: begins with a byte order mark; save it as UTF-8 without one"),
}


@pytest.mark.parametrize("what", NOT_A_CSV)
def test_what_is_no_csv_in_utf_8_is_said_with_its_line(with_numbers, what):
    path, (new, said) = with_numbers / FILE, NOT_A_CSV[what]
    content = path.read_bytes()
    line = content[: content.index(GOOD.encode())].count(b"\n") + 1
    mark = codecs.BOM_UTF8 if "mark" in what else b""
    path.write_bytes(mark + content.replace(GOOD.encode(), new))
    with pytest.raises(ConfigError) as refused:
        load(with_numbers)
    assert str(refused.value).startswith(f"{FILE}:{said.format(line=line)}") and "\n" not in str(refused.value)


def test_a_changed_file_is_checked_again(with_numbers):
    load(with_numbers)
    path = with_numbers / FILE
    path.write_text(path.read_text().replace(GOOD, GOOD.replace("0.7511", "75.11")))
    with pytest.raises(ConfigError, match="lies between 0 and 1"):
        load(with_numbers)


def test_a_printed_metric_maps_only_to_one_that_is_judged_as_it_is(with_numbers):
    where = "  methods: { TDR: tdr, ExampleReweighting: er"
    replace(with_numbers, where, f"  metrics: {{ balanced_error_pct: balanced_accuracy }}\n{where}")
    with pytest.raises(
        ConfigError, match=r"published.yaml:\d+: .*balanced_accuracy is judged otherwise than balanced_e"
    ):
        load(with_numbers)
    replace(with_numbers, "balanced_error_pct: balanced_accuracy", "top1_acc_pct: tets_accuracy")
    with pytest.raises(ConfigError, match="unknown metric 'tets_accuracy'; did you mean 'test_accuracy'"):
        load(with_numbers)


def test_a_claim_about_an_unknown_metric_is_refused(with_numbers):
    replace(with_numbers, "    metric: minority_recall", "    metric: minority_recal", "config/papers/tdr/claims")
    with pytest.raises(
        ConfigError, match=r"claims/mnist-figures.yaml:\d+: claim .*unknown metric 'minority_recal'; did you mean 'min"
    ):
        load(with_numbers)


@given(st.floats(0, 100).map(lambda value: round(value, 2)), st.floats(0, 20).map(lambda value: round(value, 2)))
def test_per_cent_become_fractions(tmp_path_factory, mean, sd):
    root = tmp_path_factory.mktemp("published")
    (root / "p.csv").write_text(",".join(published.COLUMNS) + f"\nP,Table1,D,S,M,balanced_error_pct,{mean},{sd}\n")
    [row] = published.read(root, "p.csv")
    assert (row["mean"], row["std"]) == (mean, sd)


def test_our_own_files_are_fractions_and_whole():
    for paper, count in (("tdr", 64), ("absgd", 207)):
        rows = numbers_of(load(ROOT), paper)
        assert len(rows) == count and rows["mean"].dropna().between(0, 1).all()
