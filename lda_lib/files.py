"""Files written whole: a reader never meets half of one, and a failed write leaves the old one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this package, is damaged, or belongs to something else."""


def write_whole(path: str | os.PathLike, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    Raises:
        OSError: the file could not be written (a full disk, no permission). What stood at `path`
            before is untouched and nothing half-written remains.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"path: could not write {str(path)!r} ({error}); an earlier file there is intact"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def save_tensors(path: str | os.PathLike, tensors: dict[str, Tensor], info: dict[str, Any]) -> Path:
    """Write tensors and a small JSON as one safetensors file (the JSON lies in its header).

    One file, so that weights and description can never come from two different moments.
    """
    header = {"lda_lib": json.dumps(info)}
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_whole(path, lambda temporary: save_file(flat, temporary, metadata=header))


def load_tensors(path: str | os.PathLike, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Args:
        path: the file.
        kind: the value that `info["kind"]` must have, such as "policy" or "agent".

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not safetensors, damaged, or not of this kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no file {str(path)!r}, expected a saved {kind}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        info = dict(json.loads(header["lda_lib"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"path: {str(path)!r} is damaged or was not written by lda_lib ({error!r})"
        ) from error
    if info.get("kind") != kind:
        raise CheckpointError(
            f"path: {str(path)!r} holds a saved {info.get('kind')}, expected a saved {kind}"
        )
    return tensors, info
