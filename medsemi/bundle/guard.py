"""Stop a mistaken run before anything is built, and end a failed one with one sentence.

The first expression that a bundle evaluates calls `check_run`:

    imports: [$from medsemi.bundle import guard]
    initialize: [$guard.check_run(), ...]
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from medsemi.atomic import write_atomically
from medsemi.errors import CheckpointError, ConfigError, MedsemiError

USAGE_EXIT = 2
INTERRUPTED_EXIT = 130
# Commands of `python -m monai.bundle` that run a configuration.
_RUNS = ("run", "run_workflow")

# What monai 1.6 says about its own parts each time it starts.
_NOISE = (
    "NvImgCodecPydicomReader",
    "monai.metrics.utils get_mask_edges",
    "monai.transforms.spatial.dictionary Orientationd",
    r"`torch\.jit\.\w+` is deprecated",
)


@dataclass(frozen=True)
class Command:
    """What `python -m monai.bundle run` was asked for.

    Args:
        config_files: the configuration files in order.
        overrides: values by path.
        roots: the keys to evaluate: initialize, run, finalize.
        meta_file: the metadata file if one was named.
    """

    config_files: tuple[Path, ...]
    overrides: Mapping[str, object]
    roots: tuple[str, str, str]
    meta_file: Path | None


def check_run() -> None:
    """Lint the configuration of `python -m monai.bundle run` and install `report_errors`.

    In a process that was started in another way it does nothing.

    Raises:
        SystemExit: with code 2 after one sentence on stderr, if the configuration or an override is
            wrong. MONAI passes it on, so that it reaches the shell.
    """
    if not _is_bundle_command():
        return
    report_errors()
    command = _asked()
    sentence = "" if command is None else _first_mistake(command)
    if sentence:
        if os.environ.get("RANK", "0") == "0":  # under torchrun every process finds the same
            print(sentence, file=sys.stderr)
        raise SystemExit(USAGE_EXIT)


def save_config(folder: str | Path, weights_dir: str | Path | None = None) -> None:
    """Write the configuration of this run, files merged and overrides applied, as `config.json`.

    Users and passwords of addresses are left out, since the file goes to MLflow too.

    Beside an earlier run it waits under another name until the tracker starts: a run that is refused
    before that leaves the configuration of the earlier one. In a process that was not started by
    `python -m monai.bundle run`, and on all ranks but the first, it does nothing.

    Args:
        folder: the run folder of the stage.
        weights_dir: run folder of the training whose weights are scored; None takes the key
            `weights_dir` of the configuration, if it has one.

    Raises:
        CheckpointError: if the folder holds a training of another configuration, or there are no weights
            to score, or they are of another network, or of images that were prepared otherwise.
        ManifestError: if weights that a training starts from learned from a case that it holds out.
    """
    from medsemi.bundle.merged import merge
    from medsemi.bundle.resumed import refuse_other_training
    from medsemi.bundle.weights_origin import refuse_other_preparation
    from medsemi.training.exported import some_exported
    from medsemi.training.provenance import WAITING_CONFIG
    from medsemi.training.sender import without_password

    command = _asked()
    if command is None or os.environ.get("RANK", "0") != "0":
        return
    tree = merge(command.config_files, command.overrides).tree
    refuse_other_training(folder, tree)
    if weights_dir is not None:
        some_exported(weights_dir)  # before the cases are opened: a look at the test list is kept
    elif "weights_dir" in tree:
        weights_dir = _evaluated(tree, "weights_dir")[0]
    if weights_dir is not None:
        refuse_other_preparation(weights_dir, tree)
    _refuse_held_out_in_origin(tree)
    name = WAITING_CONFIG if (Path(folder) / "run.json").is_file() else "config.json"
    with write_atomically(Path(folder) / name) as temporary:
        text = json.dumps(_changed(tree, without_password), indent=1, default=str)
        temporary.write_text(text + "\n")


def check_weights(path: str | Path) -> None:
    """Refuse weights that are not there, or are of images that this run prepares otherwise.

    Those that lie in the bundle that is run were put there with its configuration, which is another
    text than that of their training. In a process that was not started by `python -m monai.bundle run`
    it does nothing.

    Args:
        path: the file that an inference loads.

    Raises:
        CheckpointError: if there are none, or they are of another network, or of images that were
            prepared otherwise.
    """
    from medsemi.bundle.merged import merge
    from medsemi.bundle.weights_origin import refuse_other_preparation

    command = _asked()
    if command is None:
        return
    if not Path(path).is_file():
        raise CheckpointError(
            f"{path} does not exist: give the --output_dir of a training, the --bundle_root of a bundle"
            " that has weights, or --weights FILE."
        )
    if Path(path).resolve().parents[1] != command.config_files[0].resolve().parents[1]:
        tree = merge(command.config_files, command.overrides).tree
        refuse_other_preparation(Path(path).parent, tree)


def _refuse_held_out_in_origin(tree: dict[str, Any]) -> None:
    from medsemi.data.held_out import ORIGINS, refuse_held_out_in_origin

    origins = [key for key in ORIGINS if tree.get(key) is not None]
    if "pretrained" in tree and not _evaluated(tree, "pretrained")[0]:
        origins.remove("initial_weights")  # a method without a pre-training loads none
    if origins:
        split, dataset_dir, *weights = _evaluated(tree, "split", "dataset_dir", *origins)
        refuse_held_out_in_origin(filter(None, weights), split, dataset_dir)


def _evaluated(tree: dict[str, Any], *keys: str) -> list[Any]:
    """The values of keys, as the run has them; those that they refer to are evaluated, no others."""
    from monai.bundle import ConfigParser

    parser = ConfigParser(copy.deepcopy(tree))
    return [parser.get_parsed_content(key) for key in keys]


def _changed(node: object, change: Callable[[str], str]) -> object:
    """A configuration with each of its texts changed."""
    if isinstance(node, Mapping):
        return {key: _changed(value, change) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_changed(value, change) for value in node]
    return change(node) if isinstance(node, str) else node


def _is_bundle_command() -> bool:
    return Path(sys.argv[0]).parts[-3:] == ("monai", "bundle", "__main__.py")


def _asked() -> Command | None:
    """What this process runs; None if `python -m monai.bundle` did not start it or runs nothing."""
    # To fire a dash is an underscore.
    name = sys.argv[1].replace("-", "_") if _is_bundle_command() and sys.argv[1:] else ""
    return read_command(sys.argv[2:], name) if name in _RUNS else None


def read_command(arguments: Sequence[str], name: str = "run") -> Command:
    """Understand the arguments of `python -m monai.bundle run` as fire and MONAI do.

    Args:
        arguments: everything after the command, such as `--a::b=3`, `--a#b 3` or `--s-t` (which is s_t).
        name: of the command, `run` or `run_workflow`.

    Returns:
        The files and overrides; the values of an `--args_file` count where the command line is silent.

    Raises:
        ConfigError: if the args_file is not a readable mapping.
    """
    import fire

    from medsemi.bundle.reading import Finding, read

    given: dict[str, Any] = {}

    # The signatures of monai.bundle.run and run_workflow, so that fire fills them in the same way.
    def collect_run(
        run_id: object = None, init_id: object = None, final_id: object = None,
        meta_file: object = None, config_file: object = None, logging_file: object = None,
        tracking: object = None, args_file: object = None, **override: object,
    ) -> None:  # fmt: skip
        # MONAI drops an override that is None; as text it is reported like `null`.
        given.update({name: "None" if v is None else v for name, v in override.items()})
        given.update(run_id=run_id, init_id=init_id, final_id=final_id)
        given.update(meta_file=meta_file, config_file=config_file, logging_file=logging_file)
        given.update(tracking=tracking, args_file=args_file)

    def collect_workflow(
        workflow_name: object = None, args_file: object = None, **override: object
    ) -> None:
        collect_run(args_file=args_file, **override)

    collect = collect_run if name == "run" else collect_workflow
    fire.Fire(collect, command=list(arguments))
    given = {name: value for name, value in given.items() if value is not None}
    args_file = given.pop("args_file", None)
    if args_file is not None:
        findings: list[Finding] = []
        given = {**read(Path(args_file), findings), **given}
        if findings:
            raise ConfigError(str(findings[0]))
    return _command(given)


def report_errors() -> None:
    """End the process with one sentence where a user can mend what is wrong.

    An uncaught MedsemiError, also as the cause of what MONAI makes of it, is printed as its sentence
    and exits with code 2; an interruption exits with 130. Any other error keeps its traceback, and
    with MEDSEMI_DEBUG=1 every error does. Warnings of MONAI about itself are dropped.
    """
    if os.environ.get("MEDSEMI_DEBUG") == "1":
        return
    sys.excepthook = _report
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
    for handler in [*logging.getLogger().handlers, logging.lastResort]:
        if handler is not None and _is_news not in handler.filters:
            handler.addFilter(_is_news)


def _first_mistake(command: Command) -> str:
    from medsemi.bundle.lint import lint_configs

    findings = lint_configs(
        command.config_files, command.overrides, roots=command.roots, meta_file=command.meta_file
    )
    more = f" ({len(findings) - 1} more of this kind)" if len(findings) > 1 else ""
    return f"{findings[0]}{more}" if findings else _other_mistake(command)


def _other_mistake(command: Command) -> str:
    """What a linter of files cannot know, such as where they lie and how many processes there are."""
    from medsemi.bundle.bundle_root import root_mistake
    from medsemi.bundle.merged import merge
    from medsemi.bundle.preparation import preparation_mistake

    tree = merge(command.config_files, command.overrides, command.meta_file).tree
    return (
        _steps_mistake(tree)
        or _processes_mistake(tree)
        or _device_mistake(tree)
        or root_mistake(command.config_files[0], tree, command.roots)
        or preparation_mistake(tree)
    )


def _steps_mistake(tree: Mapping[str, Any]) -> str:
    """A part of the steps below 0, whose sum would run."""
    for name in ("pretrain_steps", "train_steps"):
        if isinstance(tree.get(name), int) and tree[name] < 0:
            return f"{name} is {tree[name]}; give 0 or more."
    return ""


def _processes_mistake(tree: Mapping[str, Any]) -> str:
    if "world_size" in tree and "RANK" not in os.environ:
        return "multi_gpu.yaml is for several processes: start it with torchrun --nproc_per_node=N -m monai.bundle run."
    return ""


def _device_mistake(tree: Mapping[str, Any]) -> str:
    """A device that is not here, where nothing but PyTorch would take it, as in an inference."""
    from medsemi.bundle.merged import is_expression
    from medsemi.training.devices import checked_device

    device = tree.get("device")
    if not isinstance(device, (str, int)) or is_expression(device):
        return ""
    try:
        checked_device(device)
    except ConfigError as error:
        return str(error)
    return ""


def _command(given: dict[str, Any]) -> Command:
    files = given.pop("config_file", ())
    meta_file = given.pop("meta_file", None)
    ids = (("init_id", "initialize"), ("run_id", "run"), ("final_id", "finalize"))
    init_id, run_id, final_id = (str(given.pop(name, default)) for name, default in ids)
    for flag in ("logging_file", "tracking", "workflow_name", "workflow_type", "properties_path"):
        given.pop(flag, None)
    return Command(
        config_files=tuple(map(Path, [files] if isinstance(files, str) else files)),
        overrides=given,
        roots=(init_id, run_id, final_id),
        meta_file=Path(meta_file) if isinstance(meta_file, str) else None,
    )


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (MedsemiError, KeyboardInterrupt)):
        cause = cause.__cause__
    if cause is None:
        sys.__excepthook__(kind, error, trace)
        return
    interrupted = isinstance(cause, KeyboardInterrupt)
    print("Interrupted." if interrupted else _sentence(cause), file=sys.stderr)
    # The interpreter honors an exit that is raised here, after it has run what waits for its end.
    raise SystemExit(INTERRUPTED_EXIT if interrupted else USAGE_EXIT)


def _sentence(error: BaseException) -> str:
    """Return the message, without the traceback that torch adds to errors of loader workers."""
    text = str(error).strip()
    if "Original Traceback" not in text:
        return text
    return re.sub(r"^[\w.]+: ", "", text.splitlines()[-1])


def _is_news(record: logging.LogRecord) -> bool:
    """Drop what Ignite logs of an exception at each level that it passes: it is told at the end."""
    return "is terminating due to exception" not in record.getMessage()
