"""Which masking flags honest networks raise, where none may be invalid: `python benchmarks/false_alarms.py [--full]`.

The released networks, those of known robustness in `tests/oracles`, and any run directory that is named.
"""

import argparse
import sys
import time
from pathlib import Path

from advbench.api.runtime import prepare
from advbench.core.images import pixels
from advbench.core.spec import ThreatSpec
from advbench.data import load
from advbench.models.load import load_model, released
from advbench.preflight.masking import examine_masking

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.oracles import EPS, load_oracle

SEEN = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="more of them, as for `advbench attack`")
    parser.add_argument("--only", action="store_true", help="the named ones alone")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    prepare()
    models = [load_model(name) for name in arguments.models]
    if not arguments.only:
        models += [load_model(name) for name in released()]
        models += [load_oracle(name) for name in EPS]
    print("| model | threat | flags | invalid | seconds |\n|---|---|---|---|---|")
    for model in models:
        data = load(str(model.dataset), "test")
        threat = ThreatSpec.parse(**model.record["threat"])
        images = pixels(data.images[: 1000 if arguments.full else SEEN])
        clock = time.perf_counter()
        flags = examine_masking(
            model, images, data.labels[: len(images)], threat, seed=0, batch_size=64, full=arguments.full
        )
        taken = time.perf_counter() - clock
        told = [f"{f.name} ({f.evidence.get('missed', '-')} of {f.evidence.get('n', '-')})" for f in flags]
        raised = ", ".join(told) or "none"
        invalid = sum(flag.level == "invalid" for flag in flags)
        print(f"| {model.name} | {threat} | {raised} | {invalid} | {taken:.0f} |", flush=True)


if __name__ == "__main__":
    main()
