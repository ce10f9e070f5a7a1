"""Type of images that corruptions work on."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]
"""An image `[H, W, C]`, white being 1; or anything else of float64."""
