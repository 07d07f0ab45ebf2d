"""From a photograph to the channels that led a network to its answer: which, where, and whether that holds."""

from filterscope.explanation.explain import explain
from filterscope.explanation.explained import Explanation

__all__ = ["Explanation", "explain"]
