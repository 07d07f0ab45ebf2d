"""How an explanation's numbers are written, on the page, the sheet and the command line alike."""

from __future__ import annotations

from filterscope.explanation.evidence import Channel
from filterscope.explanation.found import Found
from filterscope.explanation.goals import is_class


def share_text(share: float) -> str:
    """A share with its sign.

    >>> share_text(0.0258), share_text(-0.004)
    ('+2.6 %', '\N{MINUS SIGN}0.4 %')
    """
    return f"{signed(100 * share, 1)} %"


def signed(value: float, digits: int) -> str:
    """A number with its sign, a real minus.

    >>> signed(1.25, 2), signed(-3, 0)
    ('+1.25', '\N{MINUS SIGN}3')
    """
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def plain(text: str) -> str:
    """With a hyphen for a minus, where a font lacks that."""
    return text.replace("\N{MINUS SIGN}", "-")


def unit_text(channel: Channel) -> str:
    """A channel's label: its number, and that its picture shows what makes it lower where that is so."""
    return f"{channel.unit} below 0" if channel.below else str(channel.unit)


def unit_of(found: Found) -> str:
    """What the explained value is called."""
    return "logit" if is_class(found.seen, found.question.target) else "value"


def amount(found: Found) -> str:
    """The value that is explained, in a few words."""
    unit = unit_of(found)
    if len(found.names) > 1:
        return f"{unit}s differ by {found.value:.2f}"
    probability = found.seen.probability(found.question.target)
    return f"{unit} {found.value:.2f}" + ("" if probability is None else f", probability {probability:.1%}")
