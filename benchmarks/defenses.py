"""Train with every defense on MNIST, each with the same small budget, attack what comes out, and print a table.

Every run is that of the command line, `advbench train` and `advbench attack`; runs that are finished are not repeated.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean, stdev

from peers.agreement import table
from peers.command import advbench

from advbench.defenses import DEFENSES

SETTINGS = {  # for eps 0.3 on MNIST, where these differ from the defaults
    "pgd": "steps=10,rel_step_size=0.25",
    "alp": "steps=10,rel_step_size=0.25",
    "awp-pgd": "steps=10,rel_step_size=0.25",
    "trades": "rel_step_size=0.25",
    "mart": "rel_step_size=0.25",
}
LITE = ("pgd", "apgd", "apgd:loss=dlr,targets=3")  # PGD-40, then the first half of AutoAttack with fewer targets
HEAD = ("defense", "clean", "PGD-40", "AutoAttack-lite", "seconds", "cost")


def main() -> int:
    asked = arguments()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    rows = {}
    for name in asked.defenses.split(","):
        rows[name] = [measure(asked, name, seed) for seed in seeds]
        print(" | ".join(line(name, rows[name], rows.get("standard"))), file=sys.stderr, flush=True)
    head = f"{asked.model}, eps {asked.eps}, {asked.images} images, {asked.epochs} epochs, seeds {asked.seeds}, "
    print(f"{head}first {asked.n} test images; mean and deviation over seeds.\n")
    print(table(list(HEAD), [line(name, found, rows.get("standard")) for name, found in rows.items()]))
    return 0


def arguments() -> argparse.Namespace:
    known = [name for name in DEFENSES if not name.startswith("awp-") or name in ("awp-pgd", "awp-trades")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--defenses", default=",".join(known), help="names, separated by commas")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--model", default="wong-cnn")
    parser.add_argument("--eps", default="0.3")
    parser.add_argument("--images", type=int, default=6000, help="to train on")
    parser.add_argument("--validation", type=int, default=500, help="more, to choose the weights by")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("-n", type=int, default=1000, help="test images")
    parser.add_argument("--out", type=Path, default=Path("runs/defenses"))
    return parser.parse_args()


def measure(asked: argparse.Namespace, name: str, seed: int) -> dict[str, float]:
    """Clean, PGD-40 and worst-case accuracy of one network, in per cent, and the seconds it trained."""
    out = asked.out / f"{name}-{seed}"
    defense = f"{name}:{SETTINGS[name]}" if name in SETTINGS else name
    if not (out / "model.json").exists():
        budget = ["--epochs", asked.epochs, "--eps-warmup", asked.epochs / 3, "--lr", 2e-3, "--batch-size", 64]
        images = ["--train-size", asked.images + asked.validation, "--validation", asked.validation]
        what = ["mnist", "--arch", asked.model, "--defense", defense, "--eps", asked.eps, "--seed", seed]
        advbench("train", *what, *images, *budget, "--out", out, "--resume")
    attacks = [part for attack in LITE for part in ("--attack", attack)]
    result = json.loads(
        advbench("attack", out, "--eps", asked.eps, "-n", asked.n, *attacks, "--preflight", "none", "--json", "-")
    )
    return {
        "clean": 100 * result["clean"]["accuracy"],
        "pgd": 100 * result["attacks"][0]["after"]["accuracy"],
        "lite": 100 * result["robust"]["accuracy"],
        "seconds": json.loads((out / "model.json").read_text())["record"]["seconds"],
    }


def line(name: str, found: list[dict[str, float]], standard: list[dict[str, float]] | None) -> list[str]:
    """One line of the table; the cost is relative to standard training."""
    seconds = fmean(each["seconds"] for each in found)
    cost = f"{seconds / fmean(each['seconds'] for each in standard):.1f}" if standard else ""
    return [name, *(spread([each[key] for each in found]) for key in ("clean", "pgd", "lite")), f"{seconds:.0f}", cost]


def spread(values: list[float]) -> str:
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
