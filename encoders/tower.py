"""How does a history become a user vector, while it is trained? The user tower in torch; `served_tower` serves it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.buckets import AGE_BUCKETS, WEIGHT_BUCKETS, weight_bucket

STEP_BUCKETS = 64
_USUAL_WEIGHT = int(weight_bucket(1))
"""The bucket of an event of weight one."""


class UserTower(nn.Module):
    """A weighted mean of recent item vectors plus a gated residual of causal attention over the same events.

    Items have no ids here: a sequence of text vectors is read, as in UniSRec (Hou et al., KDD 2022), without its
    adaptor and its training ahead on other shops. The attention follows SASRec (Kang and McAuley, 2018) with relative
    positions and time intervals in place of absolute positions, as in TiSASRec (Li et al., 2020). The mean alone is
    already a good text profile, and the gate begins near zero: a user with one event, or a model with little data,
    starts there.
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.2,
        read_kinds_and_ages: bool = True,
        kinds: int = 0,
    ) -> None:
        """Make an untuned tower; of `kinds` kinds it learns what each says beside its weight, which begins at nothing.

        They draw nothing at random, so that a log without them is learned as if there were no such thing.
        """
        super().__init__()
        self.read_kinds_and_ages = read_kinds_and_ages
        self.heads = heads
        self.dropout = dropout
        self.pool = nn.ParameterDict(
            {
                "weight": nn.Parameter(torch.zeros(WEIGHT_BUCKETS)),
                "step": nn.Parameter(-0.1 * torch.arange(STEP_BUCKETS, dtype=torch.float32)),
                "age": nn.Parameter(torch.zeros(AGE_BUCKETS)),
                "direction": nn.Parameter(torch.tensor([-0.5, 0.2, *[1.0] * (WEIGHT_BUCKETS - 2)])),
            }
        )
        self.enter = nn.Linear(dim, width, bias=False)
        self.weight = nn.Parameter(0.02 * torch.randn(WEIGHT_BUCKETS, width))
        self.kinds = nn.ParameterDict()
        if kinds:
            sizes = {"share": (kinds,), "direction": (kinds,), "state": (kinds, width)}
            self.kinds.update({name: nn.Parameter(torch.zeros(size)) for name, size in sizes.items()})
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(layers))
        self.gap = nn.Parameter(torch.zeros(AGE_BUCKETS, width))
        self.leave_norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, dim, bias=False)
        self.gate = nn.Parameter(torch.full((dim,), 0.1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(12.0)))
        nn.init.normal_(self.enter.weight, std=1.0 / math.sqrt(dim) * 4)
        nn.init.zeros_(self.leave.weight)  # untuned, a user is the mean of recent items and nothing else

    def states(
        self, v: Tensor, weight_buckets: Tensor, kinds: Tensor, between: Tensor, mask: Tensor, at: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return each place's pooled mean [b, L, dim] and attention state [b, L, width], from places up to it.

        `v` [b, L, dim] oldest first, left-aligned; `weight_buckets` [b, L]; `kinds` codes [b, L], of which 0 adds
        nothing to the weight; `between` age buckets [b, L, L] of the time from the second place to the first;
        `mask` [b, L] says which places hold an event. With `at`, a place a row [b], only that place's mean [b, 1, dim]
        and state [b, 1, width], without computing the others'.
        """
        length = v.shape[1]
        if not self.read_kinds_and_ages:
            weight_buckets, between = torch.full_like(weight_buckets, _USUAL_WEIGHT), torch.zeros_like(between)
            kinds = torch.zeros_like(kinds)
        place = torch.arange(length, device=v.device)
        steps = (place[:, None] - place[None, :]).clamp(0, STEP_BUCKETS - 1)
        # every place sees itself, so that rows of padding have something to sum over
        allowed = (mask[:, None, :] & (place[:, None] >= place[None, :])) | (place[:, None] == place[None, :])
        # what the places that are asked about see of the others; layers before the last compute every place
        asked_steps = steps if at is None else steps[at][:, None]
        asked_between, asked_allowed = _only(between, at), _only(allowed, at)
        age = functional.embedding(asked_between, self.pool["age"][:, None])[..., 0]
        event_share = self._by_event("share", self.pool["weight"], weight_buckets, kinds)
        event_direction = self._by_event("direction", self.pool["direction"], weight_buckets, kinds)
        event_state = self._by_event("state", self.weight, weight_buckets, kinds)
        logits = event_share[:, None, :] + self.pool["step"][asked_steps] + age
        share = logits.masked_fill(~asked_allowed, -torch.inf).softmax(dim=-1)
        mean = functional.normalize((share * event_direction[:, None, :]) @ v, dim=-1, eps=1e-6)
        x = functional.dropout(self.enter(v) + event_state, self.dropout, self.training)
        if not len(self.layers):
            return mean, _only(x, at)
        for layer in self.layers[:-1]:
            x = layer(x, steps, between, allowed)
        return mean, self.layers[-1](x, asked_steps, asked_between, asked_allowed, at)

    def _by_event(self, name: str, by_weight: Tensor, weight_buckets: Tensor, kinds: Tensor) -> Tensor:
        """Return what each event's weight says, plus what its kind does."""
        if not self.kinds:
            return by_weight[weight_buckets]
        by_kind = self.kinds[name]
        return by_weight[weight_buckets] + torch.cat([torch.zeros_like(by_kind[:1]), by_kind])[kinds]

    def users(self, mean: Tensor, state: Tensor, gap: Tensor) -> Tensor:
        """Return user vectors [n, dim] from means, states and the last event's age bucket at the query's moment.

        Without layers that is the mean alone.
        """
        if not len(self.layers):
            return mean * self.log_scale.exp()
        if not self.read_kinds_and_ages:
            gap = torch.zeros_like(gap)
        out = self.leave(self.leave_norm(state + self.gap[gap]))
        users: Tensor = (mean + self.gate * out) * self.log_scale.exp()
        return users


class _Layer(nn.Module):
    """One pre-norm block of causal attention with learned biases for steps and intervals."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm1 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.step = nn.Parameter(torch.zeros(STEP_BUCKETS, heads))
        self.age = nn.Parameter(torch.zeros(AGE_BUCKETS, heads))
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, steps: Tensor, between: Tensor, allowed: Tensor, at: Tensor | None = None) -> Tensor:
        """Return the block's output [b, L, width]; with `at` that of one place a row, to which the rest applies."""
        b, _, width = x.shape
        h = self.norm1(x)
        x = _only(x, at)

        def split(t: Tensor) -> Tensor:
            return t.view(b, -1, self.heads, width // self.heads).transpose(1, 2)

        # embedding() gathers rows far faster than indexing does, backward above all
        age = functional.embedding(between, self.age)
        bias = (self.step[steps] + age).permute(0, 3, 1, 2).masked_fill(~allowed[:, None], -torch.inf)
        mixed = functional.scaled_dot_product_attention(
            split(self.query(_only(h, at))), split(self.key(h)), split(self.value(h)), attn_mask=bias
        )
        mixed = self.out(mixed.transpose(1, 2).reshape(x.shape))
        x = x + functional.dropout(mixed, self.dropout, self.training)
        inner = self.down(functional.relu(self.up(self.norm2(x))))
        return x + functional.dropout(inner, self.dropout, self.training)


def _only(t: Tensor, at: Tensor | None) -> Tensor:
    """Return one place of each row [b, 1, ...], or all."""
    return t if at is None else t[torch.arange(len(t), device=t.device), at][:, None]


def tower_arrays(tower: UserTower) -> dict[str, Tensor]:
    """Return the tower's parameters by the names that `served_tower` reads."""
    return {name: value.detach().float().cpu() for name, value in tower.state_dict().items()}
