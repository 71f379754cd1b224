"""Features of the archive's pictures: the network's own, row for row the table; what is missing is named in a line."""

import io
import json
import shutil
import tarfile

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image
from torchvision.transforms import v2

from reweigh.data import features, load, manifest
from reweigh.data.readers import waterbirds, waterbirds_images
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError

SIZES = {"train": (2, 1, 1, 2), "validation": (1, 1, 1, 1), "test": (1, 1, 1, 1)}
# Cell and part of each picture, in an order that is neither the cells' nor the archive's.
ROWS = [(part, cell) for part, name in enumerate(SIZES) for cell in range(4) for _ in range(SIZES[name][cell])][::-1]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(waterbirds, "SIZES", SIZES)
    monkeypatch.setattr(features, "BATCH", 4)  # the last batch is not full


def pictures():
    draw = np.random.default_rng(0)
    for k in range(len(ROWS)):
        height, width = 230 + 7 * k, 300 - 5 * k
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8)).save(stream, "JPEG", quality=95)
        yield f"{k:03}.Bird/bird_{k}.jpg", stream.getvalue()


def table():
    lines = [f"{k + 1},{name},{cell // 2},{part},{cell % 2},/x" for k, ((part, cell), (name, _)) in
             enumerate(zip(ROWS, pictures(), strict=True))]  # fmt: skip
    return "\n".join(["img_id,img_filename,y,split,place,place_filename", *lines, ""]).encode()


def pack(path, contents):
    """The archive: pictures last to first, the table in their midst, as `tar -cz` may have written it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents:
            member = tarfile.TarInfo(f"./{waterbirds_images.FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def contents():
    made = list(pictures())[::-1]
    return [*made[:3], ("metadata.csv", table()), ("README.txt", b"x"), *made[3:]]


@pytest.fixture
def project(tmp_path):
    """A data folder whose manifest names a mirror with a small archive and random weights, and no address."""
    torch.manual_seed(0)
    mirror = tmp_path / "mirror"
    pack(mirror / waterbirds_images.ARCHIVE, contents())
    network = torchvision.models.resnet18()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
    torch.save(network.state_dict(), mirror / features.WEIGHTS_FILE)

    def entry(*names):
        files = [{"name": name, "mirror": name, "note": "made up"} for name in names]
        about = {"title": "x", "papers": [], "licence": "x", "citation": "x", "homepage": "https://x"}
        return about | {"click_through": False, "how": "by hand", "editions": {"official": {"files": files}}}

    weights = entry(features.WEIGHTS_FILE)
    weights["editions"]["official"]["files"][0]["sha256"] = file_digest(mirror / features.WEIGHTS_FILE)
    form = waterbirds.FORMS["official"]
    datasets = {
        features.WEIGHTS: weights,
        features.IMAGES: entry(waterbirds_images.ARCHIVE),
        "waterbirds": entry(form.features, form.about, waterbirds.METADATA),
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.yaml").write_text(yaml.safe_dump({"datasets": datasets}))
    return tmp_path


@pytest.fixture(autouse=True)
def _mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("REWEIGH_MIRROR", str(tmp_path / "mirror"))


def test_features_are_those_of_the_network_row_for_row(project):
    source = features.make("waterbirds", project / "data")
    assert source["edition"] == "official"
    network = torchvision.models.resnet18()
    network.load_state_dict(torch.load(project / "mirror" / features.WEIGHTS_FILE, weights_only=True))
    pooled = torch.nn.Sequential(*list(network.eval().children())[:-1])
    cut = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
                      v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])  # fmt: skip
    images = torch.stack([cut(Image.open(io.BytesIO(content)).convert("RGB")) for _, content in pictures()])
    with torch.no_grad():
        expected = pooled(images).flatten(1).numpy()
    found = np.load(project / "data/raw/waterbirds/resnet18.npy")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    raw = load.read("waterbirds", {}, project / "data/raw")
    places = [k for k, (part, _) in enumerate(ROWS) if part == 0]
    assert raw.edition == "official" and np.array_equal(raw.train_inputs, found[places])
    assert raw.train_groups.tolist() == [ROWS[k][1] for k in places]
    about = json.loads((project / "data/raw/waterbirds/resnet18.json").read_text())
    assert about["network"]["weights_sha256"] == file_digest(project / "mirror" / features.WEIGHTS_FILE)
    assert about["pictures"] == len(ROWS)


def test_the_archive_unpacked_is_a_data_set_of_pictures(project):
    folder = project / "data/raw" / features.IMAGES
    folder.mkdir(parents=True)
    shutil.copy(project / "mirror" / waterbirds_images.ARCHIVE, folder)
    with pytest.raises(DataError, match=r"metadata\.csv is missing; unpack it: tar -xf "):
        load.read(features.IMAGES, {}, project / "data/raw")
    with tarfile.open(folder / waterbirds_images.ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    raw = load.read(features.IMAGES, {}, project / "data/raw")
    assert (len(raw.train_inputs), len(raw.test_inputs)) == (6, 4) and raw.train_inputs.pixels(0).shape == (3, 224, 224)
    assert sorted(raw.train_groups.tolist()) == [0, 0, 1, 2, 3, 3]
    other = load.read(features.IMAGES, {"official_validation": True}, project / "data/raw")
    assert other.test_inputs.path(0) != raw.test_inputs.path(0)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda made: made[1:], r"lacks 1 of 14 pictures, 013\.Bird/bird_13\.jpg first"),
        (lambda made: [one for one in made if one[0] != "metadata.csv"], r"contains no metadata\.csv; delete it"),
        (lambda made: [(made[0][0], b"no picture"), *made[1:]], r"013\.Bird/bird_13\.jpg: not an image that can be"),
        (lambda made: [*made, ("metadata.csv", table().replace(b"jpg,1", b"jpg,0"))], r"part has cells of \("),
    ],
)  # fmt: skip
def test_an_archive_that_is_not_whole_is_refused_in_one_line(project, spoil, says):
    pack(project / "mirror" / waterbirds_images.ARCHIVE, spoil(contents()))
    with pytest.raises(DataError, match=says) as refused:
        features.make("waterbirds", project / "data")
    assert "\n" not in str(refused.value)
    assert not (project / "data/raw/waterbirds/resnet18.npy").exists()


def test_an_archive_that_was_cut_is_refused_in_one_line(project):
    path = project / "mirror" / waterbirds_images.ARCHIVE
    content = path.read_bytes()
    for length in (len(content) // 2, 10, 0):
        path.write_bytes(content[:length])
        shutil.rmtree(project / "data/raw", ignore_errors=True)
        with pytest.raises(DataError, match="cannot be read") as refused:
            features.make("waterbirds", project / "data")
        assert "\n" not in str(refused.value)


def test_without_weights_or_images_it_says_what_to_provide(project):
    other = torchvision.models.resnet34().state_dict()
    torch.save(other, project / "mirror" / features.WEIGHTS_FILE)
    with pytest.raises(
        DataError, match=f"sha256 is {file_digest(project / 'mirror' / features.WEIGHTS_FILE)}, expected"
    ):
        features.make("waterbirds", project / "data")
    with pytest.raises(DataError, match=r"not the weights of ResNet-18 \("):
        features.resnet18(project / "mirror" / features.WEIGHTS_FILE)
    (project / "mirror" / features.WEIGHTS_FILE).unlink()
    with pytest.raises(DataError, match=f"data set {features.WEIGHTS} is not available.*{features.WEIGHTS_FILE}"):
        features.make("waterbirds", project / "data")
    with pytest.raises(ConfigError, match="no features are made of 'mnist'; known: waterbirds"):
        features.make("mnist", project / "data")


def test_the_manifest_has_the_published_digest_of_the_weights():
    entry = manifest.Manifest.load()[features.WEIGHTS].editions[0].files[0]
    assert entry.name == features.WEIGHTS_FILE and entry.sha256.startswith("f37072fd") and entry.bytes == 46_830_571
    images = manifest.Manifest.load()[features.IMAGES].editions[0].files[0]
    assert images.name == waterbirds_images.ARCHIVE and images.urls[0].startswith("https://nlp.stanford.edu/data/dro/")
