"""What a committed notebook holds to: `clean` brings one there, `problems` says what a person has to mend."""

import ast
import copy
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

MAX_BYTES = 1_000_000  # beyond this GitHub shows "unable to render" and a clone grows with every refresh
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def text(nb: NotebookNode) -> str:
    return nbformat.writes(nb) + "\n"


def tagged(nb: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in nb.cells if tag in cell.metadata.get("tags", [])]


def parameters(nb: NotebookNode) -> dict[str, object]:
    """Name -> default value of the cell tagged `parameters`.

    Raises:
        ValueError: no such cell or several, or something in it that is not `name = literal`: papermill replaces the
            names only, so a value derived from another would keep the old one's.
    """
    cells = tagged(nb, "parameters")
    if len(cells) != 1:
        raise ValueError(f"{len(cells)} cells are tagged `parameters`, expected one")
    values = {}
    try:
        for line in ast.parse(cells[0].source).body:
            target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
            values[target.id] = ast.literal_eval(line.value)
    except (AttributeError, SyntaxError, ValueError) as error:
        raise ValueError(f"the parameters cell holds more than lines `name = literal` ({error})") from error
    return values


def clean(nb: NotebookNode) -> NotebookNode:
    """A copy without what differs from run to run or machine to machine; sources and cell ids stay as they are."""
    nb = copy.deepcopy(nb)
    nb.metadata = NotebookNode(kernelspec=NotebookNode(KERNEL), language_info=NotebookNode(name="python"))
    for cell in nb.cells:
        kept = {key: cell.metadata[key] for key in ("jupyter", "tags") if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs = list(_clean_outputs(cell.outputs))
    return nb


def _clean_outputs(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    printed = None
    for output in outputs:
        data = output.get("data", {})
        # Progress bars are stderr or widgets. A widget saved without its state is drawn as an error message: what stays
        # of one is the picture that it brought along.
        if output.get("name") == "stderr" or (WIDGET in data and "image/png" not in data):
            continue
        data.pop(WIDGET, None)
        if output.output_type == "stream":
            if printed is not None:  # how prints are divided into messages depends on the machine's speed
                printed.text += output.text
                continue
            printed = output
        else:
            printed = None
        if "image/png" in data:
            for kind in [kind for kind in data if kind.startswith("image/") and kind != "image/png"]:
                del data[kind]
        yield output


def problems(nb: NotebookNode) -> list[str]:
    """What keeps this notebook from being committed, in words; empty when nothing does."""
    found = []
    if (size := len(text(nb).encode())) > MAX_BYTES:
        found.append(f"{size / 1e6:.1f} MB, the limit is {MAX_BYTES / 1e6:.0f} MB: smaller or fewer figures")
    try:
        parameters(nb)
    except ValueError as error:
        found.append(str(error))
    if not tagged(nb, "found"):
        found.append("no cell is tagged `found`: nobody is told what the lesson found")
    if tagged(nb, "injected-parameters"):
        found.append("holds papermill's injected parameters: it was not run with its own defaults")
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "code":
            start = cell.source.strip().partition("\n")[0]
            found += [f"cell {number} (`{start}`): {what}" for what in _cell_problems(cell)]
    counts = [cell.execution_count for cell in nb.cells if cell.cell_type == "code"]
    if None not in counts and counts != list(range(1, len(counts) + 1)):
        found.append(f"cells were run in the order {counts}, not once each from top to bottom")
    if any(place in text(nb) for place in (str(Path(__file__).resolve().parents[1]), sys.prefix)):
        found.append("names a folder of this machine")
    if text(clean(nb)) != text(nb):
        found.append("holds outputs or metadata that change from run to run: `make notebooks` cleans them")
    return found


def _cell_problems(cell: NotebookNode) -> Iterator[str]:
    if cell.execution_count is None:
        yield "was not run"
    for output in cell.outputs:
        data, metadata = output.get("data", {}), output.get("metadata", {})
        if output.output_type == "error":
            yield f"ends in {output.ename}: {output.evalue}"
        if " at 0x" in output.get("text", "") + data.get("text/plain", ""):
            yield "shows a memory address, which changes with every run: end the line with a semicolon, or print less"
        images = [kind for kind in data if kind.startswith("image/")]
        if images and images != ["image/png"]:
            yield f"holds {' and '.join(images)}: figures are committed as PNG only"
        # where lessons.show and IPython's Image(alt=...) put it, and display(figure, metadata={"alt": ...})
        if images and not (metadata.get("image/png", {}).get("alt") or metadata.get("alt")):
            yield 'has an image without alt text: lessons.show(figure, alt="what it shows")'


def set_up_cells_differ(notebooks: dict[str, NotebookNode]) -> list[str]:
    """The names of the notebooks whose second cell is not, byte for byte, the second cell of the first notebook."""
    cells = {name: nb.cells[1].source if len(nb.cells) > 1 else None for name, nb in notebooks.items()}
    first = next(iter(cells.values()), None)
    return [name for name, source in cells.items() if source is None or source != first]
