"""Parts of a result: accuracies, and what was evaluated, under which threat, where and with what."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field

from advbench.core.execution import Execution
from advbench.core.flag import Record
from advbench.core.intervals import wilson
from advbench.core.spec import ThreatSpec

Count = Annotated[int, Field(ge=0)]
Fractional = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class Rate(Record):
    """An accuracy with its 95 % confidence interval.

    Attributes
    ----------
    accuracy, low, high : float
        Fraction of images in [0, 1], and the bounds of its interval.
    n, correct : int
        Number of images, and of those counted as correct.
    interval : str
        Method and level of the interval.
    """

    accuracy: Fractional
    low: Fractional
    high: Fractional
    n: Count
    correct: Count
    interval: Literal["wilson-95"] = "wilson-95"

    @classmethod
    def of(cls, correct: int, n: int) -> Rate:
        """Build the rate of `correct` images out of `n`; without images, accuracy 0 with the interval [0, 1]."""
        low, high = wilson(correct, n)
        return cls(accuracy=correct / n if n else 0.0, low=low, high=high, n=n, correct=correct)

    def __add__(self, other: Rate) -> Rate:
        """Return the rate over both sets of images together."""
        return Rate.of(self.correct + other.correct, self.n + other.n)


class ThreatInfo(Record):
    """The threat model: a norm and eps, for pixels in [0, 1].

    Attributes
    ----------
    norm : str
        `linf`, `l2`, `l1`, `l0` or `any`.
    eps : str
        The perturbation budget as typed, like `8/255`.
    eps_value : float
        The same as a number.
    eps_exact : str
        The same as an exact fraction.
    """

    norm: str
    eps: str
    eps_value: Annotated[float, Field(ge=0)]
    eps_exact: str

    @classmethod
    def of(cls, spec: ThreatSpec) -> ThreatInfo:
        """Build the record of a threat as typed."""
        return cls(norm=spec.norm, eps=spec.eps.text, eps_value=float(spec.eps), eps_exact=str(spec.eps.value))

    @property
    def fraction(self) -> Fraction:
        """Exact value of eps."""
        return Fraction(self.eps_exact)

    @property
    def title(self) -> str:
        """Norm and eps, like `linf eps 8/255`."""
        return f"{self.norm} eps {self.eps}"

    def __str__(self) -> str:
        return f"{self.norm} {self.eps}"


class Queries(Record):
    """Queries to a remote model, in images.

    Attributes
    ----------
    protocol : str
        Protocol of the server.
    answers : {"logits", "probabilities", "labels"} or None
        Type of its answers, if known.
    levels : int or None
        Steps from black to white of the pixels it receives; None if they arrive unrounded.
    asked, remembered : int
        Images sent, and images answered from the cache.
    requests, retries : int
        HTTP requests, and how many of them were repeated.
    budget : int or None
        Query limit.
    """

    protocol: str
    answers: Literal["logits", "probabilities", "labels"] | None
    levels: int | None
    asked: Count
    remembered: Count
    requests: Count
    retries: Count
    budget: Count | None


class ModelInfo(Record):
    """The evaluated model.

    Attributes
    ----------
    name, source : str
        Its name, and the text that loads it.
    digest : str
        Identifies its weights.
    dataset : str or None
        Data set it was trained on, if known.
    record : dict
        What the model file says about itself, and its input defenses.
    preprocess : dict
        Preprocessing of images as in `advbench.core.preprocess.Preprocess`; empty for none.
    queries : Queries or None
        Queries of this command to a remote model; a resumed run sent more before.
    execution : Execution or None
        What computes a model that was brought along, if that is not its own code.
    """

    name: str
    source: str
    digest: str
    dataset: str | None
    record: dict[str, Any] = Field(default_factory=dict)
    preprocess: dict[str, Any] = Field(default_factory=dict)
    queries: Queries | None = None
    execution: Execution | None = None


class DataInfo(Record):
    """The evaluated images.

    Attributes
    ----------
    name, split, source : str
        Data set, its split, and where it was loaded from.
    digest : str
        sha256 of exactly these images and labels.
    n : int
        Number of images.
    indices : str
        Indices in the split, in words; each row holds its own.
    classes : tuple of str
        Class names, label 0 first.
    reading : dict
        Declared options for reading a user's own data; empty otherwise.
    """

    name: str
    split: str
    source: str
    digest: str
    n: Count
    indices: str
    classes: tuple[str, ...] = Field(strict=False)
    reading: dict[str, Any] = Field(default_factory=dict)


class Provenance(Record):
    """Origin of the numbers: software, device, command and time.

    Attributes
    ----------
    versions : dict of str to str
        Versions of Python and the computing packages, and the state of the native convolutions.
    device, platform : str
        Name of the device, and JAX's backend, like `cpu`.
    x64 : bool
        Whether float64 is enabled in JAX.
    matmul_precision : str
        JAX's precision of matrix products.
    command : str
        The command as typed.
    started : str
        Time of the start: UTC, ISO 8601.
    seconds : float
        Duration.
    commit : str or None
        Commit checked out where the command ran, in hex.
    """

    versions: dict[str, str]
    device: str
    platform: str
    x64: bool
    matmul_precision: str
    command: str
    started: str
    seconds: Seconds
    commit: str | None = None
