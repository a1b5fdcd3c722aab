"""The network behind the embedded specialists, in torch, as it is trained; `embedded_heads` runs the same sums in numpy.

    v_i = encoder(chunk i) + F f_i                      f: how a step relates to request and results
    z   = tanh(W [v_0 | sum_i a_i v_i | max_i v_i | r] + b),  a = softmax(v q)
    rows      logit P(s, a)     = U_a z + V_s z + M_sa + sum_k (G z)_k S_sk T_ak
    effects   logit P(e | s, a) = E relu(A z + B_a + C_s)
    levels    cumulative logits = L relu(A z + B_a + C_s + D_e), one head each for extent, likelihood, immediacy

Beside the trees it learns judgements of the whole scenario (harmful? how severe? which actions are grave? which benefits?).
They shape z and are not shipped: at run time the verdict is computed from the tree alone. So that texts with a label only can
teach the heads too, the expected harmfulness of the predicted trees under fixed middling weights is asked to agree with the
label:

    S = sum over likely (s, a) of P(s, a) sum_e P(e | s, a) E[extent] E[likelihood] E[immediacy]
    P(harmful) = sigmoid(exp(c) (S_harm - r S_benefit) - t_0),  P(severity >= k) likewise with t_k
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from safetyanalyst.generation.backends.embedded_steps import SCENARIO_FEATURES, STEP_FEATURES
from safetyanalyst.trees import TREE_KINDS, TreeKind

SEVERITIES = 4

HIDDEN = 96  # of the heads below a row
RANK = 16  # of what pairs of stakeholder and action share
_LIKELY = 12  # rows that an expected score is summed over
_EXTENT_STEPS = (0.4, 0.4, 0.2)  # what each level of extent adds to the one below; the lowest counts nothing
_LIKELIHOOD_STEPS = (0.1, 0.4, 0.5)  # the lowest level, and what the others add
_DOWNSTREAM = 0.5


class Sizes(NamedTuple):
    """How wide the outputs are.

    Attributes:
        z: Of the summary of a scenario.
        stakeholders: Listed by the taxonomy.
        actions: Per kind.
        effects: Per kind.
        extents: Levels above the lowest.
        likelihoods: Likewise.
        judgements: Judged of the whole scenario.
    """

    z: int
    stakeholders: int
    actions: dict[TreeKind, int]
    effects: dict[TreeKind, int]
    extents: int
    likelihoods: int
    judgements: int


class Padded(NamedTuple):
    """Chunks of like length.

    Attributes:
        ids: (chunks, tokens).
        mask: (chunks, tokens).
        at: (chunks,) which chunks of the batch they are.
    """

    ids: Tensor
    mask: Tensor
    at: Tensor


class Batch(NamedTuple):
    """Some scenarios as numbers.

    Attributes:
        padded: All chunks, in groups of like length.
        of: (chunks,) the scenario of each chunk, ascending.
        first: (n,) the first chunk of each scenario.
        steps: (chunks, step features).
        relations: (n, scenario features).
    """

    padded: tuple[Padded, ...]
    of: Tensor
    first: Tensor
    steps: Tensor
    relations: Tensor


class Rows(NamedTuple):
    """Rows of teacher trees, or leaves of them.

    Attributes:
        of: (rows,) the scenario.
        stakeholder: (rows,).
        action: (rows,).
        effect: (rows,) of leaves; empty for rows.
    """

    of: Tensor
    stakeholder: Tensor
    action: Tensor
    effect: Tensor


class Heads(nn.Module):
    """The heads of one kind of tree."""

    def __init__(self, sizes: Sizes, kind: TreeKind) -> None:
        super().__init__()
        n_actions, n_effects = sizes.actions[kind], sizes.effects[kind]
        self.actions = nn.Linear(sizes.z, n_actions, bias=False)
        self.stakeholders = nn.Linear(sizes.z, sizes.stakeholders, bias=False)
        self.pairs = nn.Parameter(torch.full((sizes.stakeholders, n_actions), -6.0))
        self.gate = nn.Linear(sizes.z, RANK, bias=False)
        self.of_stakeholder = nn.Parameter(torch.randn(sizes.stakeholders, RANK) * 0.1)
        self.of_action = nn.Parameter(torch.randn(n_actions, RANK) * 0.1)
        self.row = nn.Linear(sizes.z, HIDDEN)
        self.row_action = nn.Embedding(n_actions, HIDDEN)
        self.row_stakeholder = nn.Embedding(sizes.stakeholders, HIDDEN)
        self.row_effect = nn.Embedding(n_effects, HIDDEN)
        self.effects = nn.Linear(HIDDEN, n_effects)
        self.levels = nn.Linear(HIDDEN, sizes.extents + sizes.likelihoods + 1)
        for table in (self.row_action, self.row_stakeholder, self.row_effect):
            nn.init.normal_(table.weight, std=0.1)

    def pair_logits(self, z: Tensor) -> Tensor:
        """(n, stakeholders, actions)."""
        shared = torch.einsum("nk,sk,ak->nsa", self.gate(z), self.of_stakeholder, self.of_action)
        logits: Tensor = self.actions(z)[:, None, :] + self.stakeholders(z)[:, :, None] + self.pairs + shared
        return logits

    def row_state(self, z: Tensor, rows: Rows) -> Tensor:
        """(rows, hidden) before the nonlinearity."""
        state: Tensor = self.row(z)[rows.of] + self.row_action(rows.action) + self.row_stakeholder(rows.stakeholder)
        return state

    def effect_logits(self, z: Tensor, rows: Rows) -> Tensor:
        """(rows, effects)."""
        logits: Tensor = self.effects(torch.relu(self.row_state(z, rows)))
        return logits

    def level_logits(self, z: Tensor, leaves: Rows) -> Tensor:
        """(leaves, extents + likelihoods + 1)."""
        logits: Tensor = self.levels(torch.relu(self.row_state(z, leaves) + self.row_effect(leaves.effect)))
        return logits

    def expected_score(self, z: Tensor, n_extents: int) -> Tensor:
        """(n,) S: what the tree is expected to weigh, under middling weights.

        Args:
            z: (n, k).
            n_extents: Levels of extent above the lowest.
        """
        p = torch.sigmoid(self.pair_logits(z))
        n, _, n_actions = p.shape
        likely, at = p.flatten(1).topk(_LIKELY, dim=1)
        of = torch.arange(n, device=z.device).repeat_interleave(_LIKELY)
        at = at.flatten()
        state = self.row_state(z, Rows(of, at // n_actions, at % n_actions, at[:0]))
        present = likely.flatten()[:, None] * torch.sigmoid(self.effects(torch.relu(state)))
        above = torch.sigmoid(self.levels(torch.relu(state[:, None, :] + self.row_effect.weight)))
        extent = (above[..., :n_extents] * above.new_tensor(_EXTENT_STEPS)).sum(-1)
        likelihood = _LIKELIHOOD_STEPS[0] + (above[..., n_extents:-1] * above.new_tensor(_LIKELIHOOD_STEPS[1:])).sum(-1)
        immediacy = _DOWNSTREAM + (1.0 - _DOWNSTREAM) * above[..., -1]
        score: Tensor = (present * extent * likelihood * immediacy).sum(1).view(n, _LIKELY).sum(1)
        return score


class Network(nn.Module):
    """Encoder, summary, judgements and heads.

    Args:
        encoder: A BERT-like model of transformers.
        sizes: Of the outputs.
        dropout: Share of z that is dropped in training.
    """

    def __init__(self, encoder: nn.Module, sizes: Sizes, dropout: float = 0.1) -> None:
        super().__init__()
        width: int = encoder.config.hidden_size  # type: ignore[union-attr,assignment]
        self.encoder = encoder
        self.query = nn.Parameter(torch.zeros(width))
        self.steps = nn.Linear(len(STEP_FEATURES), width, bias=False)
        self.summary = nn.Linear(3 * width + len(SCENARIO_FEATURES), sizes.z)
        self.dropout = nn.Dropout(dropout)
        self.judgements = nn.Linear(sizes.z, sizes.judgements)
        self.heads = nn.ModuleDict({kind: Heads(sizes, kind) for kind in TREE_KINDS})
        self.score_scale = nn.Parameter(torch.zeros(2))  # log of the slope, logit of what benefits count
        self.score_cuts = nn.Parameter(torch.zeros(1 + SEVERITIES))
        self._n_extents = sizes.extents

    def score_logits(self, z: Tensor) -> Tensor:
        """(n, 1 + severities) of harmful and of severity at least 1, 2, ... by what the trees are expected to weigh."""
        harm, benefit = (self.heads[kind].expected_score(z, self._n_extents) for kind in TREE_KINDS)  # type: ignore[operator]
        score = harm - 0.5 * torch.sigmoid(self.score_scale[1]) * benefit
        logits: Tensor = torch.exp(self.score_scale[0]) * score[:, None] - self.score_cuts
        return logits

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(chunks, width) mean of the encoder's states over the tokens of each chunk."""
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(states.dtype)
        vectors: Tensor = (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)
        return vectors

    def forward(self, batch: Batch) -> Tensor:
        """(n, z) summaries."""
        encoded = torch.cat([self.encode(it.ids, it.mask).float() for it in batch.padded])
        order = torch.argsort(torch.cat([it.at for it in batch.padded]))
        vectors = encoded[order] + self.steps(batch.steps)
        n = len(batch.first)
        scores = vectors @ self.query
        highest = torch.full((n,), -torch.inf).to(scores).scatter_reduce(0, batch.of, scores, "amax")
        odds = torch.exp(scores - highest[batch.of])
        total = torch.zeros(n).to(odds).index_add(0, batch.of, odds)
        mean = torch.zeros(n, vectors.shape[1]).to(vectors).index_add(0, batch.of, vectors * (odds / total[batch.of])[:, None])
        index = batch.of[:, None].expand_as(vectors)
        top = torch.full_like(mean, -torch.inf).scatter_reduce(0, index, vectors, "amax")
        return self.summarise(torch.cat((vectors[batch.first], mean, top, batch.relations), 1))

    def summarise(self, pooled: Tensor) -> Tensor:
        """(n, z)."""
        z: Tensor = self.dropout(torch.tanh(self.summary(pooled)))
        return z
