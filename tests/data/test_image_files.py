"""Image files: every kind of picture, and the readers of large data sets on a few files in the real layout."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import image_layouts, needs
from support.needs import MIRROR_FOLDER
from support.project import environment
from torchvision.transforms import RandomResizedCrop, functional

from reweigh.data import load, transforms
from reweigh.data.files import ImageFiles
from reweigh.errors import ConfigError, DataError

# --- pictures


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "RGBA", "LA"])
def test_every_kind_of_picture_becomes_rgb(mode, tmp_path):
    image = Image.fromarray(image_layouts.noise(0, (30, 20))).convert(mode)
    image.save(tmp_path / "x.JPEG", {"CMYK": "JPEG", "L": "JPEG"}.get(mode, "PNG"))
    found = transforms.pixels(tmp_path / "x.JPEG", 20, 20)
    assert (found.shape, found.dtype) == ((3, 20, 20), torch.uint8)
    with Image.open(tmp_path / "x.JPEG") as again:
        assert found.permute(1, 2, 0).numpy().tolist() == np.asarray(again.convert("RGB"))[:, 5:25].tolist()


def test_broken_exif_is_no_obstacle(tmp_path, recwarn):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x0f\x01\x02\0\xff\xff\xff\x7f"
    Image.fromarray(image_layouts.noise(0)).save(tmp_path / "x.jpg", "JPEG", exif=exif)
    assert transforms.pixels(tmp_path / "x.jpg", 8, 8).shape == (3, 8, 8)
    assert not list(recwarn)


@pytest.mark.parametrize(("size", "side", "resize"), [((40, 36), 32, 37), ((300, 41), 32, 32), ((9, 17), 16, 18)])
def test_the_middle_is_torchvisions_resize_and_centre_crop(size, side, resize, tmp_path):
    path = image_layouts.picture(tmp_path / "x.png", 3, size)
    expected = functional.center_crop(functional.resize(Image.open(path), resize), [side, side])
    assert torch.equal(transforms.pixels(path, side, resize), functional.pil_to_tensor(expected))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), width=st.integers(5, 60), height=st.integers(5, 60))
def test_a_random_cut_is_torchvisions_for_the_same_generator_state(seed, width, height, tmp_path_factory):
    path = image_layouts.picture(tmp_path_factory.mktemp("cut") / "x.png", 1, (width, height))
    before = torch.get_rng_state()
    found = transforms.pixels(path, 16, 18, seed)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(seed)
    image = Image.open(path)
    top, left, tall, wide = RandomResizedCrop.get_params(image, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    cut = functional.resized_crop(image, top, left, tall, wide, [16, 16])
    expected = functional.pil_to_tensor(functional.hflip(cut) if torch.rand(1) < 0.5 else cut)
    torch.set_rng_state(before)
    assert torch.equal(found, expected)


def test_an_image_of_the_right_size_is_left_as_it_is(tmp_path):
    path = image_layouts.picture(tmp_path / "x.png", 9, (24, 24))
    assert np.array_equal(
        ImageFiles(tmp_path, [path.name], 24, 24).pixels(0).permute(1, 2, 0), image_layouts.noise(9, (24, 24))
    )


# --- readers


def content(raw):
    """Which picture (its seed), label and group each row has, of the training and the test part."""
    found = []
    for inputs, labels, groups in (
        (raw.train_inputs, raw.train_labels, raw.train_groups),
        (raw.test_inputs, raw.test_labels, raw.test_groups),
    ):
        assert len(inputs) == len(labels) and labels.dtype == np.int64
        assert groups is None or groups.dtype == np.int64
        seeds = [image_layouts.seed_of(inputs, row) for row in range(len(inputs))]
        found.append((seeds, labels.tolist(), None if groups is None else groups.tolist()))
    return found


def test_imagenet_lt(tmp_path):
    image_layouts.imagenet_lt(tmp_path)
    raw = load.read("imagenet-lt", {}, tmp_path)
    assert raw.class_names == ("n01440764", "n01443537", "n01484850") and raw.edition == "official"
    assert content(raw) == [
        ([0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 1, 1, 2], None),
        ([7, 8, 9, 10, 11, 12], [0, 0, 1, 1, 2, 2], None),
    ]
    assert (raw.train_inputs.side, raw.train_inputs.resize) == (224, 256)
    assert raw.train_inputs.path(0) == tmp_path / "imagenet/train/n01440764/n01440764_0.JPEG"
    assert load.read("imagenet-lt", {"test": "val", "side": 32, "resize": 32}, tmp_path).test_labels.tolist() == [0, 2]


def test_places_lt(tmp_path):
    image_layouts.places_lt(tmp_path)
    raw = load.read("places-lt", {}, tmp_path)
    assert raw.class_names == ("airfield", "zen_garden")
    expected = [([0, 1, 2, 3], [0, 0, 0, 1], None), ([4, 5], [0, 1], None)]
    assert content(raw) == expected
    (tmp_path / "places-lt" / "places365_standard").rename(tmp_path / "elsewhere")
    for directory in ("train", "val"):
        (tmp_path / "elsewhere" / directory).rename(tmp_path / "places-lt" / directory)
    (tmp_path / "elsewhere").rmdir()
    assert content(load.read("places-lt", {}, tmp_path)) == expected


@needs.mirror("lists/Places_LT_train.txt")
def test_the_real_lists_of_places_lt_and_imagenet_lt(tmp_path):
    for name, dataset in (("Places_LT", "places-lt"), ("ImageNet_LT", "imagenet-lt")):
        (tmp_path / dataset).mkdir()
        for path in (MIRROR_FOLDER / "lists").glob(f"{name}_*.txt"):
            (tmp_path / dataset / path.name).symlink_to(path.resolve())
    raw = load.read("places-lt", {}, tmp_path)
    counts = np.bincount(raw.train_labels)
    assert (counts.sum(), counts.max(), counts.min()) == (62500, 4980, 5)
    assert np.bincount(raw.test_labels).tolist() == [100] * 365 and raw.class_names[364] == "zen_garden"
    images = tmp_path / "imagenet-lt" / "ImageNet_LT_train.txt"
    if not images.exists():  # it was never on a public server; the validation list has the same form
        images.symlink_to((MIRROR_FOLDER / "lists" / "ImageNet_LT_val.txt").resolve())
    raw = load.read("imagenet-lt", {}, tmp_path)
    assert np.bincount(raw.test_labels).tolist() == [50] * 1000 and raw.class_names[0] == "n01440764"


@pytest.mark.parametrize("test_part", ["val", "test"])
def test_imagenet_in_folders(tmp_path, test_part):
    image_layouts.imagenet(tmp_path, test_part=test_part)
    image_layouts.write_lines(tmp_path / "imagenet" / "train" / "n01440764" / "notes.txt", ["no picture"])
    raw = load.read("imagenet", {}, tmp_path)
    assert raw.class_names == ("n01440764", "n01443537")
    assert content(raw) == [([0, 1, 2, 3, 4], [0, 0, 1, 1, 1], None), ([5, 6, 7], [0, 1, 1], None)]


def test_imagenet_100(tmp_path):
    image_layouts.imagenet(tmp_path)
    image_layouts.write_lines(tmp_path / "imagenet-100" / "imagenet100.txt", ["n01443537"])
    assert content(load.read("imagenet-100", {}, tmp_path)) == [([2, 3, 4], [0, 0, 0], None), ([6, 7], [0, 0], None)]


def test_inaturalist2018(tmp_path):
    image_layouts.inaturalist2018(tmp_path)
    raw = load.read("inaturalist2018", {}, tmp_path)
    assert raw.class_names == ("Aves 3", "Plantae 7")
    assert content(raw) == [([0, 1, 2], [0, 0, 1], None), ([100, 101], [0, 1], None)]


def test_clothing1m(tmp_path):
    image_layouts.clothing1m(tmp_path)
    raw = load.read("clothing1m", {}, tmp_path)
    assert len(raw.class_names) == 14
    assert content(raw) == [([0, 1, 2], [0, 5, 10], None), ([5, 6], [13, 12], None)]
    clean = load.read("clothing1m", {"train": "clean", "test": "val"}, tmp_path)
    assert content(clean) == [([3], [13], None), ([4], [13], None)]
    with pytest.raises(ConfigError, match="train 'clear' is unknown; known: noisy, clean"):
        load.read("clothing1m", {"train": "clear"}, tmp_path)


def test_webvision(tmp_path):
    image_layouts.webvision(tmp_path)
    raw = load.read("webvision", {}, tmp_path)
    assert raw.class_names[1] == "fish number 1, fish"
    assert content(raw) == [([0, 1, 0], [0, 2, 1], None), ([0, 1], [1, 2], None)]
    mini = load.read("webvision", {"source": "google", "classes": 2}, tmp_path)
    assert content(mini) == [([0], [0], None), ([0], [1], None)] and len(mini.class_names) == 2


@pytest.mark.parametrize("directory", [".", "camelyon17_v1.0"])
def test_camelyon17(tmp_path, directory):
    image_layouts.camelyon17(tmp_path, directory)
    raw = load.read("camelyon17", {}, tmp_path)
    assert content(raw) == [([0, 4, 5], [0, 0, 1], [0, 3, 4]), ([3], [1], [2])]
    assert raw.group_names[2] == "hospital 2" and raw.class_names == ("no tumour", "tumour")
    assert content(load.read("camelyon17", {"test": "val"}, tmp_path))[1] == ([2], [0], [1])
    assert content(load.read("camelyon17", {"test": "id_val"}, tmp_path))[1] == ([1], [1], [0])
    assert torch.equal(raw.test_inputs.pixels(0), torch.from_numpy(image_layouts.noise(3, (96, 96))).permute(2, 0, 1))


@pytest.mark.parametrize("directory", [".", "iwildcam_v2.0"])
def test_iwildcam(tmp_path, directory):
    image_layouts.iwildcam(tmp_path, directory)
    raw = load.read("iwildcam", {}, tmp_path)
    assert content(raw) == [([0, 1, 6], [0, 2, 1], [0, 1, 0]), ([3], [2], [3])]
    assert raw.class_names == ("empty", "ocelot", "tapir") and len(raw.group_names) == 4
    assert content(load.read("iwildcam", {"test": "id_test"}, tmp_path))[1] == ([4], [0], [1])


def test_what_is_not_there_or_not_unpacked_says_what_to_do(tmp_path):
    for dataset in ("imagenet-lt", "places-lt", "clothing1m", "camelyon17", "iwildcam", "inaturalist2018", "webvision"):
        with pytest.raises(DataError, match=rf"get it with: reweigh fetch {dataset}$"):
            load.read(dataset, {}, tmp_path)
    for dataset, archive in (
        ("camelyon17", "camelyon17_v1.0.tar.gz"),
        ("iwildcam", "iwildcam_v2.0.tar.gz"),
        ("inaturalist2018", "train2018.json.tar.gz"),
        ("webvision", "info.tar"),
    ):
        image_layouts.write_lines(tmp_path / dataset / archive, [])
        with pytest.raises(DataError, match=rf"unpack it: tar -xf .*{archive} -C .*{dataset}$"):
            load.read(dataset, {}, tmp_path)
    with pytest.raises(DataError, match=r"from torchvision\.datasets import ImageNet"):
        load.read("imagenet", {}, tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/n01440764/n01440764_0.JPEG", "line 8: not `path label`"),
        ("train/n01440764/n01440764_0.JPEG one", "line 8: not `path label`"),
        ("train/n01440764/n01440764_0.JPEG 1", "class 1 is 'n01443537' elsewhere"),
        ("train/n01440764/n01440764_0.JPEG 3", "the lists name 4 classes in 3 directories"),
        ("train/n01498041/n01498041_0.JPEG 7", "the lists name 4 classes in 4 directories"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(tmp_path, line, reason):
    image_layouts.imagenet_lt(tmp_path)
    with open(tmp_path / "imagenet-lt" / "ImageNet_LT_train.txt", "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=reason):
        load.read("imagenet-lt", {}, tmp_path)


def test_tables_and_json_that_cannot_be_right_are_refused(tmp_path):
    image_layouts.camelyon17(tmp_path)
    table = tmp_path / "camelyon17" / "metadata.csv"
    text = table.read_text()
    for old, new, reason in (
        ("center", "centre", "not a table with the columns patient, node"),
        ("\n0,000,0,3328,21792,0,", "\n0,000,0,3328,21792,no,", "invalid literal"),
        ("\n0,000,0,3328,21792,0,0,0", "\n0,000,0,3328,21792,0,0,9", "has 9, which is not one of the 5 that"),
    ):
        assert old in text
        table.write_text(text.replace(old, new))
        with pytest.raises(DataError, match=reason):
            load.read("camelyon17", {}, tmp_path)
    image_layouts.inaturalist2018(tmp_path)
    annotations = tmp_path / "inaturalist2018" / "val2018.json"
    body = json.loads(annotations.read_text())
    for spoiled in ("[]", "{", json.dumps({**body, "annotations": body["annotations"][1:]}), json.dumps({"images": 3})):
        annotations.write_text(spoiled)
        with pytest.raises(DataError, match="2018"):
            load.read("inaturalist2018", {}, tmp_path)


def test_reading_and_drawing_need_no_pictures_and_no_torchvision(tmp_path):
    image_layouts.imagenet_lt(tmp_path)
    (tmp_path / "imagenet").rename(tmp_path / "gone")
    script = (
        "import sys; from reweigh.data import load\n"
        "raw = load.read('imagenet-lt', {}, sys.argv[1])\n"
        "print(len(raw.train_inputs), [name for name in ('torchvision', 'PIL') if name in sys.modules])"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path)]
    found = subprocess.run(arguments, env=environment(), capture_output=True, text=True)
    assert found.stdout.strip() == "7 []", found.stderr
