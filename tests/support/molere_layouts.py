"""More of `image_layouts`: the data sets of MOLERE in the layouts of their publishers, a few pictures of noise each."""

import numpy as np
from scipy import io

from support.image_layouts import WNIDS, picture, write_lines, write_table

DATASETS = ("fgvc-aircraft", "oxford-iiit-pet", "stanford-cars", "diabetic-retinopathy", "imagenet-a", "imagenet-r")
UNREAD = {"README.txt", "aptos2019-blindness-detection"}  # files and folders, unless an option asks for them
FOLDERS = {"imagenet-a": WNIDS[1:3], "imagenet-r": WNIDS[0:2]}  # classes of each


def fgvc_aircraft(root, directory="."):
    """`root/fgvc-aircraft`: three photographs of two variants to train on, two to test; picture seeds count up."""
    data = root / "fgvc-aircraft" / directory / "data"
    variants = ("707-320", "Cessna 172", "Spitfire")
    write_lines(data / "variants.txt", variants)
    parts = {"trainval": ((1, 0), (0, 1), (1, 2)), "test": ((2, 3), (1, 4))}
    for part, rows in parts.items():
        write_lines(data / f"images_variant_{part}.txt", [f"{seed:07d} {variants[label]}" for label, seed in rows])
        for _, seed in rows:
            picture(data / "images" / f"{seed:07d}.jpg", seed)


def oxford_iiit_pet(root):
    """`root/oxford-iiit-pet`: three photographs of two breeds to train on, two to test."""
    raw, breeds, seed = root / "oxford-iiit-pet", ("Abyssinian", "american_bulldog"), 0
    for part, labels in (("trainval", (2, 1, 2)), ("test", (1, 2))):
        lines = []
        for label in labels:
            name = f"{breeds[label - 1]}_{100 + seed}"
            lines.append(f"{name} {label} {label} 1")
            picture(raw / "images" / f"{name}.jpg", seed)
            seed += 1
        write_lines(raw / "annotations" / f"{part}.txt", lines)


def stanford_cars(root, labelled="."):
    """`root/stanford-cars` with its MATLAB files: three photographs of two models to train on, two to test."""
    raw = root / "stanford-cars"
    (raw / "devkit").mkdir(parents=True)
    io.savemat(raw / "devkit" / "cars_meta.mat", {"class_names": np.array(["Acura RL 2012", "Audi R8"], object)})
    kind = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    seed = 0
    for part, labels, path in (
        ("cars_train", (2, 1, 2), raw / "devkit" / "cars_train_annos.mat"),
        ("cars_test", (1, 2), raw / labelled / "cars_test_annos_withlabels.mat"),
    ):
        rows = [(30, 52, 246, 147, label, f"{k + 1:05d}.jpg") for k, label in enumerate(labels)]
        io.savemat(path, {"annotations": np.array([rows], kind)[0]})
        for *_, file in rows:
            picture(raw / part / file, seed)
            seed += 1


def diabetic_retinopathy(root):
    """`root/diabetic-retinopathy`: three photographs to train on, one of each part to test, two of APTOS."""
    raw, aptos = root / "diabetic-retinopathy", root / "diabetic-retinopathy" / "aptos2019-blindness-detection"
    train = [{"image": f"{10 + k}_{'left' if k % 2 else 'right'}", "level": level} for k, level in enumerate((0, 2, 1))]
    test = [{"image": f"{k}_left", "level": level, "Usage": usage} for k, level, usage in
            ((1, 4, "Private"), (2, 1, "Public"), (3, 1, "Private"))]  # fmt: skip
    write_table(raw / "trainLabels.csv", train)
    write_table(raw / "retinopathy_solution.csv", test)
    write_table(aptos / "train.csv", [{"id_code": code, "diagnosis": 3 * k} for k, code in enumerate(("0a", "1b"))])
    paths = [*(raw / "train" / f"{row['image']}.jpeg" for row in train)]
    paths += [*(raw / "test" / f"{row['image']}.jpeg" for row in test)]
    paths += [aptos / "train_images" / f"{code}.png" for code in ("0a", "1b")]
    for seed, path in enumerate(paths):
        picture(path, seed)


def beside_imagenet(root, name, directory="."):
    """`root/imagenet-a` or `root/imagenet-r`: three and two pictures of two classes, with seeds from 100 on."""
    seed = 100
    for wnid, count in zip(FOLDERS[name], (3, 2), strict=True):
        for k in range(count):
            picture(root / name / directory / wnid / f"0.{k}_x.jpg", seed)
            seed += 1
    write_lines(root / name / directory / "README.txt", ["no class"])
