"""A target as a model that attacks and judge can call."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax

from advbench.core.external import External
from advbench.remote.target import Target


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Remote(External):
    """A target as a `Model`, without a gradient."""

    target: Target = field(kw_only=True)
    judging: Remote | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, target: Target) -> Remote:
        """The model that attacks see; `afresh()` is what the judge sees."""
        return cls(target.ask, target=target, judging=cls(target.confirm, target=target))

    @property
    def spent(self) -> bool:
        """Whether nothing more can be asked, so that attacks end with what they have."""
        return self.target.ended is not None

    def afresh(self) -> Remote:
        """The same model, with every answer asked for again."""
        return self.judging or self

    def width(self, shape: tuple[int, ...]) -> int:
        """K, as found when the target was tried."""
        return self.target.found.classes if self.target.found else super().width(shape)
