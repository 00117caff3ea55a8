"""Every random number comes from a generator that is seeded by what it is for.

Step t depends on (manifest, seed, t, rank) alone. Nothing random is ever saved, the number of
loader workers changes nothing, and a training that was killed continues with the same numbers.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*parts: int | str) -> int:
    """Hash `parts` (seed, step, rank, purpose, ...) into a seed of 63 bits."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded by `parts`."""
    return torch.Generator().manual_seed(derive_seed(*parts))
