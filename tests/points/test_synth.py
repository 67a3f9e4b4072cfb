import numpy as np
import pytest
from scipy.spatial import cKDTree

from multidiff.points import solids, synth
from multidiff.points.sampling import face_areas


def test_a_shape_depends_on_its_index_only() -> None:
    (a, text), (b, again) = synth.shape(40, 512), synth.shape(40, 512)
    np.testing.assert_array_equal(a.points, b.points)
    assert text == again
    assert not np.array_equal(a.points, synth.shape(52, 512)[0].points)


@pytest.mark.parametrize("kind", synth.KINDS)
def test_shapes_stand_in_the_unit_sphere_and_are_named_in_their_caption(kind: str) -> None:
    start = list(synth.KINDS).index(kind)
    for index in range(start, start + 10 * len(synth.KINDS), len(synth.KINDS)):
        cloud, text = synth.shape(index, 256)
        assert len(cloud) == 256
        assert np.linalg.norm(cloud.points, axis=1).max() == pytest.approx(1)
        assert synth.label(index) == kind
        assert kind in text
        assert text.startswith(("a ", "an "))
        assert text.startswith("an ") == (text.split()[1][0] in "aeiou")


def test_captions_vary_and_words_mean_something() -> None:
    texts, tallness = [], {"low": [], "tall": []}
    for index in range(11, 11 + 12 * 120, 12):
        cloud, text = synth.shape(index, 128)
        texts.append(text)
        for word in tallness:
            if word in text.split() and "round" in text.split():
                tallness[word].append(np.ptp(cloud.points[:, 1]) / np.ptp(cloud.points[:, 0]))
    assert len(set(texts)) > 40
    assert np.mean(tallness["tall"]) > 1.5 * np.mean(tallness["low"])


def test_chairs_face_the_front() -> None:
    for index in range(4, 4 + 12 * 20, 12):
        points = synth.shape(index, 1024)[0].points
        top = points[points[:, 1] > np.quantile(points[:, 1], 0.97)]
        assert top[:, 2].mean() < 0


def test_no_point_of_a_union_lies_inside_it() -> None:
    parts = [
        solids.box((0, 0, 0), (1, 1, 1)),
        solids.box((0.4, 0.2, 0), (0.9, 0.8, 0.7), 0.3),
        solids.box((0, 1, 0), (0.2, 1.5, 0.2)),
    ]
    points, normals = solids.sample_union(parts, 3000, np.random.default_rng(0))
    assert not np.any([solid.inside(points) for solid in parts])
    below, above = (np.any([s.inside(points + step * normals) for s in parts], axis=0) for step in (-2e-3, 2e-3))
    assert below.mean() > 0.99
    assert above.mean() < 0.01


def test_a_union_is_sampled_by_its_visible_area() -> None:
    parts = [solids.box((0, 0, 0), (1, 1, 1)), solids.box((0, 0.75, 0), (0.5, 0.6, 0.5))]
    points, _ = solids.sample_union(parts, 20_000, np.random.default_rng(0))
    upper = 0.25 + 4 * 0.5 * 0.55
    assert (points[:, 1] > 0.5 + 1e-6).mean() == pytest.approx(upper / (upper + 6 - 0.25), abs=0.01)


@pytest.mark.parametrize(
    ("solid", "area"),
    [
        (solids.box((1, 2, 3), (1, 2, 3)), 22.0),
        (solids.frustum((0, 0, 0), (0, 2, 0), 0.5), 2 * np.pi * 0.25 + 2 * np.pi),
        (solids.rod((0, 0, 0), (3, 4, 0), 0.1), 2 * np.pi * 0.01 + np.pi),
        (solids.ball((0, 0, 0), (2, 2, 2)), 4 * np.pi),
    ],
)
def test_solids_have_their_area_and_face_outwards(solid: solids.Solid, area: float) -> None:
    vertices, faces = solids.mesh(solid)
    areas, normals = face_areas(vertices, faces)
    assert areas.sum() == pytest.approx(area, rel=0.02)
    assert ((vertices[faces].mean(1) - solid.centre) * normals).sum(1)[areas > 0].min() > 0


def test_sampled_points_cover_a_shape_evenly() -> None:
    points = synth.shape(11, 4096)[0].points
    spacing = cKDTree(points).query(points, k=2)[0][:, 1]
    assert spacing.max() < 8 * np.median(spacing)
