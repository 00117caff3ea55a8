"""Where a result comes from: revision, versions, device, which training it belongs to.

Nothing here names a person, a host or a path.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch

import medsemi
from medsemi.atomic import write_atomically

# A training that a driver starts is told whose child it is; MLflow shows it below its parent.
PARENT_VARIABLE = "MEDSEMI_PARENT_RUN"
# The configuration of a run that may still be refused, beside that of an earlier one.
WAITING_CONFIG = ".config.json"
_GIT_SECONDS = 5


def training_id(output_dir: str | Path) -> str:
    """The identity of one training, shared by its stages (pretrain, train, evaluate).

    Args:
        output_dir: the folder that holds the stages' folders; `training.json` there keeps the
            identity and is made on the first call.

    Returns:
        32 hexadecimal digits.
    """
    path = Path(output_dir) / "training.json"
    if not path.exists():
        own = path.with_name(f"training.{os.getpid()}.json")
        with write_atomically(own) as temporary:
            temporary.write_text(json.dumps({"training": uuid.uuid4().hex}) + "\n")
        try:
            os.link(own, path)
        except FileExistsError:
            pass  # of two processes the first one names it
        except OSError:  # a disk without links
            own.replace(path)
        own.unlink(missing_ok=True)
    return str(json.loads(path.read_text())["training"])


def parent_tags() -> dict[str, str]:
    """The parent run that the environment names, as an MLflow tag; empty if there is none."""
    parent = os.environ.get(PARENT_VARIABLE, "")
    return {"mlflow.parentRunId": parent} if parent else {}


def provenance_tags() -> dict[str, str]:
    """Revision of the package's checkout, if it runs from one, and versions, as MLflow tags."""
    tags = {
        "medsemi.version": medsemi.__version__,
        "medsemi.torch": str(torch.__version__),
        "medsemi.monai": metadata.version("monai"),
        "medsemi.python": platform.python_version(),
    }
    package = Path(medsemi.__file__).parent
    revision = _git(package, "rev-parse", "HEAD")
    # A package that is installed below somebody else's checkout is not of that revision.
    if revision and _git(package, "ls-files", "__init__.py"):
        tags["mlflow.source.git.commit"] = tags["medsemi.revision"] = revision
        changed = _git(package, "status", "--porcelain", "--untracked-files=no", ".")
        tags["medsemi.revision_changed"] = str(bool(changed)).lower()
    return tags


def device_name(device: str | torch.device) -> str:
    """What computes, such as `NVIDIA H200` or `AMD EPYC 7B13, 2 threads`; never the host's name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    """The model of the CPU where the system tells it, so that times of two models are not compared."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or f"{platform.machine()} CPU"


def flattened(parameters: Mapping[str, object]) -> dict[str, str]:
    """Nested parameters as one level of text: `{"a": {"b": [1]}}` becomes `{"a.b": "[1]"}`."""
    flat: dict[str, str] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            inner = flattened({str(key): below for key, below in value.items()})
            flat.update({f"{name}.{key}": text for key, text in inner.items()})
        elif isinstance(value, (list, tuple)):
            flat[name] = json.dumps(value, default=str)
        else:
            flat[name] = str(value)
    return flat


def _git(folder: Path, *arguments: str) -> str:
    """The answer of git, or an empty text where there is no git or no checkout."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
