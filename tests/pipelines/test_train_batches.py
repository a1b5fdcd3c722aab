from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safetyanalyst.generation.backends.embedded_runtime import Vocabulary
from safetyanalyst.generation.backends.embedded_steps import SCENARIO_FEATURES, STEP_FEATURES
from safetyanalyst.pipelines.train_batches import Encoded, Item, Limits, Packed, Reader, batch_of, encode, packed
from safetyanalyst.pipelines.train_data import Labelled
from safetyanalyst.pipelines.train_targets import targets_of
from safetyanalyst.scenarios import Scenario, Trajectory
from tests import tiny

LENGTHS = (32, 64, 112)
LIMITS = Limits(items=4, tokens=600, chunks=3)
sizes = st.lists(st.lists(st.integers(1, 204), min_size=1, max_size=6), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def vocabulary(site: Path) -> Vocabulary:
    return tiny.vocabulary(site)


def items(n: int = 40) -> list[Item]:
    """Prompts of all lengths, and the other sorts of scenarios."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 60, size=n)
    texts = [" ".join(tiny.WORDS[k] for k in rng.integers(len(tiny.WORDS), size=length)) for length in lengths]
    scenarios: list[Scenario] = [*(tiny.prompt(text, str(i)) for i, text in enumerate(texts)), *tiny.scenarios(), long_run()]
    labelled = [Labelled(it, i % 2, 1.0, it.id) for i, it in enumerate(scenarios)]
    return [Item(it, target) for it, target in zip(scenarios, targets_of(labelled, tiny.JUDGEMENTS), strict=True)]


def long_run() -> Trajectory:
    return tiny.agent("Clean the office please", *((f"clean_{word}", "home " * 400) for word in tiny.WORDS[:6]))


def fake(lengths: Sequence[int], at: int) -> Encoded:
    """An item with chunks of these lengths, whose tokens say which chunk of which item they are of."""
    ids = [[1000 * at + 10 * k + 1] * n for k, n in enumerate(lengths)]
    steps = np.full((len(ids), len(STEP_FEATURES)), at, np.float32)
    return Encoded(ids, steps, np.full(len(SCENARIO_FEATURES), at, np.float32), [], at)


def chunks_of(batch: Packed) -> list[list[int]]:
    """The chunks of a batch in order, without their padding."""
    found: dict[int, list[int]] = {}
    for group in batch.batch.padded:
        for at, ids, mask in zip(group.at.tolist(), group.ids, group.mask, strict=True):
            assert at not in found
            found[at] = ids[mask.bool()].tolist()
            assert not ids[~mask.bool()].any()
            assert mask.tolist() == sorted(mask.tolist(), reverse=True)
    return [found[at] for at in range(len(found))]


@given(sizes)
def test_every_item_is_packed_once_within_the_limits(lengths: list[list[int]]) -> None:
    pool = [fake(of_item, at) for at, of_item in enumerate(lengths)]
    batches = list(packed(pool, LIMITS))
    assert sorted(at for it in batches for at in it.items) == list(range(len(pool)))
    for it in batches:
        held = [ids for at in it.items for ids in pool[at].ids]
        assert len(it.items) <= LIMITS.items
        assert len(it.items) == 1 or len(held) * max(map(len, held)) <= LIMITS.tokens


@given(sizes)
def test_a_batch_holds_its_chunks_in_groups_of_like_length(lengths: list[list[int]]) -> None:
    pool = [fake(of_item, at) for at, of_item in enumerate(lengths)]
    it = batch_of(pool)
    assert chunks_of(it) == [ids for one in pool for ids in one.ids]
    assert it.batch.of.tolist() == [i for i, one in enumerate(pool) for _ in one.ids]
    assert [chunks_of(it)[first] for first in it.batch.first.tolist()] == [one.ids[0] for one in pool]
    assert it.batch.steps[:, 0].tolist() == it.batch.of.tolist()
    assert it.batch.relations[:, 0].tolist() == it.items
    groups = []
    for group in it.batch.padded:
        lengths_here = group.mask.sum(1)
        assert group.ids.shape[1] == lengths_here.max()
        groups.append({sum(n > end for end in LENGTHS) for n in lengths_here.tolist()})
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == len(groups)


def epoch(vocabulary: Vocabulary, number: int, *, augment: float = 0.5, seed: int = 0) -> list[Packed]:
    return list(Reader(items(), vocabulary, LIMITS, augment, seed).epoch(number))


def test_every_item_comes_once_per_epoch_in_an_order_that_the_seed_fixes(vocabulary: Vocabulary) -> None:
    first, again, later = (epoch(vocabulary, number) for number in (0, 0, 1))
    other = epoch(vocabulary, 0, seed=1)
    orders = [[at for it in batches for at in it.items] for batches in (first, again, later, other)]
    assert all(sorted(order) == list(range(len(items()))) for order in orders)
    assert orders[0] == orders[1]
    assert orders[0] not in orders[2:]
    for a, b in zip(first, again, strict=True):
        assert chunks_of(a) == chunks_of(b)
        assert torch.equal(a.batch.steps, b.batch.steps)


def test_prompts_are_changed_anew_in_every_epoch_and_nothing_else_is(vocabulary: Vocabulary) -> None:
    known, limits = items(), Limits(1, 10_000, 1000)  # alone and whole

    def read(number: int, augment: float) -> dict[int, list[list[int]]]:
        reader = Reader(known, vocabulary, limits, augment, 0)
        return {it.items[0]: chunks_of(it) for it in reader.epoch(number)}

    plain = {i: encode(it.scenario, vocabulary, i).ids for i, it in enumerate(known)}
    assert read(0, 0.0) == read(1, 0.0) == plain
    first, second = read(0, 1.0), read(1, 1.0)
    changed = {i for i in plain if first[i] != plain[i]}
    assert len(changed) > 30
    assert all(known[i].scenario.type == "prompt" for i in changed)
    assert first != second


@pytest.mark.parametrize("chunks", [1, 2, 3, 5, 9])
def test_a_long_trajectory_is_read_from_its_request_its_latest_deeds_and_others_by_chance(
    vocabulary: Vocabulary, chunks: int
) -> None:
    scenario = long_run()
    whole = encode(scenario, vocabulary, 0)
    assert len(whole.ids) > 9
    assert len(whole.deeds) == len(scenario.steps())
    (target,) = targets_of([Labelled(scenario, 1, 1.0, "g")], tiny.JUDGEMENTS)
    reader = Reader([Item(scenario, target)], vocabulary, Limits(4, 10_000, chunks), 0.0, 0)
    seen = set()
    for number in range(8):
        (it,) = reader.epoch(number)
        read = chunks_of(it)
        assert len(read) == chunks
        assert read[0] == whole.ids[0]
        for deed in whole.deeds[max(0, len(whole.deeds) - (chunks - 1)) :]:
            assert whole.ids[deed] in read
        seen.add(str(read))
    assert (len(seen) > 1) == (chunks > 1 + len(whole.deeds))
    assert len(reader.measure(0).ids) == chunks


def test_a_scenario_is_encoded_with_the_numbers_of_its_steps(vocabulary: Vocabulary) -> None:
    it = encode(tiny.agent("Read my mail please", ("read_mail", "send the bank"), ("send_mail", "home " * 300)), vocabulary, 7)
    assert it.at == 7
    assert it.steps.shape == (len(it.ids), len(STEP_FEATURES))
    assert it.relations.shape == (len(SCENARIO_FEATURES),)
    assert it.deeds == [1, 2]
    assert not it.steps[0].any()
    assert (it.steps[2:] == it.steps[2]).all()  # later chunks of a step have its numbers too
    assert it.steps[1].any()
