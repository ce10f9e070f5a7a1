"""What `import advbench` offers: the same checks, defaults and objects as the command line's."""
