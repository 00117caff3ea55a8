"""A part of a network by its name, for methods that look at features."""

from __future__ import annotations

from torch import nn

from medsemi.errors import ConfigError


def named_part(network: nn.Module, name: str, key: str) -> nn.Module:
    """Return the module called `name` inside of `network`.

    Args:
        network: of any architecture.
        name: as in `named_modules`, such as `encoder` or `decoder.up1`.
        key: the setting that names it, for the error.

    Raises:
        ConfigError: if there is none of that name.
    """
    # A list of modules is never called, so that nothing could be seen of it.
    parts: dict[str, nn.Module] = {
        child: part
        for child, part in network.named_modules()
        if not isinstance(part, (nn.ModuleList, nn.ModuleDict))
    }
    if not name or name not in parts:
        known = ", ".join(child for child in parts if child.count(".") < 2 and child)
        raise ConfigError(
            f"{key} names '{name}', which {type(network).__name__} does not have; take one of"
            f" {known}."
        )
    return parts[name]
