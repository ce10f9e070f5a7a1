"""Panels of the help, and options that belong to one."""

from typing import Any, Final

import typer

NAMES: Final = "Names"
RUNS: Final = "Runs"
RULES: Final = "Rules"
MODEL: Final = "Model"
NETWORK: Final = "Network"
DATA: Final = "Data"
THREAT: Final = "Threat model"
METHOD: Final = "Certification"
CORRUPTIONS: Final = "Corruptions"
ATTACKS: Final = "Attacks"
DEFENSE: Final = "Defense"
OPTIMISATION: Final = "Optimisation"
REGULARISATION: Final = "Regularisation"
AUGMENTATION: Final = "Augmentation and extra data"
VALIDATION: Final = "Validation"
CHECKS: Final = "Preflight checks"
BASELINE: Final = "Baseline"
LIMITS: Final = "Limits"
RUN: Final = "Computation"
OUTPUT: Final = "Output"
OTHER: Final = "Other"
ORDER: Final = (
    *(NAMES, RUNS, RULES, MODEL, NETWORK, DATA, THREAT, METHOD, CORRUPTIONS, ATTACKS, DEFENSE),
    *(OPTIMISATION, REGULARISATION, AUGMENTATION, VALIDATION, CHECKS, BASELINE, LIMITS, RUN, OUTPUT, OTHER),
)
"""Panels in the order of the help."""

TO: Final = "FILE|-"
SPEC: Final = "NAME[:key=value,...]"


def option(panel: str, metavar: str | None, help: str, *names: str, **more: Any) -> Any:
    """Make an option for an `Annotated` type.

    Parameters
    ----------
    panel : str
        Heading in the help that the option is listed under.
    metavar : str or None
        Form of the value, like EPS; None for a flag.
    help : str
        Sentences for the help.
    *names : str
        Spellings; by default that of the parameter.
    **more
        As for `typer.Option`.
    """
    return typer.Option(*names, rich_help_panel=panel, metavar=metavar, help=help, **more)


def argument(panel: str, metavar: str, help: str, **more: Any) -> Any:
    """Make an argument for an `Annotated` type; the parameters are those of `option`."""
    return typer.Argument(rich_help_panel=panel, metavar=metavar, help=help, **more)
