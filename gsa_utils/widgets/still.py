"""What stands in a widget's place where none is drawn: on GitHub, on paper, in a front end without widgets."""

import base64


def with_still(widget: object, picture: bytes, text: str, alt: str) -> tuple[dict, dict]:
    """Data and metadata to display a widget where widgets live, and elsewhere, on GitHub, on paper, a PNG and a line.

    Made by hand, since under ipywidgets 7 a widget can't do it.
    """
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    still = {"image/png": base64.b64encode(picture).decode(), "text/plain": text}
    return {"application/vnd.jupyter.widget-view+json": view} | still, {"image/png": {"alt": alt}}
