"""A decision in words, made from its contributions and nothing else: one sentence with a verdict, and one short paragraph.

The sentence has the form of the SODA agent-safety judge (arXiv 2606.07867):

    [Reason] <one sentence>
    [Verdict] SAFE or UNSAFE

That form knows two verdicts, a policy three decisions. SAFE is said of "allow" alone. A review is UNSAFE to let pass without a
person, and so is whatever could not be read: nothing unreadable is ever called harmless.

Stakeholders are named by models that read hostile texts. A name keeps letters, digits, blanks and a few signs; brackets, line
ends, control and direction marks go, the words of a verdict lose their capitals, and what is left is quoted and cut to length.
So a text holds one `[Reason]` and one `[Verdict]`, both ours.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal

from safetyanalyst.explanation import Contribution, Explanation
from safetyanalyst.policy import BoundPolicy, Decision, Ground
from safetyanalyst.records import Record
from safetyanalyst.score import Interval, add_up
from safetyanalyst.taxonomy import Taxonomy
from safetyanalyst.trees import TREE_KINDS, TreeKind

Verdict = Literal["SAFE", "UNSAFE"]
_LONGEST_NAME = 60
_KEPT = frozenset(" '-,&/+")
_VERDICT_WORDS = re.compile(r"(?i)(un)?safe|verdict|reason")
_ALLOWED: dict[Decision, str] = {"allow": "Allowed", "review": "For a person to decide", "block": "Blocked"}


class Words(Record):
    """A decision in words.

    Attributes:
        reason: One sentence.
        verdict: "SAFE" for "allow", else "UNSAFE".
        paragraph: The same with more of the parts, and with what is missing.
    """

    reason: str
    verdict: Verdict
    paragraph: str

    @property
    def judgement(self) -> str:
        """The two lines of the SODA judge."""
        return f"[Reason] {self.reason}\n[Verdict] {self.verdict}"


def words_for(explanation: Explanation, bound: BoundPolicy) -> Words:
    """Puts a decision in words.

    Args:
        explanation: The score with its parts.
        bound: The policy that decides.
    """
    decision, ground = bound.decide(*explanation.interval)
    teller = _Teller(explanation, bound, decision, ground)
    return Words(reason=teller.reason(), verdict="SAFE" if decision == "allow" else "UNSAFE", paragraph=teller.paragraph())


def plain_name(text: str) -> str:
    """A name from outside as part of a sentence of ours: short, on one line, and unable to speak for us."""
    folded = unicodedata.normalize("NFKC", text[: 8 * _LONGEST_NAME])
    kept = "".join(c if c.isalnum() or c in _KEPT else " " for c in folded if unicodedata.category(c) not in ("Cf", "Mn", "Me"))
    name = _VERDICT_WORDS.sub(lambda found: found[0].lower(), " ".join(kept.split()))
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"


class _Teller:
    """Makes the sentences about one decision.

    Args:
        explanation: The score with its parts.
        bound: The policy.
        decision: On that score.
        ground: Of the decision.
    """

    def __init__(self, explanation: Explanation, bound: BoundPolicy, decision: Decision, ground: Ground) -> None:
        self.explanation, self.bound, self.decision, self.ground = explanation, bound, decision, ground
        self.taxonomy: Taxonomy = bound.space.taxonomy
        band = bound.policy.review_band
        self.lower, self.upper = bound.policy.threshold - band.below, bound.policy.threshold + band.above
        self.kinds = bound.space.spec.kinds
        counted = [c for c in explanation.strongest() if c.kind in self.kinds and c.interval != (0, 0)]
        self.parts: dict[TreeKind, list[Contribution]] = {k: [c for c in counted if c.kind == k] for k in TREE_KINDS}

    def reason(self) -> str:
        """One sentence: the score against the cut, and the strongest part on each side."""
        return f"{_ALLOWED[self.decision]}: {self._against_the_cut()}; {self._sides(most=1)}."

    def paragraph(self) -> str:
        """Score and cut; harms; benefits; what is missing."""
        policy = _quoted(self.bound.policy.name)
        sentences = [f"{_ALLOWED[self.decision]} under the policy {policy}: {self._against_the_cut()}."]
        sentences += [f"{_capital(self._side(kind, most=2))}." for kind in self.kinds]
        return " ".join([*sentences, *self._missing()])

    def _against_the_cut(self) -> str:
        low, high = self.explanation.interval
        if self.ground == "score_above_threshold":
            return f"the score is {self._score(low, self.upper)}, above {self._cut(self.upper, low)}"
        if self.ground == "score_not_above_threshold":
            return f"the score is {self._score(high, self.lower)}, not above {self._cut(self.lower, high)}"
        band = f"{_number(self.lower)} to {_number(self.upper)}"
        if self.ground == "score_in_review_band":
            return f"the score is {self._score(low, self.lower)}, in the review band from {band}"
        unread = f"what is missing ({self._lost()})" if self.explanation.lost else "what could not be read"
        cut = self._cut(self.bound.policy.threshold, low)
        return f"for want of {unread} the score is {self._score(low, self.lower)}, on neither side of {cut} for certain"

    def _score(self, end: float, cut: float) -> str:
        interval = self.explanation.interval
        return _apart(end, cut) if interval.low == interval.high else _span(interval)

    def _cut(self, value: float, score: float) -> str:
        threshold = self.bound.policy.threshold
        if value == threshold:
            return f"the threshold {_apart(threshold, score)}"
        return f"{_apart(value, score)} (the threshold {_number(threshold)} with its review band)"

    def _sides(self, most: int) -> str:
        return ", and ".join(self._side(kind, most=most) for kind in self.kinds)

    def _side(self, kind: TreeKind, most: int) -> str:
        parts = self.parts[kind]
        verbs = ("adds", "add") if kind == "harm" else ("takes away", "take away")
        if not parts:
            is_lost = kind in self.bound.space.spec.kinds and any(it.startswith(kind) for it in self.explanation.lost)
            return f"no {kind} that counts was {'read' if is_lost else 'found'}"
        total = _size(add_up(c.interval for c in parts))
        if len(parts) == 1:
            return f"one {kind} {verbs[0]} {total}, {self._part(parts[0], with_size='')}"
        told = " and ".join(self._part(c, with_size=_size(c.interval)) for c in parts[:most])
        return f"{len(parts)} {kind}s {verbs[1]} {total}, {'above all' if len(parts) > most else 'namely'} {told}"

    def _part(self, c: Contribution, *, with_size: str) -> str:
        likelihood = f"{c.likelihood} likelihood" if c.likelihood else "likelihood unread"
        words = (c.immediacy or "immediacy unread", c.extent or "extent unread", likelihood)
        facts = [plain_name(it) for it in words] + ([with_size] if with_size else [])
        through = self._action(c)
        return f"{self._effect(c)} for {self._stakeholder(c)}{through} ({', '.join(facts)})"

    def _effect(self, c: Contribution) -> str:
        if c.effect is None:
            return "an effect that could not be read"
        is_known = self.taxonomy.effect_named(c.kind, c.effect) is not None
        return plain_name(c.effect) if is_known else _quoted(c.effect)

    def _stakeholder(self, c: Contribution) -> str:
        return plain_name(c.stakeholder) if c.stakeholder in self.taxonomy.stakeholders else _quoted(c.stakeholder)

    def _action(self, c: Contribution) -> str:
        if c.action is None:
            return " through an action that could not be read" if c.kind == "harm" else ""
        is_known = self.taxonomy.action_named(c.kind, c.action) is not None
        return f" through {plain_name(c.action) if is_known else _quoted(c.action)}"

    def _lost(self) -> str:
        return " and ".join(f"the {it}" if it.endswith("tree") else _subtrees(it) for it in self.explanation.lost)

    def _missing(self) -> Sequence[str]:
        unread = sum(c.value is None for c in self.explanation.contributions)
        sentences = []
        if self.explanation.lost:
            sentences.append(f"Missing: {self._lost()}, so that the score has no bound on that side.")
        if unread:
            what = "One effect was" if unread == 1 else f"{unread} effects were"
            sentences.append(f"{what} not read completely and counted as a range.")
        return sentences


def _quoted(name: str) -> str:
    return f'"{plain_name(name) or "?"}"'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _subtrees(lost: str) -> str:
    kind, _, count = lost.partition(": ")
    return f"{count} of the {kind} tree"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "any amount"
    return f"{value + 0.0:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.1e}"


def _apart(value: float, other: float) -> str:
    """A number with as many digits as tell it from another."""
    if value == other or _number(value) != _number(other):
        return _number(value)
    digits = next(n for n in range(4, 18) if f"{value:.{n}g}" != f"{other:.{n}g}")  # 17 tell any two floats apart
    return f"{value:.{digits}g}"


def _span(interval: Interval) -> str:
    if interval.low == interval.high:
        return _number(interval.low)
    if not math.isfinite(interval.low) and not math.isfinite(interval.high):
        return "without any bound"
    if not math.isfinite(interval.low):
        return f"at most {_number(interval.high)}"
    if not math.isfinite(interval.high):
        return f"at least {_number(interval.low)}"
    return f"between {_number(interval.low)} and {_number(interval.high)}"


def _size(interval: Interval) -> str:
    least, most = sorted((abs(interval.low), abs(interval.high)))
    return _number(least) if least == most else f"{_number(least)} to {_number(most)}"
