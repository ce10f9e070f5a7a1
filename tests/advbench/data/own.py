"""One small data set in every form that people have: 12 images 10x8x3 in 3 classes, in an order of their own."""

import csv
import io
import json
import tarfile

import numpy as np
from PIL import Image

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 10, 8, 3)).astype(np.uint8)
LABELS = (np.arange(12) // 4).astype(np.int32)  # sorted, as folders have them
NAMES = ("ant", "bee", "cat")


def png(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def folder(path, images=IMAGES, labels=LABELS, names=NAMES):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = path / names[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02}.png").write_bytes(png(image))
    return path


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def shard(path):
    pairs = enumerate(zip(IMAGES, LABELS, strict=True))
    members = {}
    for number, (image, label) in pairs:
        members[f"a.b/{number:03}.png"] = png(image)
        if number % 2:
            members[f"a.b/{number:03}.cls"] = str(label).encode()
        else:
            members[f"a.b/{number:03}.json"] = json.dumps({"label": int(label)}).encode()
    return tar(path, members)


def table(path, words=True):
    images = folder(path.parent / "files")
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Path", "split", "label"])
        for number, label in enumerate(LABELS):
            rows.writerow([f"{images.name}/{NAMES[label]}/{number:02}.png", "test", NAMES[label] if words else label])
    return path


def matlab(path):
    from scipy.io import savemat

    savemat(path, {"X": IMAGES.transpose(1, 2, 3, 0), "y": np.where(LABELS == 0, 10, LABELS)[:, None].astype(np.uint8)})
    return path


def arrow_table(pa):
    """As datasets makes it: a struct of bytes and path, and the class names in the schema's metadata."""
    cells = [{"bytes": png(image), "path": None} for image in IMAGES]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    made = pa.table({"image": pa.array(cells, kind), "label": pa.array(LABELS.tolist(), pa.int64())})
    features = {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), features


def parquet(path, pa):
    import pyarrow.parquet

    pyarrow.parquet.write_table(arrow_table(pa)[0], path, row_group_size=5)
    return path


def saved(path, pa):
    made, features = arrow_table(pa)
    for split in ("train", "test"):
        place = path / split
        place.mkdir(parents=True)
        name = str(place / "data-00000-of-00001.arrow")
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, made.schema) as out:
            out.write_table(made)
        (place / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
        (place / "dataset_info.json").write_text(json.dumps({"features": features}))
    (path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return path


CODE = """
import numpy as np
from advbench.data import Dataset

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 10, 8, 3)).astype(np.uint8)
LABELS = np.arange(12) // 4

def pair():
    return IMAGES, LABELS

def whole(split):
    return Dataset.from_arrays(IMAGES.transpose(0, 3, 1, 2), LABELS, ["ant", "bee", "cat"], layout="nchw")

def wrong():
    return 7

def failing():
    raise RuntimeError("out of luck")
"""
