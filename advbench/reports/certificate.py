"""A certificate as a table: attacked from above, certified from below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advbench.reports.sheet import (
    Note,
    Sheet,
    interval,
    percent,
)

if TYPE_CHECKING:
    from advbench.certification import Certificate

HOW = {
    "ibp": "Certified by interval bounds (IBP)",
    "crown-ibp": "Certified by linear bounds of the logits over intervals (CROWN-IBP)",
    "crown": "Certified by linear bounds of every neuron (CROWN)",
}


def of_certificate(certificate: Certificate) -> Sheet:
    """Clean accuracy, what attacks leave, what is certified, and what neither says."""
    rates = {"clean": certificate.clean}
    if certificate.attacked:
        rates["attacked, from above"] = certificate.attacked
    rates["certified, from below"] = certificate.certified
    n = certificate.clean.n
    gap = ("undecided", f"{certificate.undecided / n:.{2 if n > 1000 else 1}%}", "", f"{certificate.undecided:,}")
    return Sheet(
        title=f"{certificate.model} on {n:,} {certificate.data} {certificate.split} images, {certificate.threat.title}",
        header=("", "accuracy", "95% interval", "images"),
        rows=(
            *((name, percent(rate), interval(rate), f"{rate.correct:,}") for name, rate in rates.items()),
            gap,
        ),
        notes=tuple(_notes(certificate)),
        needed=3,
    )


def _notes(certificate: Certificate) -> list[Note]:
    how, seconds = certificate.smoothing, f"{certificate.seconds:,.1f} s"
    if how:
        text = (
            f"The smoothed classifier (noise of deviation {how.sigma:g}, {how.samples:,} draws): each radius holds "
            f"with probability {1 - how.alpha:g}; abstained on {certificate.abstained:,}; {seconds}."
        )
    else:
        text = f"{HOW[certificate.method]}, {seconds}. The truth lies between the two sides."
    against = [Note("legend", f"Attacked by {', '.join(certificate.attacks)}.")] if certificate.attacks else []
    flags = [Note(flag.level, f"{flag.level}: {flag.name}: {flag.message}") for flag in certificate.flags]
    return [Note("legend", text), *against, *flags]
