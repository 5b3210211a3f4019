"""How fast does a transformer learn on this device, and how much of what the device can do is that?"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.sequences import Sequences
from encoders.train import EncoderConfig
from encoders.trainer import Trainer, build, kinds_to_tell, seed_torch
from encoders.transformer import TransformerEncoder


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What some steps of training took; rates count real tokens, never padding."""

    name: str
    step_ms: float
    texts_a_step: float
    tokens_a_step: float
    tokens_a_second: float
    padding: float
    """Share of the tokens that went through the model that were padding."""
    gflop_a_token: float
    share_of_rate: float
    """Useful operations a second of the whole step, over the measured matrix rate."""
    encoder_share_of_rate: float
    """The same for the text encoder's forward and backward passes alone."""
    peak_gib: float
    padding_free: bool


def matrix_rate(device: torch.device, *, repeats: int = 30) -> float:
    """Return the operations a second of a large matrix product, the median of single products on random data.

    bfloat16 on a GPU, float32 elsewhere: what the transformer multiplies in there.
    """
    size, kind = (8192, torch.bfloat16) if device.type == "cuda" else (512, torch.float32)
    one, other = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    for _ in range(3):
        one @ other
    seconds = [_seconds(lambda: one @ other, device) for _ in range(repeats)]
    return 2 * size**3 / float(np.median(seconds))


def flop_a_token(config: Any, lengths: NDArray[np.int64], *, tuning: str) -> float:
    """Return the useful operations that a transformer of this configuration spends on one token of training.

    Forward: two for each weight that multiplies the token (a layer has 4 h^2 for attention and 2 h i for the inner
    network), and 4 h s a layer for scores and mixing over the s tokens of its own text (Kaplan et al., 2020, "Scaling
    Laws for Neural Language Models", section 2.1; Chowdhery et al., 2022, "PaLM", appendix B). Backward costs twice as
    much when all weights learn, once when they are frozen below adapters, and nothing when there are none. Embeddings,
    norms and the second forward pass of `texts_at_once` are not counted: they are no useful matrix work.
    """
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    weights = layers * (4 * hidden**2 + 2 * hidden * inner)
    of_own_text = float((lengths.astype(np.float64) ** 2).sum() / max(lengths.sum(), 1))
    forward = 2 * weights + 4 * layers * hidden * of_own_text
    passes = {"full": 3.0, "lora": 2.0, "none": 1.0}[tuning]
    return float(forward * passes)


def measure_steps(
    name: str,
    config: EncoderConfig,
    data: Sequences,
    rate: float,
    *,
    steps: int,
    warm_up: int,
    padded: bool = False,
    profile: Path | None = None,
) -> Speed:
    """Time some steps of training as it runs, then the same steps' texts through the encoder alone.

    With `profile`, a table of the kernels of as many steps again is written there.
    """
    seed_torch(config.seed)
    kinds = kinds_to_tell(config, data, None)
    data = data.of_kinds(kinds)
    encoder, tower, _ = build(config, data.texts, kinds=kinds)
    assert isinstance(encoder, TransformerEncoder)
    if padded:
        encoder.packs = False
    trainer = Trainer(config, encoder, tower, data, continued=False)
    device = trainer.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    running = _again_and_again(trainer)
    for _ in islice(running, warm_up):
        pass
    asked = _watch(encoder)
    before = encoder.ran, encoder.computed
    made: list[Any] = []
    seconds = _seconds(lambda: made.extend(islice(running, steps)), device)
    ran, computed = encoder.ran - before[0], encoder.computed - before[1]
    tokens, texts = sum(step.tokens for step in made), sum(step.texts for step in made)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    rows = asked[-min(len(asked), steps) :]
    if profile is not None:
        _profile(running, steps, device, profile)
    running.close()
    del encoder.vectors

    def encode() -> None:
        for some in rows:
            vectors = encoder.vectors(some)
            if vectors.requires_grad:
                vectors.sum().backward()  # type: ignore[no-untyped-call]

    alone = _seconds(encode, device)
    alone_tokens = sum(int(encoder.text_lengths[some.numpy()].sum()) for some in rows)
    lengths = encoder.text_lengths[torch.cat(rows).numpy()]
    cost = flop_a_token(encoder.model[0].model.config, lengths, tuning=config.tuning)
    return Speed(
        name=name,
        step_ms=1e3 * seconds / steps,
        texts_a_step=texts / steps,
        tokens_a_step=tokens / steps,
        tokens_a_second=tokens / seconds,
        padding=1 - ran / max(computed, 1),
        gflop_a_token=cost / 1e9,
        share_of_rate=tokens * cost / seconds / rate,
        encoder_share_of_rate=alone_tokens * cost / alone / rate,
        peak_gib=peak,
        padding_free=bool(encoder.packs),
    )


def _again_and_again(trainer: Trainer) -> Any:
    """Yield steps, epoch after epoch, of a training that is far from its end."""
    number = 0
    while True:
        yield from trainer.run(number, 1000)
        number += 1


def _watch(encoder: TransformerEncoder) -> list[torch.Tensor]:
    """Keep which rows are asked for from now on."""
    asked: list[torch.Tensor] = []
    inner = encoder.vectors

    def vectors(rows: torch.Tensor, *, cold: torch.Tensor | None = None) -> torch.Tensor:
        if torch.is_grad_enabled():
            asked.append(rows)
        return inner(rows, cold=cold)

    encoder.vectors = vectors  # type: ignore[method-assign]
    return asked


def _profile(running: Any, steps: int, device: torch.device, path: Path) -> None:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=activities) as found:
        for _ in islice(running, steps):
            pass
        _wait(device)
    order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table = found.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=80)
    path.write_text(f"{steps} steps on {device}\n\n{table}\n", encoding="utf-8")


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
