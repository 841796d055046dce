"""Nothing that was finished is lost, nothing half-written is read."""

from __future__ import annotations

import json
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from lda_lib import IIF, PPO, TASKS, ActorCritic, CheckpointError
from lda_lib.checkpoint import describe_keep
from lda_lib.files import save_tensors, write_whole

from .test_ppo import same_history, same_parameters, small
from .worlds import Corridor, Unrepeatable


@pytest.mark.parametrize("task", ["FrozenLakeSlippery", "LunarLander", "MiniGrid", "BipedalWalker"])
def test_a_resumed_run_is_bit_identical(task, tmp_path):
    settings = {"keep": IIF(0.5), "n_envs": 2, "optimizer": "adam", "lr": 1e-3, "desired_kl": 5e-3}
    whole = small(task, **settings)
    expected = whole.learn(4, episodes=2, progress=False)
    first = small(task, **settings)
    first.learn(2, episodes=2, progress=False)
    first.save(tmp_path / "agent.safetensors")
    resumed = PPO.load(tmp_path / "agent.safetensors", keep=IIF(0.5))
    assert resumed.config == first.config and resumed.round == 2
    same_history(resumed.learn(2, episodes=2, progress=False), expected)
    assert same_parameters(resumed, whole)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_nothing_else(tmp_path):
    """The operating system refuses to write beyond 4 kB, as a full disk does."""
    path = tmp_path / "agent.safetensors"
    agent = small()
    agent.save(path)
    earlier = path.read_bytes()
    agent.update(agent.collect())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="could not write"):
            agent.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == earlier and os.listdir(tmp_path) == [path.name]
    assert PPO.load(path).round == 0


def test_damaged_and_foreign_files_are_refused(tmp_path):
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    small().save(good)
    whole = good.read_bytes()
    for content in (b"", b"not a checkpoint", whole[:100], whole[: len(whole) // 2]):
        bad.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
            PPO.load(bad)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, bad)
    with pytest.raises(CheckpointError, match="not written by lda_lib"):
        PPO.load(bad)
    save_tensors(bad, {"x": torch.zeros(2)}, {"kind": "agent", "format": 1})
    with pytest.raises(CheckpointError, match="lacks a part"):
        PPO.load(bad)
    save_tensors(bad, {"x": torch.zeros(2)}, {"kind": "agent", "format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        PPO.load(bad)
    small().policy.save(bad)
    with pytest.raises(CheckpointError, match="holds a saved policy, expected a saved agent"):
        PPO.load(bad)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PPO.load(tmp_path / "nowhere")


def test_an_agent_of_another_task_is_refused(tmp_path):
    path = tmp_path / "agent.safetensors"
    small().save(path)
    with pytest.raises(CheckpointError, match="trained in 'CartPole', not in 'Acrobot'"):
        PPO.load(path, task="Acrobot")
    small(lambda: Corridor()).save(path)
    with pytest.raises(CheckpointError, match="was built for"):
        PPO.load(path, task="CartPole")
    with pytest.raises(CheckpointError, match="pass it as task="):
        PPO.load(path)
    assert PPO.load(path, task=lambda: Corridor()).round == 0


def test_resuming_with_another_filter_warns(tmp_path):
    path = tmp_path / "agent.safetensors"
    small(keep=IIF(0.5)).save(path)
    with pytest.warns(UserWarning, match=r"was trained with IIF\(drop=0.5"):
        PPO.load(path, keep=IIF(0.25))


def test_a_world_that_does_not_replay_goes_on_and_says_so(tmp_path):
    path = tmp_path / "agent.safetensors"
    agent = small(Unrepeatable)
    agent.learn(1, episodes=1, progress=False)
    agent.save(path)
    with pytest.warns(UserWarning, match="does not replay.*not be bit-identical"):
        resumed = PPO.load(path, task=Unrepeatable)
    assert len(resumed.learn(1, episodes=1, progress=False)) == 2


@pytest.mark.parametrize("task", ["CartPole", "MiniGrid", "BipedalWalker"])
def test_policies_are_saved_and_loaded(task, tmp_path):
    policy = small(task).policy
    policy.save(tmp_path / "policy.safetensors")
    loaded = ActorCritic.load(tmp_path / "policy.safetensors")
    obs = torch.rand(5, *policy.arch.obs_shape)
    assert torch.equal(policy.value(obs), loaded.value(obs))
    header = (tmp_path / "policy.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    info = json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["lda_lib"])
    assert info["arch"]["action_dim"] == policy.arch.action_dim


def test_files_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "table.csv"
    write_whole(path, lambda p: p.write_text("old"))

    def interrupted(p: Path) -> None:
        p.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted)
    assert path.read_text() == "old" and os.listdir(path.parent) == ["table.csv"]
    os.link(path, tmp_path / "reader")  # whoever has the old file open keeps all of it
    write_whole(path, lambda p: p.write_text("new"))
    assert path.read_text() == "new" and (tmp_path / "reader").read_text() == "old"
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "x.csv")
    with pytest.raises(OSError, match="could not write"):
        write_whole(tmp_path / "x.csv", lambda p: (_ for _ in ()).throw(OSError(28, "No space")))


def test_a_task_of_ones_own_is_not_taken_for_the_one_of_its_name(tmp_path):
    lake = TASKS["FrozenLake"]
    agent = PPO(replace(lake, kwargs={"is_slippery": True}), n_steps=64, batch_size=32)
    agent.save(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"'FrozenLake', which its name alone .* task="):
        PPO.load(tmp_path / "a")
    assert PPO.load(tmp_path / "a", task=agent.task).task.kwargs == {"is_slippery": True}


def test_one_shared_environment_goes_on_with_new_episodes_and_says_so(tmp_path):
    env = Corridor()
    agent = PPO(lambda: env, n_steps=64, batch_size=32)
    agent.learn(1, episodes=0, progress=False)
    lived = list(agent.collector.counts)
    agent.save(tmp_path / "a")
    with pytest.warns(UserWarning, match="one environment object"):
        again = PPO.load(tmp_path / "a", task=lambda: env)
    assert again.collector.counts == [lived[0] + 1]


def test_a_filter_with_a_function_inside_is_the_same_after_a_restart():
    def made():
        return IIF(0.5, target=lambda policy, rollout: policy.log_prob(rollout.obs, 0).mean())

    assert describe_keep(made()) == describe_keep(made()) and " at 0x" not in describe_keep(made())
