"""Which teacher texts another training text resembles: their trees cannot be predicted by a model that has not seen the like.

Trees out of fold are for aligning policies and for measuring. A teacher's trajectory may be a shortened copy of a labelled run,
or a second run of the same request; such rows stay in training, and out of what is called held out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from safetyanalyst.generation.backends.embedded_text import words_of
from safetyanalyst.scenarios import Scenario, Trajectory

_CONTAINED = 0.5  # share of a text's word trigrams that stand in one other text
_REQUEST = 5  # words; a shorter request says nothing


def resembling(mine: Sequence[Scenario], others: Sequence[Scenario]) -> npt.NDArray[np.bool_]:
    """(n,) whether some other text holds half of a text's word trigrams, or is a run of the same request.

    Args:
        mine: n scenarios.
        others: What they are compared with.
    """
    grams = [_trigrams(it) for it in mine]
    holders: dict[tuple[str, ...], list[int]] = {}
    for i, own in enumerate(grams):
        for gram in own:
            holders.setdefault(gram, []).append(i)
    requests: dict[str, list[int]] = {}
    for i, it in enumerate(mine):
        requests.setdefault(_request(it), []).append(i)
    found = np.zeros(len(mine), bool)
    for it in others:
        shared = Counter(i for gram in _trigrams(it) for i in holders.get(gram, ()))
        found[[i for i, n in shared.items() if n >= _CONTAINED * len(grams[i])]] = True
        if request := _request(it):
            found[requests.get(request, [])] = True
    return found


def _trigrams(scenario: Scenario) -> set[tuple[str, ...]]:
    words = words_of("\n".join(scenario.texts()))
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} or {tuple(words)}


def _request(scenario: Scenario) -> str:
    """What the user of a trajectory asks first; nothing for other scenarios and for a few words."""
    if not isinstance(scenario, Trajectory):
        return ""
    words = words_of(next((it.content for it in scenario.messages if it.role == "user"), ""))
    return " ".join(words) if len(words) >= _REQUEST else ""
