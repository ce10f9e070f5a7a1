"""The functions of `import advbench`, which the command line, the gate and the pytest plugin call too."""
