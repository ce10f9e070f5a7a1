"""Certificates: proofs of robustness, optionally joined with the result of an attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advbench.api.job import Job
from advbench.api.keywords import Eps
from advbench.api.settings import Settings
from advbench.core.errors import UsageError
from advbench.core.renamed import accepts_former_names

if TYPE_CHECKING:
    from typing import Unpack

    from advbench.api.keywords import Options
    from advbench.certification import Certificate
    from advbench.evaluation import Result

How = Literal["crown", "crown-ibp", "ibp", "smoothing"]


def silently(_: str, __: int, ___: int) -> None:
    """Ignore progress.

    Parameters
    ----------
    _, __, ___
        Name of the model, images done, and images in total.
    """


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
    """Prove for as many images as possible that no perturbation within the threat model changes the prediction.

    Parameters
    ----------
    model, data, norm, eps
        As for `advbench.evaluate`.
    method : {"crown", "crown-ibp", "ibp", "smoothing"}
        "crown" is tightest, "ibp" cheapest; "smoothing" takes any model, in L2.
    run : Result or Path, optional
        Result of an attack on the same images, or its run directory, to join image by image. Data, images and threat
        model are then those of the run, unless they are given.
    sigma : float
        Smoothing: standard deviation of the noise, in units where pixels range from 0 to 1.
    samples, selection : int
        Smoothing: draws for each image, and draws that select its class.
    alpha : float
        Smoothing: probability that a radius is wrong, below 0.5.
    tell : callable
        Called with the name of the model, the images done and the images in total.
    **options
        As for `advbench.evaluate`; with `attacks`, the same images are attacked too.

    Returns
    -------
    Certificate
        One row for each image. An image that is both certified and broken adds the flag that makes both invalid.

    Raises
    ------
    UsageError
        When the model gives no logits or can't be bounded, or the method does not support the norm.

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
    """A certification method and its settings.

    Attributes
    ----------
    name : {"crown", "crown-ibp", "ibp", "smoothing"}
        The method.
    sigma : float
        Smoothing: standard deviation of the noise, above 0.
    samples, selection : int
        Smoothing: draws for each image, and draws that select its class.
    alpha : float
        Smoothing: probability that a radius is wrong, between 0 and 0.5.
    """

    name: How = "crown"
    sigma: float = 0.25
    samples: int = 100_000
    selection: int = 100
    alpha: float = 0.001

    @property
    def bounds(self) -> Any:
        """The method as `advbench.certification.certify` takes it.

        Raises
        ------
        UsageError
            For a sigma or an alpha out of range.
        """
        from advbench.certification import Smoothing

        if self.name != "smoothing":
            return self.name
        if not self.sigma > 0 or not 0 < self.alpha < 0.5:
            raise UsageError("smoothing needs a sigma above 0 and an alpha between 0 and 0.5")
        return Smoothing(sigma=self.sigma, samples=self.samples, selection=self.selection, alpha=self.alpha)


@dataclass(frozen=True)
class Proof:
    """One model with all that is needed to certify it, and the result to join, if any.

    Attributes
    ----------
    job : Job
        Model, images and one threat model.
    method : Method
        Certification method.
    run : Result or None
        Result of an attack, to join.
    """

    job: Job
    method: Method
    run: Result | None

    @classmethod
    def of(cls, model: Any, data: Any, settings: Settings, method: Method, run: Result | Path | str | None) -> Proof:
        """Load the model, the data and the result to join.

        Parameters
        ----------
        model, data : Any
            As for `advbench.evaluate`.
        settings : Settings
            All other options; with `attacks`, the same images can be attacked too.
        method : Method
            Certification method.
        run : Result, Path or None
            Result to join, or its run directory.

        Returns
        -------
        Proof
            Ready to run.

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
        """Certify the images.

        Parameters
        ----------
        tell : callable
            Called with the name of the model, the images done and the images in total.

        Returns
        -------
        Certificate
            One row for each image.

        Raises
        ------
        UsageError
            When the model gives no logits or can't be bounded, or the method does not support the norm.
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
        """Join the certificate, image by image, with the result of an attack.

        Parameters
        ----------
        certificate : Certificate
            The certificate.
        attack : callable or None
            Runs an attack and returns its results, of which the first is joined. None: join the stored result, if any.

        Returns
        -------
        Certificate
            Joined, or unchanged where there is no result.
        """
        result = attack()[0] if attack else self.run
        return certificate.joined(result) if result else certificate


def _job(model: Any, data: Any, settings: Settings, joined: Result | None) -> Job:
    """Load model, images and threat model; by default the images of the run to join."""
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
    """Load the data of a run, read in the same way unless `settings` declare another."""
    from advbench.api.subject import looking
    from advbench.data import DATASETS, Reading, load

    own = joined.data.name not in DATASETS
    reading = settings.reading
    if own and reading == Reading():
        reading = Reading.of(joined.data.reading)
    name = joined.data.source if own else joined.data.name
    return load(name, "test", reading=reading, tell=looking(name, settings.notify))
