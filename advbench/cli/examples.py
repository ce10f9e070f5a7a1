"""Two examples for the help of each command; a test parses them as the application would."""

from typing import Final

EXAMPLES: Final = {
    "train": """\
advbench train mnist --defense trades:beta=6 --out runs/mnist
advbench train cifar10 --arch preact-resnet18 --augment crop-flip""",
    "attack": """\
advbench attack mnist-pgd -n 200 --attack fgsm --attack pgd:steps=100
advbench attack runs/mnist --eps 0.1,0.2,0.3 --curve curve.png""",
    "bench": """\
advbench bench mnist-standard mnist-pgd mnist-trades -n 500
advbench bench runs/a runs/b --attack autoattack --markdown table.md""",
    "certify": """\
advbench certify mnist-ibp --method crown --eps 0.2 -n 500
advbench certify runs/mnist --method smoothing --norm l2 --eps 0.5""",
    "gate": """\
advbench gate mnist-pgd --min-robust 80% --eps 0.2
advbench gate advbench.toml --time-limit 5m --report junit=gate.xml""",
    "corruptions": """\
advbench corruptions mnist-pgd -n 500
advbench corruptions runs/mnist --kind fog --severity 3 --markdown table.md""",
    "report": """\
advbench report runs --html report.html
advbench report runs/first runs/second --latex table.tex""",
    "compare": """\
advbench compare runs/before runs/after
advbench compare runs/before runs/after --html page.html --figure lost.png""",
    "history": """\
advbench history runs
advbench history runs --plot trend.png --markdown history.md""",
    "verify": """\
advbench verify runs/eval
advbench verify runs/eval --model mine.py:net --data mnist""",
    "doctor": """\
advbench doctor
advbench doctor mnist-pgd --full""",
    "list": """\
advbench list attacks
advbench list models --json""",
    "data fetch": """\
advbench data fetch cifar10
advbench data fetch mnist --from ~/Downloads""",
    "data info": """\
advbench data info
advbench data info --json""",
    "data inspect": """\
advbench data inspect photos/
advbench data inspect photos/ --resize 256 --crop 224 --thumbnails few.png""",
    "data pseudo-label": """\
advbench data pseudo-label cifar10-l2-pgd more.npz --out labelled.npz
advbench train cifar10 --extra-data labelled.npz --extra-fraction 0.7""",
}
"""Command lines, one a line, by the words of the command."""
