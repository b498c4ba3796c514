"""COCO's panoptic format, once: strict reading of its JSON, for conversion and evaluation."""
