"""What scoring costs at the shape of a GPT-Neo of any size: seconds, forward passes, memory.

    python -m lda_lib rlhf bench --shape 2.7B --device cuda

Weights and texts are random: neither time nor memory depends on what they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from .config import RLHFConfig
from .models import LanguagePolicy
from .rollout import TextRollout
from .scores import target_gradient, text_influence

# name -> layers, width, heads, vocabulary; "small" is the small world's
SHAPES = {
    "small": (6, 128, 4, 1024),
    "125M": (12, 768, 12, 50257),
    "1.3B": (24, 2048, 16, 50257),
    "2.7B": (32, 2560, 20, 50257),
}


def random_policy(shape: str, config: RLHFConfig, device: str) -> LanguagePolicy:
    """A GPT-Neo with random weights and adapters that are not 0.

    Raises:
        ValueError: an unknown shape.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape: {shape!r}, expected one of {tuple(SHAPES)}")
    layers, width, heads, vocabulary = SHAPES[shape]
    neo = GPTNeoConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_layers=layers,
        num_heads=heads,
        attention_types=[[["global", "local"], layers // 2]],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, config.dtype))  # never twice the memory
        try:
            with torch.device(device):
                model = GPTNeoForCausalLM(neo)
        finally:
            torch.set_default_dtype(before)
        policy = LanguagePolicy(model, config, torch.Generator().manual_seed(0)).to(device)
        with torch.no_grad():
            for p in policy.adapters().values():
                p.normal_(0, 0.02)
    return policy


def random_records(policy: LanguagePolicy, n: int, prompt: int, config: RLHFConfig) -> TextRollout:
    """Texts of random tokens, `prompt` and then `config.new_tokens` long, at ratio 1."""
    device = next(policy.parameters()).device
    generator = torch.Generator().manual_seed(0)
    vocabulary = policy.lm.get_input_embeddings().num_embeddings

    def tokens(length: int) -> tuple[Tensor, Tensor]:
        ids = torch.randint(vocabulary, (n, length), generator=generator).to(device)
        return ids, torch.ones_like(ids, dtype=torch.bool)

    asked, said = tokens(prompt), tokens(config.new_tokens)
    size = config.micro_batch
    with torch.no_grad():
        parts = zip(*(x.split(size) for x in (*asked, *said)))
        logp = torch.cat([policy(*part).logp for part in parts])
    advantage = torch.randn(n, config.new_tokens, generator=generator).to(logp)
    index = torch.arange(n, device=device)
    zero = torch.zeros_like(logp)
    return TextRollout(
        *asked, *said, logp, logp, zero, zero[:, 0], zero, advantage, advantage[:, -1], zero,
        index, index, ("",) * n, ("",) * n,
    )  # fmt: skip


def scoring_cost(
    shape: str,
    *,
    n: int = 256,
    prompt: int = 15,
    methods: tuple[str, ...] = ("jvp", "ghost"),
    repeats: int = 3,
    device: str = "cpu",
    config: RLHFConfig | None = None,
) -> pd.DataFrame:
    """Time and memory of a forward pass, of the target's gradient and of scores by each method.

    Args:
        shape: see `SHAPES`.
        n: sequences.
        prompt: tokens of each prompt; `config` says how many follow.
        methods: of `text_influence`.
        repeats: the fastest of so many counts, after one that does not.
        device: such as "cpu" or "cuda".
        config: the paper's by default.

    Returns:
        A row per phase: seconds, forward_passes, peak_gb (beyond the model; NaN without a GPU) and,
        of scores, `difference`: the largest one from the first method's, over the largest score.
        A method's row holds the target's gradient too.
    """
    config = config or RLHFConfig.preset("paper")
    policy = random_policy(shape, config, device)
    records = random_records(policy, n, prompt, config)
    weights = records.advantage.unsqueeze(1) * records.mask / n

    @torch.no_grad()
    def forward() -> None:
        for x in records.split(config.micro_batch):
            policy(x.prompt, x.prompt_mask, x.token, x.mask)

    def target() -> None:
        target_gradient(policy, records, weights, config.micro_batch)

    def scores(method: str) -> Callable[[], Tensor]:
        return lambda: text_influence(
            policy, records, records, weights, method=method, micro_batch=config.micro_batch
        )

    phases: dict[str, Callable[[], Any]] = {"forward": forward, "target": target}
    phases |= {method: scores(method) for method in methods}
    rows, first = [], None
    for name, call in phases.items():
        seconds, peak, out = _measured(call, repeats, device)
        row = {"phase": name, "seconds": seconds, "peak_gb": peak}
        if isinstance(out, Tensor):
            first = out if first is None else first
            row["difference"] = float((out - first).abs().max() / first.abs().max())
        rows.append(row)
    table = pd.DataFrame(rows)
    table.insert(2, "forward_passes", table["seconds"] / table["seconds"][0])
    return table


def _measured(call: Callable[[], Any], repeats: int, device: str) -> tuple[float, float, Any]:
    """Fewest seconds of a call, its peak memory in 1e9 bytes, what it returned.

    On one thread of the processor, seconds are the process's own: others do not count.
    """
    gpu = torch.device(device).type == "cuda"
    alone = torch.device(device).type == "cpu" and torch.get_num_threads() == 1
    now = time.process_time if alone else time.perf_counter
    times, out, peak = [], call(), float("nan")
    for _ in range(repeats):
        if gpu:
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            held = torch.cuda.memory_allocated(device)
        started = now()
        out = call()
        if gpu:
            torch.cuda.synchronize(device)
            peak = (torch.cuda.max_memory_allocated(device) - held) / 1e9
        times.append(now() - started)
    return min(times), peak, out
