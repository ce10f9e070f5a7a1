"""Reports as one HTML file that needs nothing from outside of itself."""
