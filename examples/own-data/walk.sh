#!/bin/sh
# From a folder of images to a verdict. DATA is a folder in which train/ and test/ have a subfolder a class.
set -eu
DATA=${1:-digits}

# What is there: splits, classes, sizes, images that can't be read or lie in both splits.
advbench data inspect "$DATA" --thumbnails thumbnails.png

# A robust network. Data of one's own have no usual eps: choose it. A tenth of the images chooses the weights.
advbench train "$DATA" --arch mlp --defense pgd --norm linf --eps 0.1 --epochs 15 --out model

# The network knows its data and its threat.
advbench attack model --attack fgsm --attack apgd --out attacked

# Recompute every claim from the stored images.
advbench verify attacked

# What no attack at all can break, beside what these attacks broke.
advbench certify model --eps 0.01 --method crown -n 100

# The build passes if robust accuracy is certainly above 30%.
advbench gate model --min-robust 30% --attack apgd
