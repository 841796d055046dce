"""A causal language model with LoRA adapters and a value head, as a policy over tokens."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from .config import RLHFConfig

Model = str | Path | PreTrainedModel


def load_pretrained(auto: Any, name: Model, argument: str, **options: Any) -> PreTrainedModel:
    """`auto.from_pretrained(name)`, sure that every weight was read; a model is passed through.

    Args:
        auto: such as `AutoModelForCausalLM`.
        name: a model's name on the Hugging Face hub, a local folder, or a model.
        argument: what errors call it.
        **options: for `from_pretrained`.

    Raises:
        FileNotFoundError: no such model, or a folder without weights.
        ValueError: the weights lack some of the model's parameters.
    """
    if isinstance(name, nn.Module):
        return name  # type: ignore[return-value]
    if os.environ.get("LDA_PROGRESS", "bar") != "bar":
        disable_progress_bar()
    try:
        model, told = auto.from_pretrained(str(name), output_loading_info=True, **options)
    except (OSError, json.JSONDecodeError) as error:
        raise FileNotFoundError(
            f"{argument}: {str(name)!r}, expected a folder with config.json and weights, or a name "
            f"on the Hugging Face hub that can be reached ({str(error).splitlines()[0]})"
        ) from error
    if missing := sorted(told["missing_keys"]):
        raise ValueError(
            f"{argument}: the weights of {str(name)!r} lack {len(missing)} parameters that "
            f"{type(model).__name__} needs, such as {missing[0]!r}"
        )
    return model


def load_tokenizer(name: Model, given: Any, pad_token: str, argument: str = "tokenizer") -> Any:
    """The tokenizer of a model, with a pad token.

    Raises:
        ValueError: it has none, and the settings do not say which to use.
    """
    if given is None and isinstance(name, nn.Module):
        raise ValueError(f"{argument}: None, expected the tokenizer of the model that was passed")
    if isinstance(given, str | Path) or given is None:
        try:
            given = AutoTokenizer.from_pretrained(str(given or name))
        except (OSError, ValueError, json.JSONDecodeError) as error:
            raise FileNotFoundError(
                f"{argument}: {str(given or name)!r} holds no tokenizer ({error})"
            ) from error
        if given.vocab_size == 0:  # what transformers makes of a folder without one
            raise FileNotFoundError(f"{argument}: {given.name_or_path!r} holds no tokenizer")
    if pad_token == "eos" and given.eos_token is not None:
        given.pad_token = given.eos_token
    if given.pad_token_id is None:
        raise ValueError(
            f"{argument}: {type(given).__name__} has no pad token, expected one to fill short "
            "prompts with; set tokenizer.pad_token, or pad_token='eos' to use the end token"
        )
    return given


class Pass(NamedTuple):
    """What a pass through the policy says about generated tokens, each (b, t)."""

    logp: Tensor
    value: Tensor
    entropy: Tensor


class LanguagePolicy(nn.Module):
    """pi(token | what was written so far) and V(what was written so far).

    Args:
        model: a causal language model, its name or its folder.
        config: LoRA's size and layers, precision.
        generator: source of the adapters' first weights.
    """

    def __init__(self, model: Model, config: RLHFConfig, generator: torch.Generator):
        super().__init__()
        dtype = getattr(torch, config.dtype)
        # eager attention: the fused kernels have no forward-mode derivative
        base = load_pretrained(AutoModelForCausalLM, model, "model", dtype=dtype).to(dtype)
        if any("lora_" in name for name, _ in base.named_parameters()):
            raise ValueError(
                "model: it holds adapters already, perhaps another agent's, which would be shared; "
                "expected a model without, such as a copy.deepcopy made beforehand"
            )
        base.set_attn_implementation("eager")
        lora = LoraConfig(
            task_type="CAUSAL_LM",
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=list(config.lora_targets) or None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            self.lm = get_peft_model(base, lora)  # type: ignore[arg-type]
        if config.gradient_checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
            base.disable_input_require_grads()  # not needed so, and no jvp passes that hook
        width = base.config.get_text_config().hidden_size
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        self.value = nn.Linear(width, 1, dtype=exact)
        nn.init.zeros_(self.value.weight)  # V = 0: the first advantages are the rewards'
        nn.init.zeros_(self.value.bias)
        self.takes_positions = "position_ids" in inspect.signature(base.forward).parameters
        self.eval()

    def adapters(self) -> dict[str, nn.Parameter]:
        """The LoRA parameters by name: what scores differentiate by."""
        return {k: p for k, p in self.named_parameters() if "lora_" in k}

    def trainable(self) -> dict[str, nn.Parameter]:
        """All parameters that training changes: adapters and value head."""
        return {k: p for k, p in self.named_parameters() if "lora_" in k or k.startswith("value.")}

    def positions(self, attention: Tensor) -> dict[str, Tensor]:
        """Positions that do not count padding, where the model takes them."""
        if not self.takes_positions:
            return {}
        return {"position_ids": (attention.cumsum(1) - 1).clamp(min=0)}

    def forward(self, prompt: Tensor, prompt_mask: Tensor, token: Tensor, mask: Tensor) -> Pass:
        """Log-probability, value and entropy at each generated token, (b, t); 0 where masked."""
        ids = torch.cat([prompt, token], 1)
        attention = torch.cat([prompt_mask, mask], 1).long()
        out = self.lm(
            input_ids=ids,
            attention_mask=attention,
            output_hidden_states=True,
            logits_to_keep=token.shape[1] + 1,
            use_cache=False,
            **self.positions(attention),
        )
        # position p - 1 speaks about the first generated token
        logits = out.logits[:, -token.shape[1] - 1 : -1]
        hidden = out.hidden_states[-1][:, -token.shape[1] - 1 : -1]
        every = torch.log_softmax(logits.to(self.value.weight.dtype), -1)
        logp = every.gather(2, token.unsqueeze(2)).squeeze(2)
        entropy = -(every.detach().exp() * every.detach()).sum(-1)
        value = self.value(hidden.to(self.value.weight.dtype)).squeeze(2)
        return Pass(logp * mask, value * mask, entropy * mask)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the policy is the model it began as."""
        with self.lm.disable_adapter():
            yield

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, prompt_mask: Tensor, noise: Tensor, end: int | None, pad: int
    ) -> tuple[Tensor, Tensor]:
        """Write after each prompt; the same noise gives the same text.

        Args:
            prompt: (b, p), padded on the left.
            prompt_mask: (b, p).
            noise: uniform on [0, 1), (b, t): the next token is where the cumulated probability
                passes it, so that two policies that hardly differ write nearly the same.
            end: id of the token that ends a text, if there is one.
            pad: id for the places after it.

        Returns:
            Tokens (b, t), padded on the right, and their mask, end token included.
        """
        attention = prompt_mask.long()
        new, cache = prompt, None
        going = torch.ones(len(prompt), dtype=torch.bool, device=prompt.device)
        tokens, masks = [], []
        for u in noise.unbind(1):
            where = {k: x[:, -new.shape[1] :] for k, x in self.positions(attention).items()}
            out = self.lm(
                input_ids=new, attention_mask=attention, past_key_values=cache, use_cache=True,
                logits_to_keep=1, **where,
            )  # fmt: skip
            cache = out.past_key_values
            cumulated = torch.softmax(out.logits[:, -1].double(), -1).cumsum(-1)
            token = torch.searchsorted(
                cumulated / cumulated[:, -1:], u.double().unsqueeze(1).contiguous(), right=True
            )
            token = token.squeeze(1).clamp(max=out.logits.shape[-1] - 1)
            token = torch.where(going, token, torch.full_like(token, pad))
            tokens.append(token)
            masks.append(going)
            if end is not None:
                going = going & (token != end)
            new = token.unsqueeze(1)
            attention = torch.cat([attention, masks[-1].long().unsqueeze(1)], 1)
            if not going.any():
                break
        missing = noise.shape[1] - len(tokens)
        written = torch.stack(tokens, 1)
        real = torch.stack(masks, 1)
        return (
            torch.nn.functional.pad(written, (0, missing), value=pad),
            torch.nn.functional.pad(real, (0, missing), value=False),
        )
