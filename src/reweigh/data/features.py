"""Features of the pictures of Waterbirds, as AutoBalance has them: `reweigh features waterbirds`.

Each picture, its shorter side brought to 256 pixels and the middle 224 x 224 cut out, goes through ResNet-18 with
torchvision's ImageNet weights, as they are; what its last pooling gives, 512 numbers, is the picture's row. The archive
is read from front to back, without unpacking it.
"""

import hashlib
import importlib.metadata
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from reweigh import canonical_json
from reweigh.data import manifest, transforms
from reweigh.data.readers import waterbirds, waterbirds_images
from reweigh.digest import file_digest
from reweigh.errors import ConfigError, DataError

WEIGHTS, WEIGHTS_FILE = "resnet18-weights", "resnet18-f37072fd.pth"
IMAGES = "waterbirds-images"
KNOWN = ("waterbirds",)
RESIZE, SIDE, BATCH = 256, 224, 64
PREPROCESSING = (
    "Pillow decode, convert to RGB",
    f"resize the shorter side to {RESIZE}: torchvision Resize on a Pillow image, bilinear with antialiasing",
    f"centre crop {SIDE} x {SIDE}: torchvision CenterCrop",
    "0 ... 1, then ImageNet's mean and standard deviation of each channel",
    "eval mode, float32, CPU; global average pool; no fine-tuning, no augmentation",
)


def make(dataset: str, root: str | Path = "data") -> dict[str, Any]:
    """Make the features of a data set in `root/raw/DATASET`, from its images and the weights; its `SOURCE.json`.

    Gets both first, the weights first of all. Raises ConfigError for a data set that has no such rule, DataError, in
    one line, if weights or images cannot be had or are not what they should be.
    """
    if dataset not in KNOWN:
        raise ConfigError(f"no features are made of {dataset!r}; known: {', '.join(KNOWN)}")
    root, catalogue = Path(root), Path(root) / "manifest.yaml"
    for needed in (WEIGHTS, IMAGES):
        manifest.ensure(needed, root / "raw", manifest=catalogue)
    weights = root / "raw" / WEIGHTS / WEIGHTS_FILE
    archive = root / "raw" / IMAGES / waterbirds_images.ARCHIVE
    write(root / "raw" / dataset, archive, weights)
    return manifest.ensure(dataset, root / "raw", manifest=catalogue)


def write(folder: Path, archive: Path, weights: Path) -> None:
    """Write table, features and what they are to `folder`: `metadata.csv`, `resnet18.npy`, `resnet18.json`.

    Raises DataError if the archive is damaged, or lacks the table or a picture of it.
    """
    network = resnet18(weights)
    table, found = None, _Found()
    for name, content in members(archive):
        if name == waterbirds.METADATA:
            table = content
        else:
            found.add(name, content, network)
    found.finish(network)
    if table is None:
        raise DataError(f"{archive}: contains no {waterbirds.METADATA}; delete it and run: reweigh fetch {IMAGES}")
    rows = rows_of(table)
    if absent := [name for name in rows.files if name not in found.features]:
        raise DataError(f"{archive}: lacks {len(absent)} of {len(rows.files)} pictures, {absent[0]} first")
    features = np.stack([found.features[name] for name in rows.files])
    form = waterbirds.FORMS["official"]
    canonical_json.write(folder / waterbirds.METADATA, table)
    about = _about(weights, features, table, [found.digests[name] for name in rows.files])
    canonical_json.write(folder / form.features, npy(features))
    canonical_json.write(folder / form.about, json.dumps(about, indent=1) + "\n")


def rows_of(table: bytes) -> waterbirds.Metadata:
    """The rows of the archive's table. Raises DataError if it is not that of Waterbirds."""
    with tempfile.TemporaryDirectory(prefix="reweigh-features-") as folder:
        path = Path(folder, waterbirds.METADATA)
        path.write_bytes(table)
        return waterbirds.metadata(path)


def resnet18(weights: Path) -> torch.nn.Module:
    """ResNet-18 without its last layer, in eval mode: (B, 3, 224, 224) -> (B, 512). DataError for other weights."""
    try:
        from torchvision.models import resnet
    except ModuleNotFoundError:
        raise DataError("making features needs torchvision; install it with: pip install torchvision") from None
    network = resnet.resnet18()
    try:
        network.load_state_dict(torch.load(weights, weights_only=True))
    except Exception as error:  # what is no state dict of this net ends in RuntimeError, UnpicklingError, KeyError ...
        reason = str(error).splitlines()[0][:200]
        raise DataError(f"{weights}: not the weights of ResNet-18 ({reason}); run: reweigh fetch {WEIGHTS}") from None
    network.fc = torch.nn.Identity()
    return network.eval()


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The table and the pictures of the archive, in its own order, by their names below its folder."""
    try:
        with tarfile.open(archive, "r|*") as stream:
            for member in stream:
                name = PurePosixPath(member.name).as_posix().partition(f"{waterbirds_images.FOLDER}/")[2]
                file = stream.extractfile(member) if member.isfile() else None
                if file is not None and (name == waterbirds.METADATA or name.lower().endswith((".jpg", ".jpeg"))):
                    yield name, file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{archive}: cannot be read ({reason}); delete it and run: reweigh fetch {IMAGES}") from None


class _Found:
    """Features (512,) and sha256 of pictures by name; what waits for the next batch."""

    def __init__(self) -> None:
        self.features: dict[str, np.ndarray] = {}
        self.digests: dict[str, str] = {}
        self.waiting: dict[str, torch.Tensor] = {}

    def add(self, name: str, content: bytes, network: torch.nn.Module) -> None:
        self.digests[name] = hashlib.sha256(content).hexdigest()
        picture = transforms.decoded(name, io.BytesIO(content))
        self.waiting[name] = transforms.middle(picture, SIDE, RESIZE)
        if len(self.waiting) == BATCH:
            self.finish(network)

    def finish(self, network: torch.nn.Module) -> None:
        """Compute the features of the pictures that wait."""
        if self.waiting:
            made = of_images(network, torch.stack(list(self.waiting.values())))
            self.features |= dict(zip(self.waiting, made, strict=True))
            self.waiting.clear()


def of_images(network: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    """Features float32 (B, 512) of images uint8 (B, 3, 224, 224)."""
    mean, std = (torch.tensor(transforms.IMAGENET_MOMENTS[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        made: np.ndarray = network((images / 255 - mean) / std).numpy()
    return made


def npy(array: np.ndarray) -> bytes:
    """An array as the bytes of an `.npy` file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _about(weights: Path, features: np.ndarray, table: bytes, digests: Iterable[str]) -> dict[str, Any]:
    """What `resnet18.json` says: the network, what was done to each picture, versions, and the digests of all that."""
    listed = "".join(f"{digest}\n" for digest in digests).encode()
    contents = {"features": features.tobytes(), waterbirds.METADATA: table}
    return {
        "title": "Waterbirds: ResNet-18 (ImageNet) features of every picture, row for row those of metadata.csv",
        "network": {"name": "ResNet-18, torchvision IMAGENET1K_V1", "weights_file": weights.name,
                    "weights_sha256": file_digest(weights)},
        "preprocessing": list(PREPROCESSING),
        "pictures": len(features),
        "sha256_of_list_of_sha256_of_pictures": hashlib.sha256(listed).hexdigest(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "pillow", "numpy")},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }  # fmt: skip
