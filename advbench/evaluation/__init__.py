"""Judge attacks, image by image, and keep what was found."""
