"""Evaluate the models that come with the package, write their cards, and make docs/leaderboard.* of the cards.

Each model meets the full suite under the threat it was trained for; those trained on bounds are certified too. A card
goes on where it ended, and is written after each part; one of other weights must be removed first. `--render` only
renders.
"""

import argparse
import json
from pathlib import Path

from peers.agreement import put, table
from peers.command import advbench

from advbench.certification import Certificate
from advbench.certification.card import Card
from advbench.evaluation.result import Result
from advbench.models.load import RELEASED, released
from advbench.models.store import (
    MANIFEST,
    WEIGHTS,
    Manifest,
    read_manifest,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
SUITE = "autoattack"
STANDING = (0, 3)  # a flag that invalidates belongs into the table
CERTIFIED = {"ibp": "crown-ibp", "crown-ibp": "crown-ibp"}  # defense -> the method that bounds it best at little cost
HEAD = [
    "model",
    "defense",
    "network",
    "clean",
    "AutoAttack",
    "95 %",
    "certified",
    "images",
    "flags",
    "attack s",
    "training s",
]


def main() -> int:
    asked = arguments()
    for name in asked.models or released():
        if not asked.render:
            while measure(name, asked.images, asked.part, asked.out):
                pass
        describe(name)
    everything = [(card, read_manifest(RELEASED / card.model / MANIFEST)) for card in cards()]
    (DOCS / "leaderboard.json").write_text(json.dumps([entry(*each) for each in everything], indent=1) + "\n")
    for threat in dict.fromkeys((card.data, str(card.threat)) for card, _ in everything):
        shown = [each for each in everything if (each[0].data, str(each[0].threat)) == threat]
        put(DOCS / "leaderboard.md", f"leaderboard {' '.join(threat)}", page(shown))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="names; all of them by default")
    parser.add_argument("--images", type=int, default=10_000, help="the first so many test images")
    parser.add_argument("--part", type=int, default=1000, help="images between two writings of the card")
    parser.add_argument("--out", type=Path, default=Path("runs/leaderboard"))
    parser.add_argument("--render", action="store_true", help="evaluate nothing, render the cards that are there")
    return parser.parse_args()


def cards() -> list[Card]:
    """All cards: by data and threat, the most robust first."""
    found = [card for name in released() if (card := Card.load(RELEASED / name))]
    return sorted(found, key=lambda card: (card.data, str(card.threat), -card.robust.accuracy, -card.clean.accuracy))


def measure(name: str, images: int, part: int, out: Path) -> bool:
    """Attack the next images, certify where there is hope, and write the card; False: it has so many already."""
    manifest, before = read_manifest(RELEASED / name / MANIFEST), Card.load(RELEASED / name)
    first = before.robust.n if before else 0
    last = min(first + part, images) - 1
    if last < first:
        return False
    threat, folder = manifest.record["threat"], out / f"{name}-{first}-{last}"
    what = ["--norm", threat["norm"], "--eps", threat["eps"], "--attack", SUITE, "--indices", f"{first}-{last}"]
    if not (folder / "result.json").exists():
        advbench("attack", name, *what, "--out", folder, "--resume", allowed=STANDING)
    certificate = None
    if method := CERTIFIED.get(manifest.record["defense"].partition(":")[0]):
        proof = folder / "certificate.json"
        advbench("certify", name, "--run", folder, "--method", method, "--json", proof, allowed=STANDING)
        certificate = Certificate.model_validate_json(proof.read_text())
    Card.of(Result.load(folder), (SUITE,), certificate, before).save(RELEASED / name)
    return True


def page(shown: list[tuple[Card, Manifest]]) -> str:
    """The table of one data set and threat."""
    first = shown[0][0]
    return f"### {first.data}, {first.threat.title}\n\n{table(HEAD, [line(*each) for each in shown])}"


def line(card: Card, manifest: Manifest) -> list[str]:
    record = manifest.record
    return [
        f"`{card.model}`",
        f"`{record['defense']}`",
        f"`{manifest.architecture}`",
        f"{card.clean.accuracy:.2%}",
        f"{card.robust.accuracy:.2%}",
        f"{100 * card.robust.low:.2f} to {100 * card.robust.high:.2f}",
        f"{card.certified.rate.accuracy:.2%}" if card.certified else "",
        f"{card.robust.n:,}",
        ", ".join(f"{flag.name} ({flag.level})" for flag in card.flags),
        f"{card.seconds:,.0f}",
        f"{record['seconds']:,.0f}",
    ]


def entry(card: Card, manifest: Manifest) -> dict[str, object]:
    """One model in leaderboard.json: its card, and how it was made."""
    made = {key: manifest.record[key] for key in ("command", "defense", "recipe", "seconds", "hardware", "versions")}
    return {
        **card.model_dump(mode="json"),
        "architecture": manifest.architecture,
        "sha256": manifest.sha256,
        "training": made,
    }


def describe(name: str) -> None:
    """README.md beside the weights: the card for people."""
    manifest = read_manifest(RELEASED / name / MANIFEST)
    record, found = manifest.record, Card.load(RELEASED / name)
    threat, hardware, versions = record["threat"], record["hardware"], record["versions"]
    took = f"{record['seconds']:,.0f} s on {hardware['cpus']} {hardware['device']} cores"
    made = f"advbench {versions['advbench']}, jax {versions['jax']}"
    parts = [
        f"# {name}",
        f"`{manifest.architecture}`, trained on {record['images']['trained_on']:,} images of {manifest.dataset} by\n\n"
        f"    {record['command']}\n",
        f"Seed {record['recipe']['seed']}; {took}; {made}. The weights are "
        f"those of the epoch with the best accuracy on {record['images']['validated_on']:,} held-out training images.",
        f"sha256 of `{WEIGHTS}`: `{manifest.sha256}`",
    ]
    if found:
        asked = f"--norm {threat['norm']} --eps {threat['eps']} --attack {SUITE} -n {found.robust.n}"
        parts += [
            f"Measured on the first {found.robust.n:,} test images by\n\n    advbench attack {name} {asked}\n",
            table(["", "accuracy", "95 % (Wilson)"], [*accuracies(found)]),
        ]
    else:
        parts.append("Not measured yet.")
    (RELEASED / name / "README.md").write_text("\n\n".join(part.rstrip("\n") for part in parts) + "\n")


def accuracies(card: Card) -> list[list[str]]:
    rates = [("clean", card.clean), (f"{SUITE}, {card.threat.title}", card.robust)]
    if card.certified:
        rates.append((f"certified, {card.certified.method}", card.certified.rate))
    return [[name, f"{r.accuracy:.2%}", f"{100 * r.low:.2f} to {100 * r.high:.2f}"] for name, r in rates]


if __name__ == "__main__":
    raise SystemExit(main())
