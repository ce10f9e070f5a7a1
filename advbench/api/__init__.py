"""What `import advbench` offers: the command line, the gate and the pytest plugin call the same."""
