import numpy as np
import pytest
from PIL import Image

from kmax_tf.panoptic.png import encode_ids, read_ids


def test_ids_are_red_green_blue_from_the_lowest(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_ids(np.array([[0, 1, 256, 65536, 2**24 - 1]])))
    colors = [[(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (255, 255, 255)]]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), colors)
    assert read_ids(path).tolist() == [[0, 1, 256, 65536, 2**24 - 1]]


@pytest.mark.parametrize("value", [-1, 2**24])
def test_ids_beyond_24_bits_are_an_error(value):
    with pytest.raises(ValueError, match="ids must be"):
        encode_ids(np.array([[value]]))


def test_alpha_is_dropped(tmp_path):
    path = tmp_path / "a.png"
    colors = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    for image in (Image.fromarray(colors), Image.fromarray(colors[..., :3])):
        image.save(path)
        np.testing.assert_array_equal(read_ids(path), colors[..., :3].astype(int) @ [1, 256, 65536])
