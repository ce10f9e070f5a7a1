"""Our AutoAttack beside its authors' code, same weights, same images: `parity.py MODEL NORM EPS N --reference DIR`.

The reference is not on PyPI: DIR is a checkout of github.com/fra31/auto-attack at commit a392200. It runs in the peers'
environment; both are judged by our judge. What it found is kept in `--answers FILE` after each 250 images; a run that
was stopped, or that asked for fewer, goes on there. The comparison becomes a section of docs/parity.md.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers.agreement import Answers, Piece, Side, put, section, typed, version
from peers.contest import Worker, install
from safetensors.numpy import load_file

import advbench
from advbench.attacks.spec import attacks_of
from advbench.core.batches import Batches
from advbench.core.images import pixels
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset, load
from advbench.evaluation import evaluate
from advbench.evaluation.judge import Judge
from advbench.evaluation.result import Result
from advbench.models.load import RELEASED, load_model

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers"
PAGE = ROOT / "docs" / "parity.md"
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
LOGITS = 1e-4  # how far the port's logits may differ
BATCH = 250


@dataclass(frozen=True)
class Subject:
    """What both attack."""

    model: LoadedModel
    data: Dataset
    threat: ThreatSpec
    x: np.ndarray  # [n, H, W, C] float32
    y: np.ndarray  # [n] int32

    @classmethod
    def of(cls, asked: argparse.Namespace) -> "Subject":
        model, n = load_model(asked.model), asked.n
        if model.dataset is None:
            raise SystemExit(f"{asked.model} does not say which data it is for")
        data = load(model.dataset, "test")
        data.require(n)
        threat = ThreatSpec.parse(asked.norm.lower(), asked.eps)
        return cls(model, data, threat, pixels(data.images[:n]), data.labels[:n].astype(np.int32))

    def judge(self) -> Judge:
        size = min(BATCH, len(self.x))
        return Judge(self.model.predict, self.threat, Batches(size), size)


def main() -> int:
    asked = arguments()
    cores = sorted(os.sched_getaffinity(0))[: asked.threads]
    os.sched_setaffinity(0, cores)
    os.environ |= {"BENCH_THREADS": str(len(cores)), "OMP_NUM_THREADS": str(len(cores)), "JAX_PLATFORMS": "cpu"}
    subject = Subject.of(asked)
    answers = kept(subject, asked, len(cores))
    if fresh := answers.done < len(subject.x):
        reference(subject, answers, asked)
    theirs, correct, rejected = scored(subject, answers)
    if asked.reference_only:
        print(f"the reference leaves {theirs.robust.sum()} of {len(correct)} standing")
        return 0
    ours = own(subject, asked)
    shown = attacked(ours)
    notes = [
        f"Ours: advbench {advbench.__version__}, {', '.join(asked.attack)}, seed 0, threads {len(cores)}, "
        f"compilation included. Reference: auto-attack {answers.version}, `standard`, seed 0, "
        f"threads {answers.threads}"
        f"{'' if fresh else ', run at another time (its answers were kept), so seconds compare loosely'}.",
        f"Measured {time.strftime('%Y-%m-%d')} by `python benchmarks/parity.py {typed(sys.argv[1:])}`.",
    ]
    if rejected:
        notes.append(f"**Our judge turned down {rejected} images that the reference says it broke.**")
    title = f"{subject.model.name}, {subject.threat}, first {len(subject.x):,} test images"
    text = section(title, correct, shown, theirs, notes)
    print(text)
    if asked.write:
        put(PAGE, f"parity {subject.model.name} {subject.threat}", text)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a released model or a run directory; small-cnn, wong-cnn or resnet8")
    parser.add_argument("norm", help="linf, l2 or l1")
    parser.add_argument("eps", help="like 8/255")
    parser.add_argument("n", type=int, help="the first so many test images")
    parser.add_argument("--reference", type=Path, help="checkout of github.com/fra31/auto-attack at commit a392200")
    parser.add_argument(
        "--answers", type=Path, help="npz file for what the reference found; gone on with where it exists"
    )
    parser.add_argument("--ours", type=Path, help="run directory for ours; gone on with where it exists")
    parser.add_argument("--attack", action="append", help="ours instead of `autoattack`; may be repeated")
    parser.add_argument("--peers", type=Path, help="an environment that holds the peers already; nothing is installed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reference-only", action="store_true", help="only make the answers")
    parser.add_argument("--write", action="store_true", help="put the section into docs/parity.md")
    asked = parser.parse_args()
    asked.attack = asked.attack or ["autoattack"]
    return asked


def own(subject: Subject, asked: argparse.Namespace) -> Result:
    """Our evaluation, through the public API."""
    attacks = attacks_of(asked.attack, subject.threat)

    def say(p) -> None:
        if p.done == p.total:
            print(f"ours {p.attack}, run {p.run + 1} of {p.runs}: {p.robust} stand", file=sys.stderr, flush=True)

    everything = (subject.model, subject.data, range(len(subject.x)), attacks, subject.threat)
    return evaluate(*everything, seed=0, batch_size=BATCH, out=asked.ours, resume=asked.ours is not None, progress=say)


def attacked(result: Result) -> Side:
    return Side(
        "ours",
        np.array([row.robust for row in result.rows]),
        [report.spec for report in result.attacks],
        [report.after.correct for report in result.attacks],
        [report.seconds for report in result.attacks],
    )


def scored(subject: Subject, answers: Answers) -> tuple[Side, np.ndarray, int]:
    """The reference by our judge, which images are right when clean, and how many it wrongly believes broken."""
    n, judge = len(subject.x), subject.judge()
    x_adv, pieces = answers.first(n)
    correct = ~judge(subject.x, subject.y, subject.x).broken
    robust = ~judge(subject.x, subject.y, x_adv).broken
    changed = (x_adv != subject.x).any((1, 2, 3))
    after = [sum(piece.after[attack] for piece in pieces) for attack in STANDARD]
    seconds = [sum(piece.seconds[attack] for piece in pieces) for attack in STANDARD]
    return (
        Side("reference", robust & correct, [*STANDARD], after, seconds),
        correct,
        int((correct & robust & changed).sum()),
    )


def kept(subject: Subject, asked: argparse.Namespace, threads: int) -> Answers:
    """Answers that the file holds already, none where there is no file."""
    if not (asked.answers and asked.answers.exists()):
        return Answers(subject.threat.norm, subject.threat.eps.text, version(asked.reference), threads)
    answers = Answers.load(asked.answers)
    threat = ThreatSpec.parse(answers.norm, answers.eps)
    if threat.norm != subject.threat.norm or threat.eps.value != subject.threat.eps.value:
        raise SystemExit(f"{asked.answers} holds answers in {threat}, not in {subject.threat}")
    return answers


def reference(subject: Subject, answers: Answers, asked: argparse.Namespace) -> None:
    """Run the reference on the images that have no answers yet, a piece at a time, and keep what it found."""
    if (found := version(asked.reference)) != answers.version:
        raise SystemExit(f"the answers so far are of auto-attack {answers.version}, the checkout is {found}")
    os.environ |= {"BENCH_REFERENCE": str(asked.reference), "BENCH_REFERENCE_VERSION": answers.version}
    if asked.peers is None:
        install(ROOT, PEERS)
    python = (asked.peers or PEERS) / "bin" / "python"
    judge = subject.judge()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "weights.npz", **weights(asked.model))
        worker = Worker("with_reference.py", python, folder)
        np.savez(folder / "clean.npz", x=subject.x[:BATCH], y=subject.y[:BATCH])
        off = np.abs(worker.logits("clean", BATCH) - judge.logits(subject.x[:BATCH])).max()
        if not off <= LOGITS:
            raise SystemExit(f"the port's logits differ from ours by {off:.1e}: not the same network")
        while (at := answers.done) < len(subject.x):
            piece = slice(at, at + BATCH)
            answers.add(*attack(worker, judge, subject.x[piece], subject.y[piece], subject.threat))
            print(f"reference: {answers.told()}", file=sys.stderr, flush=True)
            if asked.answers:
                answers.save(asked.answers)


def attack(worker: Worker, judge: Judge, x: np.ndarray, y: np.ndarray, threat: ThreatSpec) -> tuple[np.ndarray, Piece]:
    """One piece: the reference's attacks one after the other, each on what stands by our judge."""
    found, seconds, after = x.copy(), {}, {}
    standing = np.flatnonzero(~judge(x, y, x).broken)
    settings = {"norm": threat.norm, "eps": float(threat.eps), "seed": 0, "batch": BATCH}
    for name in STANDARD:
        seconds[name] = 0.0
        if len(standing):
            np.savez(worker.folder / "standing.npz", x=x[standing], y=y[standing].astype(np.int64))
            job = {"images": "standing", "n": len(standing), "settings": settings}
            seconds[name], x_adv = worker.time(name, tuned=False, warm=False, **job)
            broken = judge(x[standing], y[standing], x_adv).broken
            found[standing[broken]] = x_adv[broken]
            standing = standing[~broken]
        after[name] = len(standing)
    return found, Piece(len(x), seconds, after)


def weights(spec: str) -> dict[str, np.ndarray]:
    folder = Path(spec) if Path(spec).is_dir() else RELEASED / spec
    return load_file(folder / "model.safetensors")


if __name__ == "__main__":
    raise SystemExit(main())
