"""A local server of an exported model: TensorFlow Serving's REST paths, and a page for people.

It loads the SavedModel and runs nothing of the model's code. Nothing of a request reaches the file
system or another host, and what can't be answered gets one sentence (`refusals.RefusedError`).
"""
