"""Evaluation of a model from Python, equal to `advbench attack`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advbench.api.job import Job
from advbench.api.keywords import Eps
from advbench.api.outcome import warn_of_invalid
from advbench.api.settings import Settings, show_options
from advbench.core.errors import UsageError
from advbench.core.renamed import accepts_former_names

if TYPE_CHECKING:
    from typing import Unpack

    from advbench.api.keywords import Options
    from advbench.evaluation import Result


@accepts_former_names
def evaluate(
    model: Any, data: Any = None, *, norm: str | None = None, eps: Eps | None = None, **options: Unpack[Options]
) -> Result:
    """Attack a model, and report its clean and robust accuracy, as `advbench attack` does.

    Parameters
    ----------
    model : Any
        A callable from images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`; a Flax NNX module; a bound Linen
        module, or `(module, variables)`; `(apply, params)`, as of Haiku; a `torch.nn.Module`; a Keras 3 model; a
        `LoadedModel`; or what the command line takes: a run directory, a file, a released name.
    data : Any
        `(images, labels)`, a `Dataset`, a name or a path; by default the data that a named model was trained for.
        Images are uint8 or floats in [0, 1], `[N, H, W, C]` or `[N, C, H, W]`; labels are integers `[N]`. Floats are
        rounded to 256 levels. Arrays are taken to have as many classes as the model has outputs.
    norm : {"linf", "l2", "l1", "l0", "any"}
        Norm of the threat model; optional where the model or the data have a default.
    eps : str or number
        Perturbation budget, for pixels from 0 to 1: `"8/255"`, 0.03.
    attacks : str, Attack or sequence of these
        Like `"pgd:steps=100,restarts=5"`, `PGD(steps=100)` or `"autoattack"`; they run in this order, so put cheap ones
        first. By default FGSM, APGD, APGD on the DLR loss, and targeted APGD; in L2 also Carlini-Wagner.
    n : int
        Attack the first `n` images; by default 1,000.
    indices : sequence of int or str
        Indices of the images to attack instead.
    seed : int, default 0
        Fixes every random start.
    batch_size : int, default 128
        Images in a batch; results do not depend on it.
    preflight : bool or {"none", "fast", "full"}, default True
        Checks before the attacks. True and "fast" examine the model and look for masked gradients by short attacks,
        "full" by all checks; "none" examines the model alone; False checks nothing.
    force : bool
        Attack even if the preflight checks say that the numbers will mean nothing.
    out : Path
        Run directory for the result, the adversarial images and a journal, from which `resume` continues.
    resume : bool
        Continue the run in `out`, or begin it.
    cascade : bool, default True
        Attack only images that earlier attacks did not break. False lets every attack try every image, to compare them.
    doublings : int, default 2
        Number of times that an attack that has not converged may double its steps, or its restarts.
    time_limit : str or float
        Stop after this time, `"5m"` or seconds; the result is then incomplete.
    input_layout, mean, std
        Order of axes that the network expects, like "nchw", and the values that are subtracted from pixels in [0, 1]
        and then divide them; by default the order of the network's library, and none.
    classes : sequence of str or path
        Names of the classes, label 0 first.
    resize, crop, interpolation, transparent, skip_corrupt
        Reading of image files; see `advbench.data.Reading`.
    expect_clean : str or float
        Clean accuracy that the model is known to have; another one makes the result invalid.
    logits, allow_extra_outputs
        Name of the output that holds the logits, if there are several; whether there may be more logits than classes.
    input_defense, adaptive
        Input defenses, like `"jpeg:quality=75"`, and whether attacks are adaptive.
    translate
        Attacks compute a translation of a PyTorch module to JAX, unless False; the judge asks the module itself.
    eot_samples : int
        Draws averaged in each forward pass of a randomised model.
    weights, query_limit
        As on the command line, for a model that is named.
    progress, should_stop, notify, command
        Callables: called after every batch; called before every batch, and returning the number of a signal to stop;
        called with each note and flag as a line. And the command as typed, for the record.
    **options
        All of the above from `attacks` on.

    Returns
    -------
    Result
        One row for each image; flags of the preflight checks are among its `flags`.

    Raises
    ------
    InvalidEvaluation
        When the preflight checks say that no number would mean anything, and `force` is not given.
    UsageError
        For a model, data, attacks or settings that do not fit, in one line.
    AdvbenchError
        For anything else that prevents a result.

    Warns
    -----
    UserWarning
        When a flag of the result says that its numbers can't be trusted.

    See Also
    --------
    curve : several eps. attack : the adversarial images themselves.

    Examples
    --------
    >>> import numpy as np
    >>> import advbench
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.normal(size=(75, 3)).astype(np.float32)
    >>> images = rng.integers(0, 256, (20, 5, 5, 3), dtype=np.uint8)
    >>> labels = (images.reshape(20, -1) / np.float32(255) @ weights).argmax(1)
    >>> def model(x):
    ...     return x.reshape(len(x), -1) @ weights
    >>> result = advbench.evaluate(model, (images, labels), norm="linf", eps="8/255", attacks="fgsm", preflight=False)
    >>> result.clean.accuracy
    1.0
    >>> result.robust.accuracy < 1
    True
    """
    settings = Settings(norm=norm, eps=eps, **options)
    if "," in (settings.eps_text or ""):
        raise UsageError("evaluate takes one eps; for several there is advbench.curve")
    (result,) = Job.of(model, data, settings).run()
    warn_of_invalid(result.flags)
    return result


@accepts_former_names
def curve(
    model: Any,
    data: Any = None,
    *,
    norm: str | None = None,
    eps: str | Sequence[Eps],
    **options: Unpack[Options],
) -> list[Result]:
    """Evaluate at several eps of one norm; nothing recompiles between them.

    An image broken at a smaller eps is broken at every larger one: it is carried over and not attacked again, so robust
    accuracy never rises with eps.

    Parameters
    ----------
    model, data, norm
        As for `evaluate`.
    eps : sequence, or str
        Perturbation budgets, like `["2/255", "4/255"]` or `"2/255,4/255"`.
    **options
        As for `evaluate`; each eps has a run directory of its own in `out`.

    Returns
    -------
    list of Result
        One for each eps, from the smallest to the largest; the last is incomplete if a remote model stopped answering.

    Raises
    ------
    AdvbenchError
        As `evaluate`; also when an eps occurs twice.

    Examples
    --------
    >>> import numpy as np
    >>> import advbench
    >>> def model(x):
    ...     return x.mean((1, 2))
    >>> images = np.full((4, 5, 6, 3), [90, 100, 110], np.uint8)
    >>> several = {"norm": "linf", "eps": [0.01, 0.03], "attacks": "fgsm", "preflight": False}
    >>> [result.robust.accuracy for result in advbench.curve(model, (images, [2, 2, 2, 2]), **several)]
    [1.0, 0.0]
    """
    results = Job.of(model, data, Settings(norm=norm, eps=eps, **options)).run()
    warn_of_invalid(flag for result in results for flag in result.flags)
    return results


for _function in (evaluate, curve):
    show_options(_function)
