"""Decide a build: rules, images until the verdict is certain, and the one object that holds it."""
