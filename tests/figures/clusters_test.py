"""Sheets of cluster assignments: colors of centers, captions, which panels."""

import itertools

import numpy as np
import pytest

from kmax_tf import figures
from kmax_tf.figures import clusters
from tests.figures.pictures import GREY, SIZE, grey, stripes
from tests.reference.panoptic_maps import LABELS, ROADS, SKIES


def assignment(centers: np.ndarray, name: str = "block 1", stride: int = 32) -> figures.Assignment:
    return figures.Assignment(name, stride, centers)


@pytest.fixture
def sheet_of(monkeypatch):
    """Returns a function that draws and returns what went onto the sheet: pictures, captions."""
    arranged = []

    def record(pictures, captions, columns):
        arranged.append((list(pictures), list(captions)))
        return arrange(pictures, captions, columns)

    arrange = clusters.arrange
    monkeypatch.setattr(clusters, "arrange", record)

    def draw(*maps, shown=None):
        assignments = [assignment(centers, f"stage {i}") for i, centers in enumerate(maps)]
        panoptic = stripes(ROADS, SKIES)
        figures.draw_clusters(grey(), assignments, panoptic, LABELS, shown)
        return arranged[-1]

    return draw


@pytest.mark.parametrize("count", [1, 2, 16, 128, 256])
def test_no_two_centers_share_a_color(count):
    maps = [np.arange(count, dtype=np.int32).reshape(1, count)]
    colors = clusters.center_colors(maps)
    assert sorted(colors) == list(range(count))
    assert len(set(colors.values())) == count
    assert {type(channel) for color in colors.values() for channel in color} == {int}


def test_the_colors_of_a_few_centers_are_far_apart_and_none_is_grey():
    colors = np.array(list(clusters.center_colors([np.arange(12).reshape(3, 4)]).values()))
    for one, other in itertools.combinations(colors, 2):
        assert np.linalg.norm(one - other) > 60
    assert (colors.max(axis=1) - colors.min(axis=1) > 40).all()


def test_every_center_that_owns_a_pixel_at_any_stage_has_a_color():
    colors = clusters.center_colors([stripes(3, 3), stripes(3, 7), stripes(90, 7)])
    assert sorted(colors) == [3, 7, 90]


def test_the_largest_center_is_first_and_a_tiny_one_changes_no_other_color():
    few = clusters.center_colors([stripes(5, 5, 5, 2)])
    tiny = stripes(5, 5, 5, 2).copy()
    tiny[0, 0] = 9
    more = clusters.center_colors([tiny])
    assert list(more) == [5, 2, 9]
    assert {center: more[center] for center in few} == few


def test_stages_count_alike_whatever_their_size():
    coarse, fine = np.full((2, 2), 1), np.full((100, 100), 2)
    assert list(clusters.center_colors([coarse, fine, fine])) == [2, 1]
    assert list(clusters.center_colors([coarse, coarse, fine])) == [1, 2]
    assert list(clusters.center_colors([fine, coarse])) == [1, 2]


def test_a_center_keeps_its_color_from_stage_to_stage(sheet_of):
    pictures, _ = sheet_of(stripes(4, 1, 1, 1), stripes(4, 4, 2, 1), stripes(2, 2, 2, 4))
    _, *stages, _ = pictures

    def color(stage, stripe):
        left = stripe * SIZE // 4
        panel = stages[stage][:, left : left + SIZE // 4].reshape(-1, 3)
        assert (panel == panel[0]).all()
        return tuple(panel[0])

    assert color(0, 0) == color(1, 0) == color(1, 1) == color(2, 3)  # center 4
    assert color(0, 1) == color(0, 2) == color(1, 3)  # center 1
    assert color(1, 2) == color(2, 0)  # center 2
    assert len({color(1, 0), color(1, 2), color(1, 3)}) == 3


def test_colors_lie_over_the_image_in_grey(sheet_of):
    maps = stripes(0, 1)
    pictures, _ = sheet_of(maps)
    colors = clusters.center_colors([maps])
    for center, column in ((0, 0), (1, -1)):
        expected = GREY + 0.62 * (np.array(colors[center]) - GREY)
        assert np.abs(pictures[1][:, column] - expected).max() <= 0.5


def test_the_sheet_begins_with_the_image_and_ends_with_the_panoptic_map(sheet_of):
    pictures, captions = sheet_of(stripes(0, 1))
    assert [caption.split("\n")[0] for caption in captions] == [
        "image",
        "stage 0 (stride 32)",
        "panoptic map",
    ]
    np.testing.assert_array_equal(pictures[0], grey())
    expected = figures.draw_panoptic(grey(), stripes(ROADS, SKIES), LABELS)
    np.testing.assert_array_equal(pictures[-1], expected)


def test_captions_count_centers_and_changed_pixels(sheet_of):
    _, captions = sheet_of(
        stripes(0, 0, 0, 0), stripes(0, 0, 0, 1), stripes(1, 0, 2, 1), stripes(1, 0, 2, 1)
    )
    assert captions == [
        "image\n",
        "stage 0 (stride 32)\n1 center",
        "stage 1 (stride 32)\n2 centers, 25 % changed",
        "stage 2 (stride 32)\n3 centers, 50 % changed",
        "stage 3 (stride 32)\n3 centers, 0 % changed",
        "panoptic map\n",
    ]


def test_a_part_of_the_stages_is_drawn_as_among_all(sheet_of):
    maps = [stripes(0, 0), stripes(0, 1), stripes(2, 1), stripes(2, 3)]
    all_pictures, all_captions = sheet_of(*maps)
    pictures, captions = sheet_of(*maps, shown={3, 1})
    assert captions == [all_captions[i] for i in (0, 2, 4, 5)]
    assert captions[1] == "stage 1 (stride 32)\n2 centers, 50 % changed"  # since stage 0
    for index, picture in zip((0, 2, 4, 5), pictures):
        np.testing.assert_array_equal(picture, all_pictures[index])


def test_small_images_are_enlarged_without_inventing_centers(sheet_of):
    maps = np.array([[0, 1], [2, 3]])
    picture = figures.draw_clusters(
        grey((2, 2)), [assignment(maps)], np.full((2, 2), ROADS), LABELS
    )
    colors = np.array(list(clusters.center_colors([maps]).values()))
    expected = np.round(GREY + 0.62 * (colors - GREY))
    found = {tuple(color) for color in picture.reshape(-1, 3)}
    assert {tuple(color) for color in expected} <= found


@pytest.mark.parametrize(("height", "width"), [(440, 440), (440, 880), (880, 440), (420, 1680)])
@pytest.mark.parametrize("stages", [1, 4, 7])
def test_sheets_are_neither_towers_nor_ribbons(height, width, stages):
    centers = np.zeros((height, width), np.int32)
    sheet = figures.draw_clusters(
        grey((height, width)),
        [assignment(centers)] * stages,
        np.full((height, width), ROADS),
        LABELS,
    )
    assert sheet.dtype == np.uint8
    assert 0.6 < sheet.shape[1] / sheet.shape[0] < 3.5


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="440"):
        figures.draw_clusters(
            grey(), [assignment(np.zeros((SIZE, 2), int))], stripes(ROADS), LABELS
        )
