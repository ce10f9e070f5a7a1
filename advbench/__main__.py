"""`python -m advbench`."""

from advbench.cli import main

main()
