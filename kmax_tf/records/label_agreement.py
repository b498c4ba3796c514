"""Whether records mean by their ids what their reader does."""

from __future__ import annotations

import json

from kmax_tf.errors import UserError
from kmax_tf.labels import Category, LabelSpace
from kmax_tf.wording import count_of

# Enough to see what another description it is.
_MOST_DIFFERENCES = 5


def check_same_labels(ours: LabelSpace, theirs: LabelSpace, where: str, who: str) -> None:
    """Checks that ids mean the same in a description as where they are read.

    Names of datasets, colors and the order of classes may differ, and so may num_ids: no id of a
    record depends on them.

    Args:
      ours: of the experiment, or whatever reads records.
      theirs: of the description beside the records.
      where: the description's path.
      who: reads them: "this experiment".

    Raises:
      UserError: shows what differs.
    """
    differences = [
        f"{field} {getattr(theirs, field)} there, {getattr(ours, field)} here"
        for field in ("label_divisor", "ignore_label")
        if getattr(theirs, field) != getattr(ours, field)
    ]
    there, here = ({c.id: _meaning(c) for c in labels.classes} for labels in (theirs, ours))
    changed = [i for i in sorted({**there, **here}) if there.get(i) != here.get(i)]
    differences += [
        f"class {i} is {there.get(i, 'none')} there, {here.get(i, 'none')} here"
        for i in changed[:_MOST_DIFFERENCES]
    ]
    if len(changed) > _MOST_DIFFERENCES:
        differences.append(f"and {count_of(len(changed) - _MOST_DIFFERENCES, 'more class')}")
    if differences:
        raise UserError(
            f"the records were made with another dataset description ({where}) than that of {who}: "
            f"{'; '.join(differences)}. Read the records of these classes (data_dir), take that "
            "description (dataset_file), or convert the dataset again"
        )


def _meaning(category: Category) -> str:
    name = json.dumps(category.name, ensure_ascii=False)
    kind = "thing" if category.thing else "stuff"
    return f"{name} ({kind}, original_id {category.original_id})"
