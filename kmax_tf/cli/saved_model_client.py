"""Segments images with an exported SavedModel, without kmax_tf: what a client needs to do.

python saved_model_client.py EXPORT/1 OUTPUT IMAGE...   writes OUTPUT/<image>.npz with every output.
"""

import pathlib
import sys


def main(export: str, output: str, *images: str) -> None:
    """Segments the images one after another."""
    import numpy as np
    import tensorflow as tf
    from PIL import Image

    # Proves that the export stands alone: importing the package is an error from here on.
    sys.modules["kmax_tf"] = None  # type: ignore[assignment]
    serve = tf.saved_model.load(export).signatures["serving_default"]
    for path in images:
        image = np.asarray(Image.open(path).convert("RGB"))  # [H, W, 3] uint8
        maps = serve(images=tf.constant(image[np.newaxis]))
        name = pathlib.Path(path).stem + ".npz"
        values = {key: value[0].numpy() for key, value in maps.items()}
        np.savez_compressed(pathlib.Path(output) / name, **values)
    print(f"images segmented with {export}, without kmax_tf: {len(images)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
