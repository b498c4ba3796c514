"""The shipped dataset descriptions are the publishers' facts.

golden/datasets.json: id in the records, id in the publisher's files, name, thing, color. Those of
ADE20K count from 1 on both sides there; its annotations count from 0.
"""

import json
import pathlib

import pytest

from kmax_tf.config.dataset import read_description

FACTS = json.loads((pathlib.Path(__file__).parent / "golden" / "datasets.json").read_text())


@pytest.mark.parametrize("name", FACTS)
def test_names_ids_order_and_colors_are_the_publishers(name):
    labels, _ = read_description(name)
    offset = 1 if name == "ade20k" else 0
    ours = [
        [c.id, c.original_id + offset, c.name, int(c.thing), "#{:02x}{:02x}{:02x}".format(*c.color)]
        for c in labels.classes
    ]
    things = [fact for fact in FACTS[name] if fact[3]]
    stuff = sorted(fact for fact in FACTS[name] if not fact[3])
    assert ours == things + stuff
