"""Whether two attacks find the same: counts, tests and text. Nothing here runs an attack."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import accumulate, zip_longest
from math import comb
from pathlib import Path

import numpy as np

from advbench.core.intervals import wilson

COMMIT = "a39220048b3c9f2cca9a4d3a54604793c68eca7e"
SOURCES = "cf245a7be4161eb5655f4872ca94f2708ad8bdf3a8e3b04aa0239c689ac8e61d"


def version(checkout: Path | None) -> str:
    """Which reference lies there: the commit we know, or that it is another."""
    if checkout is None:
        raise SystemExit("name the reference, --reference DIR, or answers that are complete, --answers FILE")
    return COMMIT[:7] if sources(checkout) == SOURCES else f"not {COMMIT[:7]}"


def sources(checkout: Path) -> str:
    """sha256 over the names and contents of the package's modules."""
    whole = sha256()
    for path in sorted((checkout / "autoattack").glob("*.py")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test (1947, doi 10.1007/BF02295996).

    Were both equally strong, each image that only one of them breaks would be either's with probability 1/2.
    """
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**n)


@dataclass(frozen=True)
class Piece:
    """What the reference's attacks left and took on some images in a row."""

    images: int
    seconds: dict[str, float]  # by attack, in their order
    after: dict[str, int]  # images standing after it


@dataclass
class Answers:
    """What the reference found so far, as the file `--answers` keeps it."""

    norm: str
    eps: str
    version: str
    threads: int
    found: list[np.ndarray] = field(default_factory=list)  # a piece's images [n, H, W, C]; clean where it failed
    pieces: list[Piece] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Images that have answers."""
        return sum(piece.images for piece in self.pieces)

    def add(self, found: np.ndarray, piece: Piece) -> None:
        self.found.append(found)
        self.pieces.append(piece)

    def told(self) -> str:
        last = self.pieces[-1]
        left = ", ".join(f"{name} {last.after[name]} in {last.seconds[name]:.1f} s" for name in last.after)
        return f"{self.done} images; of the last {last.images} stand after {left}"

    def first(self, n: int) -> tuple[np.ndarray, list[Piece]]:
        """The answers for the first n images, and what they took; n ends a piece."""
        ends = list(accumulate(piece.images for piece in self.pieces))
        if n not in ends:
            raise SystemExit(f"the answers are for the first {', '.join(map(str, ends))} images, not for {n}")
        until = ends.index(n) + 1
        return np.concatenate(self.found[:until]), self.pieces[:until]

    def save(self, path: Path) -> None:
        about = {"norm": self.norm, "eps": self.eps, "version": self.version, "threads": self.threads}
        pieces = json.dumps([asdict(piece) for piece in self.pieces])
        np.savez(path, x_adv=np.concatenate(self.found), pieces=pieces, **about)

    @classmethod
    def load(cls, path: Path) -> "Answers":
        f = np.load(path, allow_pickle=False)
        pieces = [Piece(**piece) for piece in json.loads(f["pieces"].item())]
        cuts = list(accumulate(piece.images for piece in pieces))[:-1]
        about = {name: f[name].item() for name in ("norm", "eps", "version", "threads")}
        return cls(**about, found=np.split(f["x_adv"], cuts), pieces=pieces)


@dataclass(frozen=True)
class Side:
    """One of the two: verdict per image, and what each of its attacks left and took."""

    name: str
    robust: np.ndarray  # bool [n]
    attacks: list[str]
    after: list[int]
    seconds: list[float]


def section(title: str, correct: np.ndarray, ours: Side, theirs: Side, notes: list[str]) -> str:
    """One comparison as Markdown."""
    n, both = len(correct), ours.robust & theirs.robust
    only_ours, only_theirs = int((~ours.robust & theirs.robust).sum()), int((ours.robust & ~theirs.robust).sum())
    rates = [("clean", correct), (ours.name, ours.robust), (theirs.name, theirs.robust), ("worst of both", both)]
    difference = 100 * (int(ours.robust.sum()) - int(theirs.robust.sum())) / n
    same = n - only_ours - only_theirs
    parts = [
        f"### {title}",
        table(["", "standing", "robust accuracy", "95 % (Wilson)"], [rate(name, mask) for name, mask in rates]),
        f"Ours minus the reference: {difference:+.2f} points. The verdict is the same on {same:,} of {n:,} images "
        f"({same / n:.2%}); only ours breaks {only_ours}, only the reference {only_theirs}; "
        f"exact McNemar p = {mcnemar(only_ours, only_theirs):.3g}.",
        table(["ours", "standing", "s", "reference", "standing", "s"], steps(ours, theirs)),
        *notes,
    ]
    return "\n\n".join(parts)


def rate(name: str, mask: np.ndarray) -> list[str]:
    k, n = int(mask.sum()), len(mask)
    low, high = wilson(k, n)
    return [name, f"{k:,} / {n:,}", f"{k / n:.2%}", f"{low:.2%} to {high:.2%}"]


def steps(ours: Side, theirs: Side) -> list[list[str]]:
    """The attacks of both in their order, and the sums."""
    lines = [
        [cell for part in pair for cell in part or ("", "", "")]
        for pair in zip_longest(*([*each(side)] for side in (ours, theirs)))
    ]
    totals = [cell for side in (ours, theirs) for cell in ("all", "", f"{sum(side.seconds):,.1f}")]
    return [*lines, totals]


def each(side: Side):
    for name, left, seconds in zip(side.attacks, side.after, side.seconds, strict=True):
        yield f"`{name}`", f"{left:,}", f"{seconds:,.1f}"


def table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def put(page: Path, name: str, text: str) -> None:
    """Put a section into the page: where one of that name is, or at its end; the rest stays."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    whole, block = page.read_text(), f"{begin}\n{text}\n{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    page.write_text(pattern.sub(lambda _: block, whole) if begin in whole else f"{whole.rstrip()}\n\n{block}\n")


def typed(words: Sequence[str]) -> str:
    """What was typed after a script's name, without the paths of one machine."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--peers":
            next(rest)
        elif word in ("--reference", "--answers", "--ours"):
            kept += [word, "FILE" if word == "--answers" else "DIR"]
            next(rest)
        elif word != "--write":
            kept.append(Path(word).name if Path(word).is_dir() else word)
    return shlex.join(kept)
