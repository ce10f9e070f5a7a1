"""HTML reports as one self-contained file."""
