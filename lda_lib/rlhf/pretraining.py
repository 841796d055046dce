"""How the small world's tokenizer, language model and classifiers are trained."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    PreTrainedTokenizerFast,
)

from ..progress import progress
from .corpus import Text, sample

LENGTH = 80  # tokens of the longest text that training reads


@dataclass(frozen=True)
class WorldConfig:
    """What the world is made of; the defaults made the one in `data/`.

    Attributes:
        seed: governs everything.
        vocabulary: tokens.
        width, layers, heads: of the language model.
        steps: of its pretraining, `batch` new texts each.
        classifier_steps: of each classifier's training.
        batch: texts a step.
        lr: highest learning rate of the language model, warmed up and annealed.
    """

    seed: int = 0
    vocabulary: int = 1024
    width: int = 128
    layers: int = 6
    heads: int = 4
    steps: int = 1200
    classifier_steps: int = 400
    batch: int = 32
    lr: float = 2e-3


def train_tokenizer(config: WorldConfig) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on texts of the corpus."""
    rng = np.random.default_rng(config.seed)
    texts = [sample(rng, elsewhere=i % 3 == 0) for i in range(6000)]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    bpe.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=["<pad>", "<end>", "<cls>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((f"{t.opening} {t.said}" for t in texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<end>", cls_token="<cls>"
    )


def reading(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same tokenizer for classifiers, which read from a <cls> token put in front."""
    twin = copy.deepcopy(tokenizer)
    twin.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<cls> $A", special_tokens=[("<cls>", twin.cls_token_id)]
    )
    return twin


def _encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, (b, t), padded on the right."""
    coded = tokenizer(
        texts, padding=True, truncation=True, max_length=LENGTH, padding_side="right",
        return_tensors="pt", return_token_type_ids=False,
    )  # fmt: skip
    return coded["input_ids"], coded["attention_mask"]


def _schedule(optimizer: torch.optim.Optimizer, lr: float, steps: int):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)


def pretrain(
    tokenizer: PreTrainedTokenizerFast, config: WorldConfig
) -> tuple[GPTNeoForCausalLM, float]:
    """A GPT-Neo that writes the corpus's texts, and its mean loss (nats per token) at the end."""
    torch.manual_seed(config.seed)
    model = GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            num_layers=config.layers,
            attention_types=[[["global", "local"], config.layers // 2]],
            num_heads=config.heads,
            max_position_embeddings=128,
            window_size=64,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    rng = np.random.default_rng((config.seed, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.01)
    schedule = _schedule(optimizer, config.lr, config.steps)
    losses = []
    for step in progress(range(config.steps), "language model", config.steps):
        texts = [sample(rng, elsewhere=i % 3 == 0) for i in range(config.batch)]
        whole = [f"{t.opening} {t.said}{tokenizer.eos_token}" for t in texts]
        ids, mask = _encode(tokenizer, whole)
        loss = model(ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 100 == 0 and os.environ.get("LDA_PROGRESS") == "line":
            print(f"language model: step {step}, loss {np.mean(losses[-50:]):.3f}", flush=True)
    return model.eval(), round(float(np.mean(losses[-50:])), 4)


def cut(text: Text, rng: np.random.Generator) -> str:
    """What is said, often cut short as generations are."""
    words = text.said.split()
    if rng.random() < 0.5:
        words = words[: int(rng.integers(min(6, len(words)), len(words) + 1))]
    return " ".join(words)


def train_classifier(
    tokenizer: PreTrainedTokenizerFast,
    config: WorldConfig,
    which: int,
    width: int,
    elsewhere: float,
) -> BertForSequenceClassification:
    """A classifier of what is said: label 0 rude, 1 courteous.

    Args:
        tokenizer: the world's.
        config: steps, batch, seed.
        which: 0 the reward model, 1 the judge; decides the sentences seen.
        width: of its layers.
        elsewhere: share of messages among its texts.
    """
    torch.manual_seed(1 + config.seed + which)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * width,
            max_position_embeddings=LENGTH,
            type_vocab_size=1,
            pad_token_id=tokenizer.pad_token_id,
            id2label={0: "rude", 1: "courteous"},
            label2id={"rude": 0, "courteous": 1},
        )
    )
    rng = np.random.default_rng((config.seed, 10 + which))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = _schedule(optimizer, 1e-3, config.classifier_steps)
    label = ("reward model", "judge")[which]
    for _ in progress(range(config.classifier_steps), label, config.classifier_steps):
        texts = [
            sample(rng, elsewhere=rng.random() < elsewhere, seen=which)
            for _ in range(2 * config.batch)
        ]
        ids, mask = _encode(tokenizer, [cut(t, rng) for t in texts])
        target = torch.tensor([int(not t.rude) for t in texts])
        loss = model(ids, attention_mask=mask, labels=target).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracies(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, config: WorldConfig
) -> dict[str, float]:
    """Share of new, uncut texts put right, by what was in them."""
    found = {}
    for name, elsewhere, seen in (
        ("scenes, sentences of the reward model", False, 0),
        ("scenes, sentences of the judge", False, 1),
        ("messages, all sentences", True, None),
    ):
        rng = np.random.default_rng((config.seed, 99))
        texts = [sample(rng, elsewhere=elsewhere, seen=seen) for _ in range(600)]
        ids, mask = _encode(tokenizer, [t.said for t in texts])
        courteous = model(ids, attention_mask=mask).logits.argmax(-1).bool()
        right = courteous == torch.tensor([not t.rude for t in texts])
        found[name] = round(float(right.float().mean()), 4)
    return found
