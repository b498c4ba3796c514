"""What must hold between the fields of an experiment: a file a section, a function a rule."""
