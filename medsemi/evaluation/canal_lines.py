"""The canals of a root-canal label: center lines from the chamber to the foramen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, label
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from medsemi.evaluation.centerline import Mask, Points, skeleton

_NEIGHBOR = 1.8  # voxels; the corner of a 26-neighborhood is 1.74 away


def find_chamber(mask: Mask, share: float = 0.7) -> Mask:
    """Find the pulp chamber: what a ball nearly as large as the largest one inside can reach.

    Args:
        mask: (*space) of cubic voxels, the pulp space of one tooth.
        share: radius of the ball by that of the largest one.

    Returns:
        (*space), in one piece around the widest place. Of a label without a chamber it is the
        widest part of the canals.
    """
    if not mask.any():
        return np.zeros_like(mask)
    depth = distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim]
    radius = share * float(depth.max())
    pieces, _ = label(depth >= radius, np.ones((3,) * mask.ndim))
    middle = pieces == pieces[np.unravel_index(depth.argmax(), mask.shape)]
    chamber: Mask = mask & (distance_transform_edt(~middle) < radius)
    return chamber


def trace_canals(
    mask: Mask, chamber: Mask, edge: float, shortest: float = 2.0, apart: float = 0.5
) -> list[npt.NDArray[np.int64]]:
    """Trace the canals of a pulp space.

    The skeleton is taken apart along shortest ways to the chamber, the longest first. So of two
    canals that join, one reaches the foramen and the other ends at the joint. Pieces that do not
    touch the chamber are traced from one of their ends.

    Args:
        mask: (*space) of cubic voxels.
        chamber: (*space), where canals start.
        edge: of a voxel in mm.
        shortest: length of a canal in mm; what is shorter is a spur.
        apart: a way closer to a longer one than this, in mm, is the same canal.

    Returns:
        For each canal its voxels (n, axes), from the chamber to the foramen.
    """
    nodes = np.argwhere(skeleton(mask))
    if len(nodes) < 2:
        return []
    graph = _graph(nodes)
    sources = _sources(graph, chamber[tuple(nodes.T)])
    distance, before, _ = dijkstra(
        graph, indices=sources, return_predecessors=True, min_only=True, directed=False
    )
    lines: list[npt.NDArray[np.int64]] = []
    for way in _ways(distance, before, sources):
        length = (distance[way[-1]] - distance[way[0]]) * edge
        line = nodes[way]
        if length >= shortest and length * _part_apart(line, lines, apart / edge) >= shortest:
            lines.append(line)
    return lines


def _graph(nodes: npt.NDArray[np.int64]) -> csr_array:
    pairs = cKDTree(nodes).query_pairs(_NEIGHBOR, output_type="ndarray")
    lengths = np.linalg.norm(nodes[pairs[:, 0]] - nodes[pairs[:, 1]], axis=1)
    return csr_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(nodes), len(nodes)))


def _sources(graph: csr_array, in_chamber: Mask) -> npt.NDArray[np.int64]:
    """Nodes in the chamber, and an end of each piece without one."""
    count, piece = connected_components(graph, directed=False)
    sources = np.flatnonzero(in_chamber).tolist()
    for lost in set(range(count)) - set(piece[in_chamber].tolist()):
        start = int(np.flatnonzero(piece == lost)[0])
        reach = dijkstra(graph, indices=start, directed=False)
        sources.append(int(np.where(np.isfinite(reach), reach, -1).argmax()))
    return np.array(sources)


def _ways(
    distance: Points, before: npt.NDArray[np.int32], sources: npt.NDArray[np.int64]
) -> list[list[int]]:
    """Shortest ways that share only their first node with earlier, farther reaching ones."""
    visited = np.zeros(len(distance), bool)
    visited[sources] = True
    ways = []
    for node in np.argsort(-distance, kind="stable"):
        way = [int(node)]
        while not visited[way[-1]]:
            visited[way[-1]] = True
            way.append(int(before[way[-1]]))
        if len(way) > 1:
            ways.append(way[::-1])
    return ways


def _part_apart(
    line: npt.NDArray[np.int64], lines: list[npt.NDArray[np.int64]], voxels: float
) -> float:
    if not lines:
        return 1.0
    away, _ = cKDTree(np.concatenate(lines)).query(line)
    return float((away > voxels).mean())
