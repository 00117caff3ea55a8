"""The pictures of the methods: every diagram is whole, and the command draws it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from medsemi.methods.registry import METHODS

SCRIPTS = Path(__file__).parents[2] / "scripts"
# Its page has a picture of its own.
OWN_PICTURES = {"cfcnet"}
NAMES = [entry.name for entry in METHODS if entry.name not in OWN_PICTURES]


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make_method_pictures

    return make_method_pictures


@pytest.fixture(scope="module")
def scene():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        import method_tiles

        return method_tiles.make_scene(0)


def test_every_method_has_a_diagram(drawing) -> None:
    assert sorted(drawing.DIAGRAMS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_tile_has_a_maker(drawing, scene, name: str) -> None:
    import method_tiles

    places = drawing.places_of(drawing.DIAGRAMS[name])
    tiles = {tile for tile, place in places.items() if place.node.kind == "tile"}
    assert tiles <= set(method_tiles.tiles_of(name, scene))


@pytest.mark.parametrize("name", NAMES)
def test_every_edge_joins_nodes_of_the_grid(drawing, name: str) -> None:
    diagram = drawing.DIAGRAMS[name]
    places, edges = drawing.places_of(diagram), drawing.edges_of(diagram)
    assert {end for e in edges for end in (e.source, e.target)} <= set(places)
    assert set(diagram.texts) | set(diagram.boxes) <= set(places)
    losses = {n for n, place in places.items() if place.node.kind == "loss"}
    assert losses
    assert losses == {e.target for e in edges if e.target in losses}
    for one in edges:
        if one.sign == "~":
            assert drawing.upright(one, places)
        elif not drawing.upright(one, places):
            assert places[one.source].column < places[one.target].column


@pytest.mark.parametrize("name", NAMES)
def test_no_edge_runs_through_a_node(drawing, name: str) -> None:
    diagram = drawing.DIAGRAMS[name]
    places, edges = drawing.places_of(diagram), drawing.edges_of(diagram)
    ends = drawing.ends_of(edges, places)
    for edge in edges:
        points = drawing.path_of(edge, places, ends)
        for other, place in places.items():
            if other in (edge.source, edge.target):
                continue
            for x, y in between(points):
                inside = abs(x - place.x) < place.half[0] and abs(y - place.y) < place.half[1]
                assert not inside, f"{edge} runs through {other}"


def between(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points along the straight pieces of a path, and of the polygon of its curve."""
    return [
        (a[0] + (b[0] - a[0]) * k / 20, a[1] + (b[1] - a[1]) * k / 20)
        for a, b in itertools.pairwise(points)
        for k in range(21)
    ]


@pytest.mark.slow
def test_the_pictures_are_made_anew(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "make_method_pictures.py"), str(tmp_path)]
    subprocess.run([*command, "--steps", "2"], check=True)
    for name in NAMES:
        path = tmp_path / f"{name}.png"
        assert path.stat().st_size < 80_000
        with Image.open(path) as picture:
            least, most = picture.convert("L").getextrema()
        assert most - least > 200
