"""Write the handwritten digits that scikit-learn ships as a folder of images: `python folder.py digits`.

Every fourth image goes to `test`, the others to `train`; a subfolder is a class. Put your own images in its place.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / ("train" if number % 4 else "test") / f"digit-{label}"
        place.mkdir(parents=True, exist_ok=True)
        levels = np.rint(image * 255 / 16).astype(np.uint8)  # they have 17 levels, on 8x8 pixels
        Image.fromarray(levels).resize((12, 12), Image.Resampling.BICUBIC).save(place / f"{number:04}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
