"""From a name to a model ready to be attacked: stored and released ones, and those of other frameworks."""
