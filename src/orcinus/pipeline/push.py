"""Publish a run's student, or its lessons, on the Hugging Face hub.

    push_run(run_dir, "me/sums", spend)   ──►   https://huggingface.co/me/sums

Cards are written anew from the finished steps, so that their figures are those of the run.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.files import write_atomically
from orcinus.lessons.export import export_lessons
from orcinus.models.roles import trained_student
from orcinus.reports.facts import facts_of_run
from orcinus.reports.pages import model_card
from orcinus.runs import layout
from orcinus.runs.folders import finished_steps
from orcinus.runs.ledger_figures import SpendRow

What = Literal["model", "dataset"]
MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "chat_template*",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    layout.TRAINED,
)
"""Files of a student's folder that another machine needs to use it. No others are published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """The files of a publication, and its place."""

    repo: str
    """``OWNER/NAME``."""
    what: What
    public: bool
    card: str
    """The text of ``README.md``."""
    files: tuple[tuple[str, int], ...]
    """Path in the repository and bytes of each file."""
    url: str = ""
    """Address of the repository; empty before anything was sent."""


def push_run(
    run_dir: Path,
    repo: str,
    spend: Sequence[SpendRow],
    *,
    what: What = "model",
    public: bool = False,
    dry_run: bool = False,
) -> Push:
    """Publish a run's student, or its lessons as a data set.

    Args:
        run_dir: The run, with its report finished.
        repo: ``OWNER/NAME`` on the hub. It is made where it does not exist.
        spend: What the run spent, for the model card.
        what: The student or the lessons.
        public: Make a new repository public. One that exists stays as it is.
        dry_run: Send nothing; only say what would go.

    Returns:
        What was published, or would be.

    Raises:
        ConfigError: The run is not finished, the name is malformed, or the hub refuses.
        MissingExtraError: The hub's client is not installed.
    """
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise ConfigError(f"{repo}: not a repository; write OWNER/NAME, e.g. my-team/sums-student")
    with _folder_to_push(run_dir, spend, what) as folder:
        files = tuple(
            (path.relative_to(folder).as_posix(), path.stat().st_size)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        )
        card = (folder / layout.STUDENT_CARD).read_text(encoding="utf-8")
        url = "" if dry_run else _send(folder, repo, what, public=public, run=run_dir.name)
    return Push(repo=repo, what=what, public=public, card=card, files=files, url=url)


@contextmanager
def _folder_to_push(run_dir: Path, spend: Sequence[SpendRow], what: What) -> Iterator[Path]:
    """Yield a folder that holds exactly what is published."""
    with tempfile.TemporaryDirectory(prefix="orcinus-push-") as name:
        folder = Path(name)
        if what == "dataset":
            lessons = finished_steps(run_dir, "erase")[0] / layout.LESSONS
            export_lessons(lessons, "dataset", folder, name=run_dir.name)
        else:
            student = Path(trained_student(run_dir)[0].path)
            for path in sorted({path for glob in MODEL_FILES for path in student.glob(glob)}):
                (folder / path.name).symlink_to(path.resolve())
            card = model_card(facts_of_run(run_dir, spend))
            write_atomically(folder / layout.STUDENT_CARD, card.encode())
        yield folder


def _send(folder: Path, repo: str, what: What, *, public: bool, run: str) -> str:
    """Send the files in one commit; return the address of the repository."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtraError("publishing on the Hugging Face hub", "hub") from error
    api = HfApi(library_name="orcinus")
    try:
        made = api.create_repo(repo, repo_type=what, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            repo_type=what,
            folder_path=folder,
            commit_message=f"Publish the run {run} of orcinus",
        )
    except Exception as error:
        raise ConfigError(f"{repo}: {_explained(error)}") from error
    return str(made)


def _explained(error: Exception) -> str:
    """Return why the hub did not take the files, and what to do."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    if isinstance(error, HFValidationError):
        return str(error)
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
        return (
            "the hub refuses: log in with `hf auth login`, or set HF_TOKEN to a token that may "
            "write there"
        )
    if status is not None:
        return f"the hub refuses (HTTP {status}); the same command tries again"
    return f"the hub cannot be reached ({error}); is this machine online?"
