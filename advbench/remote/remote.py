"""A remote model in the form that attacks and judge call."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax

from advbench.core.external import External
from advbench.remote.target import Target


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Remote(External):
    """A remote model as a `Model`, without a gradient.

    Attributes
    ----------
    target : Target
        Sends the queries.
    judging : Remote or None
        The same model for the judge, which repeats every query.
    """

    target: Target = field(kw_only=True)
    judging: Remote | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, target: Target) -> Remote:
        """Make the model that attacks see; its `reseeded()` is what the judge sees.

        Parameters
        ----------
        target : Target
            Sends the queries.

        Returns
        -------
        Remote
            The model.
        """
        return cls(target.ask, target=target, judging=cls(target.confirm, target=target))

    @property
    def spent(self) -> bool:
        """True once no more queries are possible; attacks then end with what they have."""
        return self.target.ended is not None

    def reseeded(self) -> Remote:
        """Return the same model, with every query sent again instead of answered from memory.

        Returns
        -------
        Remote
            The model for the judge.
        """
        return self.judging or self

    def width(self, shape: tuple[int, ...]) -> int:
        """Return the number of logits, known once the model was tried.

        Parameters
        ----------
        shape : tuple of int
            Shape of one batch.

        Returns
        -------
        int
            K.
        """
        return self.target.found.classes if self.target.found else super().width(shape)
