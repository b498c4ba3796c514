"""From predictions to a panoptic map."""
