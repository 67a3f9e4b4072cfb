"""Procedural things on tables: of their kind, hollow where they should be, and only where they are asked for."""

import numpy as np
import pytest

from multidiff.points import synth, tabletop
from multidiff.points.data import PointData, examples

NOUNS = {"box": ("box",), "cup": ("cup", "beaker")}


def made(kind: str, number: int, count: int = 2000) -> tuple[np.ndarray, str]:
    index = list(tabletop.KINDS).index(kind) + number * len(tabletop.KINDS)
    cloud, text = synth.shape(index, count, tabletop.KINDS)
    assert synth.label(index, tabletop.KINDS) == kind
    return cloud.points, text


@pytest.mark.parametrize("kind", tabletop.KINDS)
def test_each_kind_varies_and_its_caption_names_it(kind: str) -> None:
    found = [made(kind, number, 300) for number in range(12)]
    assert all(np.linalg.norm(points, axis=1).max() == pytest.approx(1) for points, _ in found)
    assert all(text.split(" with ")[0].endswith(NOUNS.get(kind, (kind,))) for _, text in found)
    sizes = np.array([np.ptp(points, axis=0) for points, _ in found])
    assert (sizes[:, 1] / sizes[:, 0]).std() > 0.02


@pytest.mark.parametrize("kind", ["cup", "bowl"])
def test_cups_and_bowls_are_open_above_and_closed_below(kind: str) -> None:
    for number in range(6):
        points, _ = made(kind, number)
        low, high = points[:, 1].min(), points[:, 1].max()
        middle = np.median(points[points[:, 1] > high - 0.05], axis=0)  # of the rim; a handle is lower
        near_axis = np.hypot(points[:, 0] - middle[0], points[:, 2] - middle[2]) < 0.15
        assert near_axis.any()
        assert points[near_axis, 1].max() < low + 0.3 * (high - low)


def test_a_recipe_asks_for_them_as_a_family_and_no_other_is_changed_by_them() -> None:
    spec = PointData(count=12, points=64, family="tabletop")
    assert [e.label for e in examples(spec, "train")] == 2 * list(tabletop.KINDS)
    bowls = PointData(count=12, points=64, family="tabletop", where={"label": "bowl"})
    assert [e.label for e in examples(bowls, "train")] == ["bowl", "bowl"]
    assert [e.label for e in examples(PointData(count=12, points=64), "train")] == list(synth.KINDS)
