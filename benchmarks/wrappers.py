"""How little is left of defenses at inference once attacks know them: `python benchmarks/wrappers.py MODEL`.

Clean accuracy, robust accuracy under PGD that does not know the defense, and under PGD that does (BPDA, EOT).
"""

import argparse
from pathlib import Path

from advbench.api.runtime import prepare

WRAPPERS = ["jpeg:quality=75", "jpeg:quality=25", "bits:depth=1", "bits:depth=3", "median:size=2", "median:size=3"]
WRAPPERS += ["resize:draws=10", "squeeze:depth=1,threshold=0.5"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="as for `advbench attack`; a network without a defense of its own")
    parser.add_argument("--generator", help="file of `python -m advbench.wrappers.train`, to purify with")
    parser.add_argument("--eps", help="by default what the data set is attacked with")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--attack", default="pgd:steps=40,loss=margin")
    arguments = parser.parse_args()
    prepare()
    from advbench import evaluate, load_data, load_model
    from advbench.attacks.spec import AttackSpec
    from advbench.core.spec import ThreatSpec
    from advbench.data import DATASETS
    from advbench.wrappers import wrapped

    model = load_model(arguments.model)
    data, info = load_data(str(model.dataset), "test"), DATASETS[str(model.dataset)]
    threat = ThreatSpec.parse(info.default_norm, arguments.eps or info.default_eps)
    attacks = [AttackSpec.parse(arguments.attack, threat)]
    rows: list[list[str]] = [[], *([text] for text in WRAPPERS)]
    if arguments.generator:
        rows.append([f"purify:generator={arguments.generator}"])
    print(f"{model.name}, {threat}, n = {arguments.n}, {arguments.attack}\n")
    print("| defense | clean | unaware PGD | adaptive PGD |\n|---|---|---|---|")
    for texts in rows:
        found = []
        for adaptive in (False, True) if texts else (True,):
            defended = wrapped(model, info.shape, texts, adaptive=adaptive)
            size = min(100, arguments.n)
            result = evaluate(defended, data, range(arguments.n), attacks, threat, seed=0, batch_size=size, doublings=0)
            found.append(result)
        clean, robust = found[-1].clean.accuracy, [f"{result.robust.accuracy:.1%}" for result in found]
        name = texts[0].replace(str(Path(arguments.generator or ".").parent) + "/", "") if texts else "none"
        print(f"| {name} | {clean:.1%} | {robust[0] if texts else ''} | {robust[-1]} |", flush=True)


if __name__ == "__main__":
    main()
