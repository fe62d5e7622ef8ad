"""Writes the course's one address, OWNER/NAME on GitHub, wherever it is named: `make links REPO=owner/name`.

That is the set-up cell of each lesson, the badges in its first cell and in README.md, links in docs/, pyproject.toml
and CITATION.cff. A fork that did so opens itself from its badges. pyproject.toml says which address is written now.
Needs nothing but Python 3.11: whoever forks the course has not installed it yet.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
# The places at which these services expect OWNER/NAME in their addresses.
BEFORE = r"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh|codespaces\.new)/"
NAME = r"[A-Za-z0-9][\w-]*/[\w.-]+"
FIRST_BADGE = "[![Open in Colab]"


def badges(repo: str, lesson: str, opened: str | None = None) -> str:
    """One line of Markdown: the badges that open a lesson, or in Binder what else is to be `opened` there."""
    notebook = f"{repo}/blob/{BRANCH}/notebooks/{lesson}"
    folder = f"lab/tree/notebooks/{lesson}" if opened is None else f"lab/tree/{opened}"
    addresses = {
        "Colab": (
            "https://colab.research.google.com/assets/colab-badge.svg",
            f"https://colab.research.google.com/github/{notebook}",
        ),
        "Kaggle": (
            "https://kaggle.com/static/images/open-in-kaggle.svg",
            f"https://kaggle.com/kernels/welcome?src=https://github.com/{notebook}",
        ),
        "Binder": (
            "https://mybinder.org/badge_logo.svg",
            f"https://mybinder.org/v2/gh/{repo}/{BRANCH}?urlpath={folder}",
        ),
        "Codespaces": ("https://github.com/codespaces/badge.svg", f"https://codespaces.new/{repo}?quickstart=1"),
    }
    return " ".join(f"[![Open in {name}]({image})]({address})" for name, (image, address) in addresses.items())


def current(root: Path = ROOT) -> str:
    """The OWNER/NAME that pyproject.toml holds."""
    address = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    return owner_and_name(address)


def owner_and_name(address: str) -> str:
    """OWNER/NAME of a repository on GitHub, given as that, as its address, or as git's origin.

    Raises:
        ValueError: it is none of these.
    """
    bare = re.sub(r"^(https://([^/@]*@)?github\.com/|(ssh://)?git@github\.com[:/])", "", address.strip())
    bare = re.sub(r"(\.git)?/?$", "", bare)
    if not re.fullmatch(NAME, bare):
        shown = re.sub(r"//[^/@]*@", "//", address.strip())  # without a password
        what = f"REPO is {shown!r}" if address.strip() else "there is no git remote called origin"
        raise ValueError(f"{what}; expected a repository on GitHub: make links REPO=owner/name")
    return bare


def written(root: Path, repo: str) -> dict[Path, str]:
    """File -> new text, for each file that names another address than `repo`, or whose badges are not its own."""
    texts = {path: path.read_text(encoding="utf-8") for path in files(root)}
    old = re.compile(rf"({BEFORE}){re.escape(current(root))}(?![\w-]|\.(?!git\b)\w)")
    new = {path: old.sub(rf"\g<1>{repo}", text) for path, text in texts.items()}
    readme, line = root / "README.md", badges(repo, lessons(root)[0].name, opened="notebooks")
    new[readme] = re.sub(rf"^{re.escape(FIRST_BADGE)}.*$", lambda _: line, new[readme], flags=re.MULTILINE)
    for path in lessons(root):
        new[path] = _with_badges(new[path], badges(repo, path.name))
    return {path: text for path, text in new.items() if text != texts[path]}


def lessons(root: Path) -> list[Path]:
    return sorted(root.glob("notebooks/[0-9][0-9]_*.ipynb"))


def files(root: Path) -> list[Path]:
    """What may name the address. The results' provenance stays: those runs were made where they were made."""
    named = [root / name for name in ("README.md", "pyproject.toml", "CITATION.cff")]
    return [*named, *sorted((root / "docs").glob("*.md")), *lessons(root)]


def _with_badges(text: str, line: str) -> str:
    """A notebook's text with `line` below the title of its first cell, in place of the badges that stand there."""
    nb = json.loads(text)
    title, *rest = "".join(nb["cells"][0]["source"]).split("\n")
    below = "\n".join(old for old in rest if not old.startswith(FIRST_BADGE)).lstrip("\n")
    nb["cells"][0]["source"] = f"{title}\n\n{line}\n\n{below}".splitlines(keepends=True)
    return json.dumps(nb, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str], root: Path = ROOT) -> int:
    try:
        changed = written(root, repo := owner_and_name(" ".join(arguments)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path.relative_to(root)}: {repo}")
    print(f"{len(changed)} files changed; the course's address is github.com/{repo}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
