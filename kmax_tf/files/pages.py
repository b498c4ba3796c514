"""HTML pages that hold all they need: style and pictures are inside, nothing is loaded."""

from __future__ import annotations

import base64

import jinja2

from kmax_tf.wording import count_of


def page_templates(package: str) -> jinja2.Environment:
    """Returns the templates of a package, which escape what they are given, and page.css."""
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package), jinja2.PackageLoader("kmax_tf.files")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.globals["count_of"] = count_of
    return environment
