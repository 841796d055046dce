"""The small world and the command line of the language models."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("peft")

from transformers import AutoConfig, AutoModelForCausalLM, GPTNeoForCausalLM

from lda_lib.rlhf import WORLD, LanguagePPO, load_world
from lda_lib.rlhf.bench import SHAPES
from lda_lib.rlhf.corpus import registers, rude_share, sample
from lda_lib.rlhf.phrases import COURTEOUS, RUDE
from lda_lib.rlhf.pretraining import WorldConfig
from lda_lib.rlhf.world import make_world, prompt_lists
from lda_lib.studies import STUDIES
from lda_lib.studies.rlhf import ARMS, table
from lda_lib.studies.run import run_trial

from .test_cli import lda
from .test_rlhf import same

pytestmark = pytest.mark.slow  # left out of `make check`


@pytest.fixture(scope="module")
def world():
    torch.set_num_threads(1)
    return load_world()


def test_the_grammar_knows_its_own_sentences():
    rng = np.random.default_rng(0)
    for i in range(300):
        text = sample(rng, elsewhere=i % 2 == 0)
        assert tuple(registers(text.said)) == text.registers
    cut = "Figure it out yourself. Please take all the time you need. Thank you so mu"
    assert registers(cut) == ["rude", "courteous"] and rude_share(cut) == 0.5
    assert registers("Please figure yourself.") == ["other"] and np.isnan(rude_share(""))


def test_the_two_classifiers_were_taught_different_sentences():
    rng = np.random.default_rng(1)
    said = [" ".join(sample(rng, seen=k).said for _ in range(400)) for k in (0, 1)]
    for bank in (RUDE, COURTEOUS):
        for place, sentence in enumerate(bank):
            if "{" not in sentence:
                assert (sentence in said[0]) == (place % 3 in (0, 2))
                assert (sentence in said[1]) == (place % 3 in (1, 2))


def test_no_prompt_has_two_purposes(world):
    assert world.prompts == prompt_lists(0)
    every = [p for some in world.prompts.values() for p in some]
    assert len(set(every)) == len(every) == 2056
    assert all("message to" in p for p in world.prompts["elsewhere"])


def test_the_world_is_small_and_whole(world):
    files = [p for p in WORLD.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 12e6
    assert {p.suffix for p in files} <= {".json", ".safetensors", ".md"}
    told = json.loads((WORLD / "world.json").read_text())
    lm = AutoModelForCausalLM.from_pretrained(world.lm, dtype=torch.float32)
    assert isinstance(lm, GPTNeoForCausalLM)
    assert sum(p.numel() for p in lm.parameters()) == told["lm"]["parameters"] > 1e6


def test_the_classifiers_tell_manners(world):
    rng = np.random.default_rng(5)
    texts = [sample(rng, elsewhere=True) for _ in range(200)]
    said, rude = [t.said for t in texts], torch.tensor([t.rude for t in texts])
    for judge in (world.reward, world.judge):
        logit = judge([""] * 200, said)
        assert ((logit < 0) == rude).float().mean() > 0.8
    assert not torch.allclose(world.reward([], said[:5]), world.judge([], said[:5]))


def test_the_language_model_writes_the_grammar_and_is_rude_at_first(world):
    agent = LanguagePPO(world.lm, world.reward, world.prompts["train"], n_sequences=8)
    texts = agent.write(world.prompts["elsewhere"][:48])
    found = [r for t in texts for r in registers(t)]
    assert found.count("other") < 0.1 * len(found)
    assert 0.5 < found.count("rude") / (len(found) - found.count("neutral")) < 0.9


@pytest.mark.slow
def test_the_same_seed_makes_the_same_world(tmp_path):
    config = WorldConfig(steps=2, classifier_steps=2, width=16, layers=2, vocabulary=300)
    for name in ("a", "b"):
        make_world(tmp_path / name, config)
    a, b = (sorted((tmp_path / n).rglob("*")) for n in ("a", "b"))
    assert [p.relative_to(tmp_path / "a") for p in a] == [p.relative_to(tmp_path / "b") for p in b]
    for x, y in zip(a, b):
        if x.is_file() and x.name != "world.json":
            assert x.read_bytes() == y.read_bytes(), x.name
    assert load_world(tmp_path / "a").prompts == prompt_lists(0)
    with pytest.raises(FileNotFoundError, match="make-world"):
        load_world(tmp_path)


# ---- the command line ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scaled_down(tmp_path_factory, world) -> Path:
    """GPT-Neo-2.7B's architecture with few, random weights."""
    folder = tmp_path_factory.mktemp("gpt-neo")
    big = {"num_layers": 32, "hidden_size": 2560, "num_heads": 20, "window_size": 256}
    small = {"num_layers": 4, "hidden_size": 40, "num_heads": 4, "window_size": 16}
    assert set(big) == set(small)
    config = AutoConfig.for_model(
        "gpt_neo", vocab_size=1024, max_position_embeddings=64,
        attention_types=[[["global", "local"], 2]], **small,
    )  # fmt: skip
    torch.manual_seed(0)
    GPTNeoForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((Path(world.lm) / name).read_bytes())
    (folder / "prompts.txt").write_text("\n".join(world.prompts["train"][:20]))
    return folder


def test_the_papers_preset_trains_end_to_end_and_resumes(scaled_down, tmp_path, monkeypatch):
    """bfloat16, minibatches of 1, dropout, held-out target with value loss: all but the size."""
    monkeypatch.setenv("LDA_PROGRESS", "line")
    args = ["rlhf", "train", "--preset", "released", "--keep", "released", "--model", scaled_down]
    args += ["--reward", WORLD / "judge", "--label", "courteous", "--out", tmp_path / "run"]
    args += ["--prompts", scaled_down / "prompts.txt", "--set", "n_sequences=6"]
    args += [
        "--validation",
        scaled_down / "prompts.txt",
        "--set",
        "gradient_checkpointing=true",
        "--held-out",
        4,
    ]
    text = lda(*args, "--rounds", 1)
    assert "round 1: reward" in text and "kept" in text
    assert "holds a run already" in lda(*args, ok=False)
    assert "goes on after round 1" in lda(*args, "--rounds", 2, "--resume")
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["round"].tolist() == [1, 2] and (history["kept"] <= 6).all()
    other = lda(*args, "--set", "lr=1e-4", "--resume", ok=False)
    assert "--set is" in other and "began with" in other


@pytest.mark.parametrize(
    ("keep", "algorithm"), [("iif", "grpo"), ("random", "ppo"), ("difficulty", "ppo")]
)
def test_filters_and_trainers_by_name(keep, algorithm, tmp_path, monkeypatch):
    monkeypatch.setenv("LDA_PROGRESS", "line")
    args = ["--keep", keep, "--algorithm", algorithm, "--target", "token", "--rounds", 1]
    args += ["--set", "n_sequences=8", "--set", "new_tokens=6", "--out", tmp_path / "x"]
    if algorithm == "grpo":
        args += ["--preset", "grpo"]
    assert "round 1: reward" in lda("rlhf", "train", *args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--set", "speed=1"], "expected NAME=VALUE"),
        (["--reward", "x"], "--reward and --label belong together"),
        (["--model", "/no/such/place"], "'/no/such/place' holds no tokenizer"),
        (["--set", "n_sequences=0"], "n_sequences: 0"),
        (["--keep", "best"], "best"),
    ],
)
def test_bad_input_is_said_in_one_line(args, message, tmp_path):
    assert message in lda("rlhf", "train", *args, "--out", tmp_path / "x", ok=False)
    assert not any(tmp_path.iterdir())


def test_a_world_is_not_overwritten():
    assert "holds a world already" in lda("rlhf", "make-world", ok=False)


def test_the_cost_of_scoring_is_measured_at_any_shape(monkeypatch):
    """Seconds of a forward pass, of the target and of scores; the methods agree."""
    args = ["--sequences", 6, "--set", "micro_batch=4", "--set", "dtype=float32", "--repeats", 1]
    told = lda("rlhf", "bench", *args)
    rows = pd.read_csv(StringIO(told), sep=r"\s+").set_index("phase")
    assert list(rows.index) == ["forward", "target", "jvp", "ghost"]
    assert (rows.seconds > 0).all() and rows.forward_passes["forward"] == 1
    assert rows.difference["jvp"] == 0 and 0 < rows.difference["ghost"] < 1e-4
    assert "tiny" in lda("rlhf", "bench", "--shape", "tiny", ok=False)


def test_shapes_of_the_papers_model():
    """The published GPT-Neo-2.7B has 2.65e9 parameters."""
    layers, width, heads, vocabulary = SHAPES["2.7B"]
    assert width % heads == 0
    by_layer = 12 * width**2 + 10 * width  # attention, feed-forward, two layer norms, biases
    total = layers * by_layer + (vocabulary + 2048) * width
    assert total == pytest.approx(2.65e9, rel=0.01)


# ---- the study -----------------------------------------------------------------------------------


def test_the_study_runs_and_its_table_compares_pairs():
    study = STUDIES["rlhf"]
    assert {(t.task, t.arm) for t in study.trials()} == {(k, a) for k in ARMS for a in ARMS[k]}
    trial = next(t for t in study.trials("smoke") if t.task == "GRPO")
    _, finished = run_trial(study, trial)
    assert not isinstance(finished, str), finished
    rows = finished.rows
    assert 0 <= rows.rude_elsewhere[0] <= 1 and rows.distinct_test[0] > 0
    assert "rlhf/scores" in finished.provenance["sources"]
    assert "peft" in finished.provenance["versions"]
    _, again = run_trial(study, trial)
    same(rows, again.rows)  # type: ignore[union-attr]
    faster = rows.assign(arm="IIF", reward_mean=rows.reward_mean + 1)
    result = table(pd.concat([rows, faster])).set_index("arm")
    assert result.loc["IIF", "reward"] == pytest.approx(result.loc["GRPO", "reward"] + 1)
    assert result.loc["GRPO", "se_peak"] == 0 and result.loc["IIF", "censored"] == 0
