"""A training is deployed as the bundle whose files it ran, wherever they were copied to.

`bundle_root` is a value like others: it would still name the original after a bundle was copied, or a
folder that is not there when the run was started elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsemi.bundle.merged import is_expression
from medsemi.bundle.references import reachable

_KEY = "bundle_root"


def root_mistake(first: Path, tree: Mapping[str, Any], roots: Sequence[str]) -> str:
    """Compare the key `bundle_root` with the bundle that holds the first configuration file.

    Args:
        first: that file; a file of no bundle is compared with nothing.
        tree: merged configuration, overrides included; expressions are known to a run alone.
        roots: the keys that the run evaluates; what does not use `bundle_root` may name any.

    Returns:
        One sentence with the folder to give; empty if it is the one, or not deployed.
    """
    if tree.get("stage") == "inference":
        return ""  # it may segment with the weights of another bundle, and deploys nothing
    given = tree.get(_KEY)
    configs = first.parent.resolve()  # a link to the file of another bundle is a file of this one
    is_of_bundle = configs.name == "configs" and (configs / "metadata.json").is_file()
    if not is_of_bundle or not isinstance(given, str) or is_expression(given):
        return ""
    if Path(given).resolve() == configs.parent or _KEY not in reachable(tree, roots):
        return ""
    return (
        f"{_KEY} is {given}, but the configuration is that of {configs.parent}: give --{_KEY}"
        f" {configs.parent}."
    )
