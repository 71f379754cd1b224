"""Every data set that has a reader, small: the same files in the same formats, real rows where the project has them.

Readers know how large a data set is. Here they are told the small sizes.
"""

import dataclasses
import hashlib
import json
import pickle
import zipfile

import numpy as np
from PIL import Image

from reweigh.data.readers import (
    adult,
    cifar10,
    cifar10_slice_large,
    cifar100,
    cifar100_slice,
    diabetic_retinopathy,
    mnist,
    nexrad,
    waterbirds,
    waterbirds_small,
)
from support import image_layouts, molere_layouts
from support.image_layouts import write_lines

ADULT_LINES = 160
SLICES = {"cifar100-slice": (6, 4), "cifar10-slice-large": (7, 3)}


def make(root, raw_root, patch):
    """Write all of them below `root`; `patch` is pytest's. -> the options of each reader, by data set."""
    generator = np.random.default_rng(0)
    _mnist(root / "mnist", generator, patch)
    _adult(root / "adult", raw_root / "adult", patch)
    _cifar(root, generator, patch)
    _slices(root, generator, patch)
    _nexrad(root / "nexrad", patch)
    _waterbirds(root, generator, patch)
    for dataset in ("imagenet_lt", "places_lt", "imagenet", "inaturalist2018", "clothing1m", "webvision"):
        getattr(image_layouts, dataset)(root)
    image_layouts.camelyon17(root)
    image_layouts.iwildcam(root)
    write_lines(root / "imagenet-100" / "imagenet100.txt", image_layouts.WNIDS[:2])
    _molere(root, patch)
    return {path.name: {} for path in sorted(root.iterdir())}


def _molere(root, patch):
    for dataset in ("fgvc_aircraft", "oxford_iiit_pet", "stanford_cars", "diabetic_retinopathy"):
        getattr(molere_layouts, dataset)(root)
    patch.setattr(diabetic_retinopathy, "APTOS_TEST", 1)
    patch.setattr(molere_layouts, "FOLDERS", dict.fromkeys(molere_layouts.FOLDERS, image_layouts.WNIDS[:2]))
    for name in molere_layouts.FOLDERS:
        molere_layouts.beside_imagenet(root, name)


def _mnist(folder, generator, patch):
    sizes = {"train": 6, "t10k": 4}
    patch.setattr(mnist, "SIZES", sizes)
    folder.mkdir()
    for prefix, size in sizes.items():
        for name, shape, top in (
            (f"{prefix}-images-idx3", (size, 28, 28), 256),
            (f"{prefix}-labels-idx1", (size,), 10),
        ):
            header = bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()
            values = generator.integers(0, top, shape, dtype=np.uint8)
            (folder / f"{name}-ubyte").write_bytes(header + values.tobytes())


def _adult(folder, whole, patch):
    """The first rows of the real training file; the test rows are among them, so that all their values are known."""
    folder.mkdir()
    lines = (whole / "adult.data").read_text().splitlines()[:ADULT_LINES]
    (folder / "adult.data").write_text("\n".join(lines) + "\n")
    (folder / "adult.test").write_text("\n".join(["|1x3 Cross validator", *(f"{line}." for line in lines[:60])]) + "\n")
    complete = [[value.strip() for value in line.split(",")] for line in lines if "?" not in line]
    counts = {name: len({row[k] for row in complete}) for k, name in enumerate(adult.COLUMNS)}
    patch.setattr(adult, "CATEGORIES", tuple(counts[name] for name in adult.CATEGORICAL))
    rows = {"adult.data": len(complete), "adult.test": sum("?" not in line for line in lines[:60])}
    patch.setattr(adult, "ROWS", rows)


def _cifar(root, generator, patch):
    patch.setattr(cifar10, "TRAIN_SIZE", 10)
    patch.setattr(cifar10, "TEST_SIZE", 2)
    patch.setattr(cifar100, "SIZES", {"train": 5, "test": 3})
    images = generator.integers(0, 256, (12, 3072), dtype=np.uint8)
    labels = generator.integers(0, 10, 12)
    for name in ("cifar10", "cifar10-arrays/cifar10", "cifar10n", "cifar100", "cifar100n"):
        (root / name).mkdir(parents=True)
    for k, name in enumerate(cifar10.BATCHES):
        part = slice(2 * k, 2 * k + 2)
        batch = {"batch_label": name, "labels": labels[part].tolist(), "data": images[part], "filenames": ["a", "b"]}
        (root / "cifar10" / name).write_bytes(pickle.dumps(batch, protocol=2))
    np.save(root / "cifar10-arrays" / "cifar10" / "images.npy", images.reshape(12, 3, 32, 32))
    np.save(root / "cifar10-arrays" / "cifar10" / "labels.npy", labels.astype(np.uint8))
    fine = generator.integers(0, 100, 8)
    for name, part in (("train", slice(0, 5)), ("test", slice(5, 8))):
        batch = {"fine_labels": fine[part].tolist(), "coarse_labels": (fine[part] // 5).tolist(), "data": images[part]}
        (root / "cifar100" / name).write_bytes(pickle.dumps(batch, protocol=2))
    names = {"fine_label_names": [f"class {k}" for k in range(100)]}
    (root / "cifar100" / "meta").write_bytes(pickle.dumps(names, protocol=2))
    _saved(root / "cifar10n" / "CIFAR-10_human.pt", {"clean_label": labels[:10], "worse_label": (labels[:10] + 1) % 10})
    _saved(root / "cifar100n" / "CIFAR-100_human.pt", {"clean_label": fine[:5], "noisy_label": (fine[:5] + 1) % 100})


def _saved(path, arrays):
    """A file as `torch.save` writes it, of arrays alone."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(arrays, protocol=2))
        archive.writestr("archive/version", "3\n")


def _slices(root, generator, patch):
    for (name, (train, test)), reader in zip(SLICES.items(), (cifar100_slice, cifar10_slice_large), strict=True):
        patch.setattr(reader, "SIZES", (train, test))
        (root / name).mkdir()
        count = train + test
        lines = [f"{'train' if k < train else 'test'},{10 + k},{k % 10},{count - 1 - k}" for k in range(count)]
        images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        if name == "cifar100-slice":
            write_lines(root / name / "examples.csv", ["part,index,label", *(line.rsplit(",", 1)[0] for line in lines)])
            np.save(root / name / "images.npy", images)
        else:
            write_lines(root / name / "examples.csv", ["part,index,label,row", *lines])
            np.save(root / name / "images.npy", images[:4])
            np.save(root / name / "more.npy", images[4:])
            (root / "cifar10n-slice").mkdir()
            given = ["clean_label,worse_label", *(f"{k},{k + 1}" for k in range(train))]
            write_lines(root / "cifar10n-slice" / "labels.csv", given)


def _waterbirds(root, generator, patch):
    """Both editions and the small set, with the digests that they state of themselves; two pictures a cell at most."""
    patch.setattr(waterbirds, "SIZES", {"train": (2, 1, 1, 2), "validation": (1, 1, 1, 1), "test": (2, 2, 1, 1)})
    small = {name: dataclasses.replace(form, width=3) for name, form in waterbirds.FORMS.items()}
    patch.setattr(waterbirds, "FORMS", small)
    patch.setattr(waterbirds_small, "ARRAYS", waterbirds_small.ARRAYS | {"codes": ((3,), "|u1")})
    sizes = enumerate(waterbirds.SIZES.values())
    rows = [(cell // 2, cell % 2, part) for part, counts in sizes for cell in range(4) for _ in range(counts[cell])]
    lines = [f"{k + 1},bird/{k}.jpg,{y},{part},{place},/x.jpg" for k, (y, place, part) in enumerate(rows)]
    table = "\n".join(["img_id,img_filename,y,split,place,place_filename", *lines, ""]).encode()
    for folder, form in (
        ("waterbirds", small["efficientnet-lite0"]),
        ("waterbirds-official/waterbirds", small["official"]),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / "metadata.csv").write_bytes(table)
        features = generator.normal(size=(len(rows), 3)).astype(form.kind)
        np.save(root / folder / form.features, features)
        _state(root / folder / form.about, {"features": features.tobytes(), "metadata.csv": table})
    (root / "waterbirds-images").mkdir()
    (root / "waterbirds-images" / "metadata.csv").write_bytes(table)
    for k in range(len(rows)):
        image_layouts.picture(root / "waterbirds-images" / "bird" / f"{k}.jpg", k)
    (root / "waterbirds-small").mkdir()
    columns = zip(("y", "place", "split"), np.array(rows, np.uint8).T, strict=True)
    arrays = {"codes": np.asfortranarray(generator.integers(0, 256, (len(rows), 3), dtype=np.uint8)), **dict(columns)}
    arrays |= {name: generator.normal(size=3).astype(np.float32) for name in ("scale", "offset")}
    np.savez(root / "waterbirds-small" / "codes.npz", **arrays)
    _state(root / "waterbirds-small" / "features.json", {name: array.tobytes() for name, array in arrays.items()})


def _state(path, contents):
    """Write what a `features.json` says of the files and arrays beside it."""
    path.write_text(
        json.dumps({"sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}})
    )


def _nexrad(folder, patch):
    for name, value in (("PICTURE", (14, 26)), ("SIZE", (6, 8)), ("BLOCK", (2, 3))):
        patch.setattr(nexrad, name, value)
    names = ("n0r_200805241020.png", "n0r_200906010000.png", "n0r_200812312355.png")
    write_lines(folder / "labels.csv", ["file,label", *(f"{name},{k % 2}" for k, name in enumerate(names))])
    for seed, name in enumerate(names):
        picture = Image.fromarray(np.random.default_rng(seed).integers(0, 16, (14, 26), dtype=np.uint8))
        picture.putpalette([value for colour in range(16) for value in (colour, 0, 0)])
        picture.save(folder / name, bits=4)
