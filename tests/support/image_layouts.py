"""Small image data sets in the layouts of the large ones: the same files and columns, a few pictures of noise."""

import csv
import json
import multiprocessing
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reweigh.data import transforms
from reweigh.data.arrays import Part
from reweigh.data.files import ImageFiles

CPU = torch.device("cpu")
PLAIN = {"augment": "none", "scale_inputs": transforms.IMAGENET_MOMENTS}
CUT = {**PLAIN, "augment": "crop-flip"}
SIDE, COUNT = 16, 11
# Lists that are not read unless an option asks for them.
UNREAD = {"ImageNet_LT_val.txt", "Places_LT_val.txt", "clean_train_key_list.txt", "clean_val_key_list.txt"}
WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")


def noise(seed, size=(40, 36)):
    """A picture of noise, its seed being all there is to know of it: uint8 (height, width, 3)."""
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def picture(path, seed, size=(40, 36), form="PNG"):
    """Write a picture of noise; a PNG whatever its name says, so that its pixels are known."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, size)).save(path, form)
    return path


def seed_of(inputs, row):
    """The seed of the noise that a row of image files shows."""
    pixels = np.asarray(transforms.decoded(inputs.path(row)))
    return next(seed for seed in range(200) if np.array_equal(noise(seed, pixels.shape[1::-1]), pixels))


def image_files(root):
    """Eleven pictures of noise of several sizes, as files; none is larger than 40 pixels."""
    return ImageFiles(root, [picture(root / f"{k}.png", k, (20 + k, 40 - k)).name for k in range(COUNT)], SIDE)


def whole(count):
    """All rows of a data set as one part, of three classes and two groups."""
    return Part(np.arange(count, dtype=np.int32), np.arange(count) % 3, np.arange(count) % 2)


def stream_of(files, data=CUT, batch_size=4, name="batches", drop_last=False):
    """A stream of the eleven pictures."""
    return files.part(whole(COUNT), data, CPU).stream(batch_size, 5, name, True, drop_last)


def started(stream):
    """Go to the stream's first batch; the worker processes that this started."""
    others = set(multiprocessing.active_children())
    stream.seek(0)
    return sorted(set(multiprocessing.active_children()) - others, key=lambda process: process.pid)


def bits(batch):
    """All that a batch holds, to compare."""
    return tuple(values.contiguous().numpy().tobytes() for values in (batch.inputs, batch.labels, batch.groups))


def write_lines(path, lines):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_table(path, rows):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def long_tailed_lists(raw, images, prefix, train, test, names, file_of, size=(40, 36)):
    """ImageNet-LT or Places-LT: lists `prefix_{train,val,test}.txt` in `raw`, pictures below `images`.

    `train` and `test` count the pictures of each class; `file_of(part, name, k)` names one. Picture seeds count up from
    0 in the order of the lists, training part first.
    """
    seed, listed = 0, {}
    for part, counts in (("train", train), ("test", test)):
        directory, lines = {"train": "train", "test": "val"}[part], []
        for label, count in enumerate(counts):
            for k in range(count):
                path = f"{directory}/{names[label]}/{file_of(directory, names[label], k)}"
                picture(images / path, seed, size)
                lines.append(f"{path} {label}")
                seed += 1
        listed[part] = lines
        write_lines(raw / f"{prefix}_{part}.txt", lines)
    write_lines(raw / f"{prefix}_val.txt", [listed["train"][0], *listed["train"][-1:]])
    return listed


def imagenet_lt(root, train=(4, 2, 1), test=(2, 2, 2), size=(40, 36)):
    """`root/imagenet-lt` with its lists and `root/imagenet` with the pictures."""

    def file_of(directory, wnid, k):
        return f"{wnid}_{k}.JPEG" if directory == "train" else f"ILSVRC2012_val_{k:08d}.JPEG"

    return long_tailed_lists(root / "imagenet-lt", root / "imagenet", "ImageNet_LT", train, test, WNIDS, file_of, size)


def places_lt(root, train=(3, 1), test=(1, 1)):
    """`root/places-lt`, its pictures in `places365_standard` as the archive unpacks."""

    def file_of(directory, scene, k):
        return f"{k:08d}.jpg" if directory == "train" else f"Places365_val_{k:08d}.jpg"

    raw = root / "places-lt"
    return long_tailed_lists(
        raw, raw / "places365_standard", "Places_LT", train, test, ("airfield", "zen_garden"), file_of
    )


def imagenet(root, train=(2, 3), test=(1, 2), test_part="val"):
    """`root/imagenet` in folders, one a class; picture seeds count up in the order of classes and names."""
    seed = 0
    for part, counts in (("train", train), (test_part, test)):
        for wnid, count in zip(WNIDS, counts, strict=False):
            for k in range(count):
                picture(root / "imagenet" / part / wnid / f"{wnid}_{k}.JPEG", seed)
                seed += 1


def inaturalist2018(root, train=(2, 1), val=(1, 1)):
    """`root/inaturalist2018` with JSON files whose annotations stand in another order than their images."""
    raw, categories = root / "inaturalist2018", ((3, "Aves"), (7, "Plantae"))
    for part, counts in (("train", train), ("val", val)):
        images, annotations = [], []
        for (category, kingdom), count in zip(categories, counts, strict=True):
            for k in range(count):
                number = len(images) + 100 * (part == "val")
                path = f"train_val2018/{kingdom}/{category}/{part}{k}.jpg"
                picture(raw / path, number)
                images.append({"id": number, "file_name": path, "width": 40, "height": 36})
                annotations.insert(0, {"id": number, "image_id": number, "category_id": category})
        named = [
            {"id": category, "name": f"{kingdom} {category}", "supercategory": kingdom}
            for category, kingdom in categories
        ]
        body = {"images": images, "annotations": annotations, "categories": named[::-1]}
        (raw / f"{part}2018.json").write_text(json.dumps(body))


def clothing1m(root):
    """`root/clothing1m`: three noisy training pictures, one clean one, one for validation, two for tests."""
    raw = root / "clothing1m"
    keys = {part: [f"images/{k}/{k:02d}/{part}{k},12.jpg" for k in range(count)] for part, count in PICTURES_1M.items()}
    for seed, key in enumerate(key for part in keys.values() for key in part):
        picture(raw / key, seed)
    for part, listed in keys.items():
        write_lines(raw / f"{part}_key_list.txt", listed)
    noisy = [f"{key} {(5 * k) % 14}" for k, key in enumerate(keys["noisy_train"])]
    clean = [
        f"{key} {13 - k}" for part in ("clean_test", "clean_val", "clean_train") for k, key in enumerate(keys[part])
    ]
    write_lines(raw / "noisy_label_kv.txt", [*noisy, f"{keys['clean_train'][0]} 3"])  # a few have both labels
    write_lines(raw / "clean_label_kv.txt", clean)


PICTURES_1M = {"noisy_train": 3, "clean_train": 1, "clean_val": 1, "clean_test": 2}


def webvision(root):
    """`root/webvision`: two Google pictures, one from Flickr, two checked ones, of three classes."""
    raw = root / "webvision"
    lists = {
        "train_filelist_google.txt": ["google/q0001/a.jpg 0", "google/q0003/b.jpg 2"],
        "train_filelist_flickr.txt": ["flickr/q0002/c.jpg 1"],
        "val_filelist.txt": ["val000001.jpg 1", "val000002.jpg 2"],
    }
    for name, lines in lists.items():
        write_lines(raw / "info" / name, lines)
        for seed, line in enumerate(lines):
            path = line.split()[0]
            picture(raw / (f"val_images_256/{path}" if path.startswith("val") else path), seed)
    write_lines(raw / "info" / "synsets.txt", [f"{wnid} fish number {k}, fish" for k, wnid in enumerate(WNIDS[:3])])


def camelyon17(root, directory="."):
    """`root/camelyon17`: a training and an id_val patch of hospital 0, a patch of every other hospital."""
    raw, rows = root / "camelyon17" / directory, []
    for k, (center, split) in enumerate(((0, 0), (0, 1), (1, 0), (2, 0), (3, 0), (4, 0))):
        row = {"patient": f"{k:03d}", "node": k % 4, "x_coord": 3328 + k, "y_coord": 21792, "tumor": k % 2}
        rows.append({"": k, **row, "slide": k, "center": center, "split": split})
        folder = f"patient_{k:03d}_node_{k % 4}"
        picture(raw / "patches" / folder / f"patch_{folder}_x_{3328 + k}_y_21792.png", k, (96, 96))
    write_table(raw / "metadata.csv", rows)


def iwildcam(root, directory="."):
    """`root/iwildcam`: three training photographs of traps 0 and 1, one of each other part."""
    raw = root / "iwildcam" / directory
    rows = [
        {"split": split, "location_remapped": trap, "y": label, "filename": f"8b{k}-21bc.jpg", "sequence_remapped": k}
        for k, (split, trap, label) in enumerate(
            (
                ("train", 0, 0),
                ("train", 1, 2),
                ("val", 2, 1),
                ("test", 3, 2),
                ("id_test", 1, 0),
                ("id_val", 0, 1),
                ("train", 0, 1),
            )
        )
    ]
    for k, row in enumerate(rows):
        picture(raw / "train" / row["filename"], k)
    write_table(raw / "metadata.csv", rows)
    species = [{"y": y, "category_id": 10 * y, "name": name} for y, name in enumerate(("empty", "ocelot", "tapir"))]
    write_table(raw / "categories.csv", species[::-1])
