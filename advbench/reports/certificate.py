"""Table of a certificate: robust accuracy between an upper bound by attacks and a certified lower bound."""

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
    """Build the table: clean, robust and certified accuracy, and the share of images that neither side decides."""
    rates = {"clean accuracy": certificate.clean}
    if certificate.attacked:
        rates["robust accuracy (upper bound)"] = certificate.attacked
    rates["certified accuracy (lower bound)"] = certificate.certified
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
            f"Smoothed classifier (noise of standard deviation {how.sigma:g}, {how.samples:,} draws): each radius "
            f"holds with probability {1 - how.alpha:g}; abstained on {certificate.abstained:,} images; {seconds}."
        )
    else:
        text = f"{HOW[certificate.method]}, {seconds}. The true robust accuracy lies between the two bounds."
    against = [Note("legend", f"Attacked by {', '.join(certificate.attacks)}.")] if certificate.attacks else []
    flags = [Note(flag.level, f"{flag.level}: {flag.name}: {flag.message}") for flag in certificate.flags]
    return [Note("legend", text), *against, *flags]
