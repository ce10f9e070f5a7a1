"""Record of the code that computes a model for attacks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from advbench.core.flag import Record

Count = Annotated[int, Field(ge=0)]


class Execution(Record):
    """Network that attacks compute, and its difference from the given one.

    Attributes
    ----------
    attacked : {"as given", "rewritten", "translated"}
        The network itself; its jaxpr with this package's operators; or its translation to JAX, while the judge asks the
        network itself.
    convolutions, pools : int
        Operations that this package's own took the place of.
    logits, gradients : float or None
        Largest difference of a logit over the largest logit, and median over images of the difference of an input
        gradient over the gradient, both in L2.
    reason : str or None
        Why the network is attacked as given.
    """

    attacked: Literal["as given", "rewritten", "translated"]
    convolutions: Count = 0
    pools: Count = 0
    logits: float | None = None
    gradients: float | None = None
    reason: str | None = None
