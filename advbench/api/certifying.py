"""What is proven of a model, beside what attacks break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advbench.api.job import Job
from advbench.api.settings import Eps, Settings
from advbench.core.errors import UsageError
from advbench.core.renamed import accepts_former_names

if TYPE_CHECKING:
    from typing import Unpack

    from advbench.api.settings import Options
    from advbench.certification import Certificate
    from advbench.evaluation import Result

How = Literal["crown", "crown-ibp", "ibp", "smoothing"]


def silently(_: str, __: int, ___: int) -> None:
    """Tell nobody."""


@accepts_former_names
def certify(
    model: Any,
    data: Any = None,
    *,
    method: How = "crown",
    norm: str | None = None,
    eps: Eps | Sequence[Eps] | None = None,
    run: Result | Path | str | None = None,
    sigma: float = 0.25,
    samples: int = 100_000,
    selection: int = 100,
    alpha: float = 0.001,
    tell: Callable[[str, int, int], None] = silently,
    **options: Unpack[Options],
) -> Certificate:
    """Prove of as many images as possible that nothing in the ball around them is misclassified.

    Parameters
    ----------
    model, data, norm, eps
        As for `advbench.evaluate`.
    method : {"crown", "crown-ibp", "ibp", "smoothing"}
        "crown" is tightest, "ibp" cheapest; "smoothing" takes any model, in L2.
    run : Result or Path, optional
        Result of an attack on the same images to join, image by image, or its run directory; data, images and threat
        are then its own unless given.
    sigma : float
        Smoothing: deviation of the noise, white being 1.
    samples, selection : int
        Smoothing: draws an image, and draws that select its class.
    alpha : float
        Smoothing: chance that a radius is wrong, below 0.5.
    tell : callable
        Told the model's name, and how many of how many images are done.
    **options
        As for `advbench.evaluate`; with `attacks`, the same images are attacked too.

    Returns
    -------
    Certificate
        With a row an image. An image both certified and broken is the flag that makes both invalid.

    Raises
    ------
    UsageError
        When the model gives no logits, can't be bounded, or the method does not serve the norm.

    Examples
    --------
    >>> import numpy as np
    >>> import advbench
    >>> images = np.zeros((2, 5, 6, 1), np.uint8)
    >>> weights = np.linspace(-1, 1, 90, dtype=np.float32).reshape(30, 3)
    >>> def model(x):
    ...     return x.reshape(len(x), -1) @ weights + np.array([1.0, 0.0, 0.0], np.float32)
    >>> proof = advbench.certify(model, (images, [0, 0]), norm="linf", eps=0.01, method="ibp")
    >>> proof.certified.correct
    2
    """
    how = Method(name=method, sigma=sigma, samples=samples, selection=selection, alpha=alpha)
    proof = Proof.of(model, data, Settings(norm=norm, eps=eps, **options), how, run)
    certificate = proof(tell)
    return proof.joined(certificate, proof.job.run if proof.job.settings.attacks else None)


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to certify; what follows the name is of smoothing alone."""

    name: How = "crown"
    sigma: float = 0.25
    samples: int = 100_000
    selection: int = 100
    alpha: float = 0.001

    @property
    def bounds(self) -> Any:
        """What `advbench.certification.certify` takes.

        Raises
        ------
        UsageError
            For numbers that smoothing can't have.
        """
        from advbench.certification import Smoothing

        if self.name != "smoothing":
            return self.name
        if not self.sigma > 0 or not 0 < self.alpha < 0.5:
            raise UsageError("smoothing needs a sigma above 0 and an alpha between 0 and 0.5")
        return Smoothing(sigma=self.sigma, samples=self.samples, selection=self.selection, alpha=self.alpha)


@dataclass(frozen=True)
class Proof:
    """One model with all that is needed to certify it, and the result to join, if any."""

    job: Job
    method: Method
    run: Result | None

    @classmethod
    def of(cls, model: Any, data: Any, settings: Settings, method: Method, run: Result | Path | str | None) -> Proof:
        """Load what is needed.

        Raises
        ------
        AdvbenchError
            For anything that can't be certified as asked.
        """
        if run is not None and settings.attacks:
            raise UsageError("give --attack or --run, not both")
        if method.name == "smoothing" and (run is not None or settings.attacks):
            what = "an attack on the model says nothing of its smoothed classifier"
            raise UsageError(f"{what}: leave --attack and --run out")
        from advbench.evaluation import Result

        joined = Result.load(Path(run)) if isinstance(run, str | Path) else run
        if joined:
            eps = joined.threat.eps if settings.eps is None else settings.eps
            settings = replace(settings, norm=settings.norm or joined.threat.norm, eps=eps)
        return cls(_job(model, data, settings, joined), method, joined)

    def __call__(self, tell: Callable[[str, int, int], None] = silently) -> Certificate:
        """Prove what can be proven.

        Raises
        ------
        UsageError
            When the model gives no logits, can't be bounded, or the method does not serve the norm.
        """
        from advbench.certification import certify as prove

        job, settings = self.job, self.job.settings
        return prove(
            job.model,
            job.data,
            job.indices,
            job.threats[0],
            self.method.bounds,
            seed=settings.seed,
            batch_size=settings.batch_size,
            tell=lambda done, total: tell(job.model.name, done, total),
            allow_extra_outputs=settings.allow_extra_outputs,
        )

    def joined(self, certificate: Certificate, attack: Callable[[], list[Result]] | None) -> Certificate:
        """The certificate, image by image beside the result of an attack: of the run, or of one made now."""
        result = attack()[0] if attack else self.run
        return certificate.joined(result) if result else certificate


def _job(model: Any, data: Any, settings: Settings, joined: Result | None) -> Job:
    """The model, images and threat; the images of the run to join, unless told otherwise."""
    whole = joined and settings.n is None and settings.indices is None
    if joined and data is None:
        data = _same(joined, settings)
        settings = replace(settings, resize=None, crop=None, interpolation=None, classes=None, transparent=None)
        settings = replace(settings, skip_corrupt=False)
    job = Job.of(model, data, settings)
    if len(job.threats) > 1:
        raise UsageError("certify takes one --eps")
    if joined and whole:
        indices = [row.index for row in joined.rows]
        job.data.require(max(indices) + 1)
        return replace(job, indices=indices)
    return job


def _same(joined: Result, settings: Settings) -> Any:
    """The data of a run, read as they were unless declared otherwise."""
    from advbench.api.subject import looking
    from advbench.data import DATASETS, Reading, load

    own = joined.data.name not in DATASETS
    reading = settings.reading
    if own and reading == Reading():
        reading = Reading.of(joined.data.reading)
    name = joined.data.source if own else joined.data.name
    return load(name, "test", reading=reading, tell=looking(name, settings.notify))
