"""A saved model on the Hugging Face Hub: what would be uploaded is said and asked for first; nothing else leaves."""

import shutil
from pathlib import Path

from huggingface_hub import ModelHubMixin, hf_hub_download

from gsa_utils.arguments import check_path
from gsa_utils.export.saved import load_model, read_card

FILE, PAGE = "model.safetensors", "README.md"


class HubModel(ModelHubMixin):
    """A file of `save_model` with the Hub's own methods: `save_pretrained`, `from_pretrained`, `push_to_hub`.

    Args:
        path: of the file.

    Raises:
        ValueError: a file that is none of `save_model`.
    """

    def __init__(self, path: str | Path):
        check_path("path", path)
        self.path, self.card = Path(path), read_card(path)

    def load(self):
        """The model, as `load_model` gives it."""
        return load_model(self.path)

    @property
    def uploads(self) -> dict[str, str]:
        """What `push_to_hub` sends: file name -> what it holds. No image is among it, but for what weights remember."""
        on, classes = self.card["trained_on"], ", ".join(self.card["classes"])
        return {
            FILE: f"weights, {self.path.stat().st_size} bytes, and the card: classes {classes}; "
            f"trained on {on['images']} images of {on['name'] or 'a set without a name'}; metrics",
            PAGE: "a page with the same card in words",
        }

    def push_to_hub(self, repo_id: str, *, yes: bool = False, **settings: object) -> str:
        """Upload to a repository, a private one unless `private=False`; `settings` go to the Hub's own method.

        Args:
            yes: without it nothing is sent, and a PermissionError says what would be.
        """
        if not yes:
            listed = "".join(f"\n  {name}: {what}" for name, what in self.uploads.items())
            raise PermissionError(
                f"this would upload to {repo_id}:{listed}\nAsk whose images these were; then pass yes=True"
            )
        return super().push_to_hub(repo_id, **{"private": True, **settings})

    def _save_pretrained(self, save_directory: Path) -> None:
        shutil.copyfile(self.path, save_directory / FILE)
        (save_directory / PAGE).write_text(self._page(), encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **settings: object) -> "HubModel":
        if (local := Path(model_id) / FILE).exists():
            return cls(local)
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        return cls(hf_hub_download(model_id, FILE, **{name: settings[name] for name in names if name in settings}))

    def _page(self) -> str:
        on, metrics = self.card["trained_on"], self.card["metrics"]
        lines = ["# One weight map for all images", "", self.card["use"], ""]
        lines += [
            f"- classes: {', '.join(self.card['classes'])}",
            f"- trained on {on['images']} images of {on['name']}",
        ]
        lines += [f"- {name}: {value}" for name, value in metrics.items()]
        lines += [f"- licence: {self.card['licence'] or 'not stated'}", ""]
        return "\n".join([*lines, "`gsa_utils.export.hub.HubModel.from_pretrained(...).load()` reads it.", ""])
