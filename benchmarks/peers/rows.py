"""The rows of the table: what is computed, how it is timed, and what makes two results agree."""

from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np
from peers.contest import Worker

LONG = 60.0  # seconds; what takes longer is timed once
TRAIN = 60_000  # images in an epoch
PART = 60_000 // 20 // 128 * 128  # images that are trained on when an epoch is timed
FAST = {"eps": 0.3, "step": 0.375, "steps": 1, "lr": 0.01, "batch": 128}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    kind: str
    n: int  # images
    settings: dict[str, float | str]
    images: str = "test"
    norm: str = "linf"  # in which the judge measures
    radius: float = 0.0  # the perturbation that counts as an attack; 0: no attack
    tolerance: float = 0.0  # within which the robust accuracies must agree
    tuned: bool = True  # whether peers also run at their best settings

    @property
    def title(self) -> str:
        """What is timed, in words."""
        if self.images == "train":
            return f"{self.kind}, one epoch"
        numbers = [
            f", {self.settings[name]:,} {name}" for name in ("rounds", "steps", "queries") if name in self.settings
        ]
        steps = "".join(numbers)
        return f"{self.kind}{steps}, {self.n:,} images"

    @property
    def scale(self) -> float:
        """From the time of the part that runs to that of the whole."""
        return TRAIN / self.n if self.images == "train" else 1.0

    def smaller(self) -> "Row":
        """The same with tiny sizes."""
        few = {name: min(self.settings[name], 4) for name in ("steps", "queries") if name in self.settings}
        return replace(self, n=min(self.n, 8), settings=self.settings | few | {"batch": 4})


BALL = {"norm": "linf", "eps": 0.3}

ROWS = (
    Row("forward", "Forward", 10_000, {"batch": 125}),
    Row("gradient", "Forward + input gradient", 2_000, {"batch": 125}),
    Row("fgsm", "FGSM", 1_000, {"eps": 0.3, "batch": 125}, radius=0.3, tolerance=0.002),
    Row(
        "pgd",
        "PGD",
        1_000,
        {"eps": 0.3, "step": 0.01, "steps": 40, "batch": 125},
        radius=0.3,
        tolerance=0.02,  # random starts
    ),
    Row(
        "cw",
        "CW-L2",
        100,
        {"c": 10.0, "lr": 0.01, "steps": 500, "batch": 100},
        norm="l2",
        radius=2.0,
        tolerance=0.05,
    ),
    Row("apgd", "APGD-CE", 200, BALL | {"steps": 100, "batch": 100}, radius=0.3, tolerance=0.03),
    Row("fab", "FAB", 50, BALL | {"steps": 20, "batch": 50}, radius=0.3, tolerance=0.1),
    Row("square", "Square", 100, BALL | {"queries": 1000, "batch": 100}, radius=0.3, tolerance=0.05),
    Row("deepfool", "DeepFool", 100, {"norm": "l2", "steps": 50, "batch": 100}, norm="l2", radius=2.0, tolerance=0.05),
    Row("ddn", "DDN", 100, {"norm": "l2", "steps": 100, "batch": 100}, norm="l2", radius=2.0, tolerance=0.05),
    Row("fmn", "FMN-L2", 100, {"norm": "l2", "steps": 100, "batch": 100}, norm="l2", radius=2.0, tolerance=0.05),
    Row(
        "ead",
        "EAD",
        20,
        {"norm": "l1", "rounds": 3, "steps": 100, "lr": 0.05, "c": 1.0, "batch": 20},
        norm="l1",
        radius=15.0,
        tolerance=0.15,
    ),
    Row(
        "hopskipjump", "HopSkipJump", 10, {"norm": "l2", "steps": 10, "batch": 10}, norm="l2", radius=3.0, tolerance=0.3
    ),
    Row("autoattack", "AutoAttack standard", 500, BALL | {"batch": 250}, radius=0.3, tolerance=0.01, tuned=False),
    Row("fast-at", "Fast adversarial training (FGSM-RS)", PART, FAST, images="train"),
    Row("pgd-at", "PGD-7 adversarial training", PART, FAST | {"step": 0.1, "steps": 7}, images="train"),
)


@dataclass
class Score:
    """What one contestant did in one row, with its defaults or tuned."""

    seconds: list[float] = field(default_factory=list)
    robust: float | None = None  # share of images that its attack left standing, as our judge sees it
    excess: float = 0.0  # by how much it left the ball or the box

    @property
    def median(self) -> float:
        return median(self.seconds)


@dataclass
class Result:
    """A row and every contestant's score; the key is the name and whether it was tuned."""

    row: Row
    scores: dict[tuple[str, bool], Score] = field(default_factory=dict)

    def best(self, tuned: bool) -> float:
        """Seconds of the fastest peer."""
        times = [s.median for (name, t), s in self.scores.items() if name != "advbench" and t == tuned]
        return min(times, default=float("nan"))

    @property
    def ours(self) -> Score:
        return self.scores["advbench", False]


def race(row: Row, workers: dict[str, Worker], repetitions: int) -> Result:
    """Run a row by turns: every contestant once, then every contestant again."""
    result = Result(row)
    if not any(row.name in worker.rows for name, worker in workers.items() if name != "advbench"):
        return result  # nobody to compare with
    for turn in range(repetitions):
        for name, worker in workers.items():
            for tuned in (False, True) if row.tuned and name != "advbench" else (False,):
                score = result.scores.get((name, tuned), Score())
                if row.name not in worker.rows or (turn and score.seconds[0] > LONG):
                    continue
                seconds, adversarial = worker.time(
                    row.name, tuned=tuned, images=row.images, n=row.n, settings=row.settings, warm=turn == 0
                )
                score.seconds.append(seconds)
                result.scores[name, tuned] = score
                if adversarial is not None and turn == 0:
                    judge(row, workers["advbench"], adversarial, score)
                print(f"{row.name:9} {name:13}{'tuned' if tuned else '':6} {seconds:8.2f} s", flush=True)
    return result


ORDERS = {"linf": np.inf, "l2": 2, "l1": 1, "l0": 0}


def measure(judge: Worker, adversarial: np.ndarray, norm: str, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Which images fool our model, how far each is from the clean one, and by how much any leaves the box."""
    clean = np.load(judge.folder / "test.npz", allow_pickle=False)
    x, y = clean["x"][:n].astype(np.float64), clean["y"][:n]
    np.savez(judge.folder / "adversarial.npz", x=adversarial.astype(np.float32), y=y)
    misclassified = judge.logits("adversarial", n).argmax(1) != y
    change = (adversarial - x).reshape(n, -1)
    change[np.abs(change) <= 1e-6] = 0  # a value that moved by less counts as where it was
    size = np.linalg.norm(change, ord=ORDERS[norm], axis=1)
    return misclassified, size, max(float(adversarial.max()) - 1, -float(adversarial.min()), 0.0)


def judge(row: Row, judge: Worker, adversarial: np.ndarray, score: Score) -> None:
    """Score anybody's images by our predictions: only what fools within the radius and the pixel box counts."""
    misclassified, size, box = measure(judge, adversarial, row.norm, row.n)
    score.excess = max(box, float(size.max()) - row.radius if row.norm == "linf" else 0.0)
    score.robust = 1 - float((misclassified & (size <= row.radius + 1e-6)).mean())


def distances(judge: Worker, adversarial: np.ndarray, norm: str, n: int) -> np.ndarray:
    """How far each image that fools is from the clean one; inf where it fools not, or is no image."""
    misclassified, size, _ = measure(judge, np.nan_to_num(adversarial), norm, n)
    rows = adversarial.reshape(n, -1)
    box = (rows.min(1) >= -1e-6) & (rows.max(1) <= 1 + 1e-6)  # false for a NaN
    return np.where(misclassified & box, size, np.inf)
