"""Gates of a build: rules, images until the verdict is certain, and the object that holds it."""
