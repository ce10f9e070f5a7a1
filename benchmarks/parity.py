"""Our AutoAttack beside its authors' code, same weights, same images: `parity.py MODEL NORM EPS N --reference DIR`.

The reference is not on PyPI: DIR is a checkout of github.com/fra31/auto-attack at commit a392200. It runs in the peers'
environment; both are judged by our judge. What it found is kept in `--answers FILE` and read from there next time.
The comparison becomes a section of docs/parity.md.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from peers.agreement import Answers, Side, put, section, typed, version
from peers.contest import Worker, install
from safetensors.numpy import load_file

import advbench
from advbench.data import Dataset, load
from advbench.evaluation import evaluate
from advbench.evaluation.batches import Batches
from advbench.evaluation.images import pixels
from advbench.evaluation.judge import Judge
from advbench.evaluation.result import Result
from advbench.models.load import RELEASED, LoadedModel, load_model
from advbench.spec import ThreatSpec, attacks_of

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
    if fresh := not (asked.answers and asked.answers.exists()):
        answers = reference(subject, asked, len(cores))
    else:
        answers = stored(subject, asked.answers)
    theirs, correct, rejected = scored(subject, answers)
    if asked.reference_only:
        print(f"the reference leaves {theirs.robust.sum()} of {len(correct)} standing")
        return 0
    ours = own(subject, asked)
    shown = attacked(ours)
    known = f"{answers.threads} threads" if answers.threads else "threads not recorded"
    notes = [
        f"Ours: advbench {advbench.__version__}, {', '.join(asked.attack)}, seed 0, {len(cores)} threads, compilation "
        f"included. Reference: auto-attack {answers.version or 'a392200'}, `standard`, seed 0, {known}"
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
    parser.add_argument("model", help="a released model or a run directory; small-cnn on MNIST, resnet8 on CIFAR-10")
    parser.add_argument("norm", help="linf, l2 or l1")
    parser.add_argument("eps", help="like 8/255")
    parser.add_argument("n", type=int, help="the first so many test images")
    parser.add_argument("--reference", type=Path, help="checkout of github.com/fra31/auto-attack at commit a392200")
    parser.add_argument("--answers", type=Path, help="npz file for what the reference found; read where it exists")
    parser.add_argument("--ours", type=Path, help="run directory for ours; gone on with where it exists")
    parser.add_argument("--attack", action="append", help="ours instead of `autoattack`; may be repeated")
    parser.add_argument("--peers", type=Path, help="an environment that holds the peers already; nothing is installed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reference-only", action="store_true", help="only make the answers")
    parser.add_argument("--write", action="store_true", help="put the section into docs/parity.md")
    asked = parser.parse_args()
    asked.attack = asked.attack or ["autoattack"]
    if asked.reference is None and not (asked.answers and asked.answers.exists()):
        parser.error("name the reference: --reference DIR, or answers of an earlier run: --answers FILE")
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
    judge = subject.judge()
    correct = ~judge(subject.x, subject.y, subject.x).broken
    robust = ~judge(subject.x, subject.y, answers.x_adv).broken
    changed = (answers.x_adv != subject.x).any((1, 2, 3))
    after = [answers.after.get(attack) for attack in answers.seconds]
    side = Side("reference", robust & correct, list(answers.seconds), after, list(answers.seconds.values()))
    return side, correct, int((correct & robust & changed).sum())


def stored(subject: Subject, path: Path) -> Answers:
    """Answers of an earlier run, cut to the images at hand."""
    answers, n = Answers.load(path), len(subject.x)
    eps = ThreatSpec.parse(answers.norm, answers.eps)
    if eps.norm != subject.threat.norm or eps.eps.value != subject.threat.eps.value or len(answers.x_adv) < n:
        raise SystemExit(f"{path} holds answers for {len(answers.x_adv)} images in {eps}, not for these")
    if len(answers.x_adv) > n:
        answers.after = {}  # these counts are of more images
    answers.x_adv = answers.x_adv[:n]
    return answers


def reference(subject: Subject, asked: argparse.Namespace, threads: int) -> Answers:
    """Run the reference's attacks one after the other, each on what stands, and keep what each found."""
    os.environ |= {"BENCH_REFERENCE": str(asked.reference), "BENCH_REFERENCE_VERSION": version(asked.reference)}
    if asked.peers is None:
        install(ROOT, PEERS)
    python = (asked.peers or PEERS) / "bin" / "python"
    eps = float(subject.threat.eps)
    answers = Answers(
        subject.x.copy(),
        subject.threat.norm,
        subject.threat.eps.text,
        version=version(asked.reference),
        threads=threads,
    )
    judge, y = subject.judge(), subject.y.astype(np.int64)
    standing = np.flatnonzero(~judge(subject.x, subject.y, subject.x).broken)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "weights.npz", **weights(asked.model))
        np.savez(folder / "clean.npz", x=subject.x, y=y)
        worker = Worker("with_reference.py", python, folder)
        few = min(256, len(y))
        off = np.abs(worker.logits("clean", few) - judge.logits(subject.x[:few])).max()
        if not off <= LOGITS:
            raise SystemExit(f"the port's logits differ from ours by {off:.1e}: not the same network")
        settings = {"norm": subject.threat.norm, "eps": eps, "seed": 0, "batch": BATCH}
        for attack in STANDARD:
            if not len(standing):
                break
            np.savez(folder / "standing.npz", x=subject.x[standing], y=y[standing])
            seconds, x_adv = worker.time(
                attack, tuned=False, images="standing", n=len(standing), settings=settings, warm=False
            )
            broken = judge(subject.x[standing], subject.y[standing], x_adv).broken
            answers.x_adv[standing[broken]] = x_adv[broken]
            standing = standing[~broken]
            answers.seconds[attack], answers.after[attack] = seconds, len(standing)
            print(f"reference {attack}: {len(standing)} stand, {seconds:.1f} s", file=sys.stderr, flush=True)
            if asked.answers:
                answers.save(asked.answers)
    return answers


def weights(spec: str) -> dict[str, np.ndarray]:
    folder = Path(spec) if Path(spec).is_dir() else RELEASED / spec
    return load_file(folder / "model.safetensors")


if __name__ == "__main__":
    raise SystemExit(main())
