"""Commands that use what a run made: chat, serve, compress, export, push."""

import os
import signal
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orcinus.cli import options as flags
from orcinus.cli.options import run_async

if TYPE_CHECKING:
    from orcinus.core.types import Messages

QUIT = {"", "quit", "exit"}


def chat(
    run: flags.RunArgument,
    question: Annotated[
        str | None,
        typer.Argument(help="One question. Without it, chat reads questions from the terminal."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy decoding.")] = 0.0,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    device: flags.Device = "auto",
) -> None:
    """Ask a run's trained student questions. Each question starts a new conversation."""
    from orcinus.core.requests import chat_request
    from orcinus.core.types import Sampling
    from orcinus.models.open import open_completer
    from orcinus.models.roles import question_to, trained_student

    folder = flags.run_folder(run, runs)
    config, before = trained_student(folder)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)

    flags.show_note(_under(before))

    async def talk() -> None:
        model = open_completer(config, base=folder, device=device, secrets={}, note=flags.show_note)
        try:
            text = question if question is not None else _read_question()
            while text not in QUIT:
                request = chat_request(question_to(before, text), sampling)
                flags.say((await model.complete(request)).text)
                text = "" if question is not None else _read_question()
        finally:
            await model.aclose()

    run_async(talk())


def compress(
    run: flags.RunArgument,
    ratio: Annotated[
        float, typer.Option(help="Share of the linear layers' numbers to save.")
    ] = 0.2,
    method: Annotated[
        Literal["svd", "weighted", "dictionary"],
        typer.Option(help="Truncated SVD, the same weighted by the inputs, or a dictionary."),
    ] = "dictionary",
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
    device: flags.Device = "auto",
    as_json: flags.AsJson = False,
) -> None:
    """Factorise the student's layers, and compare it with itself on the held-out questions."""
    from orcinus.pipeline.compress import compress_run
    from orcinus.reports.words import percent, points

    run_dir = flags.run_folder(run, runs)
    runtime = flags.runtime(run_dir.parent, ledger=ledger, concurrency=512, device=device)
    with flags.shown_progress(as_json=as_json) as progress:
        found = run_async(compress_run(run_dir, runtime, progress, ratio=ratio, method=method))
    if as_json:
        flags.print_json({**asdict(found), "folder": str(found.folder)})
        return
    compared = found.compared
    flags.say(
        f"numbers of the linear layers: {found.numbers_before:,} → {found.numbers_after:,}; "
        f"relative error of their outputs {found.error:.3f}\n"
        f"right on {found.after.n:,} held-out questions: {percent(found.before.mean)} → "
        f"{percent(found.after.mean)}; mean of tasks {points(compared.difference)} points "
        f"({points(compared.low)} … {points(compared.high)}), p {compared.p_value:.3f}\n"
        f"the model: {found.folder}"
    )


def serve(
    run: flags.RunArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8124,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    device: flags.Device = "auto",
) -> None:
    """Serve a run's trained student, or a model's folder, as an OpenAI-compatible endpoint."""
    from orcinus.core.fingerprint import fingerprint
    from orcinus.models.local.config import LocalConfig
    from orcinus.models.local.huggingface import LocalModel
    from orcinus.models.open import open_completer
    from orcinus.models.roles import trained_student, turns_before
    from orcinus.models.server.chat_api import serve_forever

    if (run / "config.json").is_file():
        folder, what = Path(os.path.abspath(run)), "the model"
        config, before = LocalConfig(path=str(run.resolve())), turns_before(run)
    else:
        folder = flags.run_folder(run, runs)
        what = "the student of"
        config, before = trained_student(folder)
    model = open_completer(config, base=folder, device=device, secrets={}, note=flags.show_note)

    if isinstance(model, LocalModel):
        model.stay_within_context()  # any client may ask

    def on_ready(url: str) -> None:
        flags.say(f"serving {what} {folder.name} at {url}; stop with Ctrl-C")
        if before or what != "the model":
            flags.show_note(_under(before))
        flags.show_note(
            f"in a recipe: teacher: {{kind: endpoint, model: {folder.name}, base_urls: [{url}]}}"
        )

    run_async(
        serve_forever(
            model,
            host=host,
            port=port,
            on_ready=on_ready,
            name=folder.name,
            before=before,
            fingerprint=fingerprint([model.model, [message.content for message in before]])[:16],
        )
    )


def export(
    run: flags.RunArgument,
    target: Annotated[
        str,
        typer.Option(
            "--format",
            help="A file: messages, sharegpt, alpaca, trl, preferences (pairs, for TRL's DPO). "
            "A folder: axolotl, llama-factory, dataset (Hugging Face). "
            "gguf: the student itself, for llama.cpp and Ollama.",
        ),
    ] = "messages",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="Where to write. Default: RUN/lessons-FORMAT."),
    ] = None,
    runs: flags.Runs = flags.DEFAULT_RUNS,
) -> None:
    """Write a run's lessons in the format of another trainer, or its student as GGUF."""
    if target == "gguf":
        _export_gguf(flags.run_folder(run, runs), out)
        return
    from orcinus.lessons.export import LAYOUTS, PREFERENCES, export_lessons, export_preferences
    from orcinus.runs.folders import finished_steps
    from orcinus.runs.layout import LESSONS

    folder = flags.run_folder(run, runs)
    if target == PREFERENCES:
        path = out or folder / f"{PREFERENCES}.jsonl"
        flags.say(f"{export_preferences(folder, path):,} pairs in {path}")
        return
    suffix = ".jsonl" if target in LAYOUTS else ""
    path = out or folder / f"lessons-{target}{suffix}"
    lessons = finished_steps(folder, "erase")[0] / LESSONS
    count = export_lessons(lessons, target, path, name=folder.name)
    flags.say(f"{count:,} lessons in {path}")


def _export_gguf(run_dir: Path, out: Path | None) -> None:
    from orcinus.models.local.to_gguf import (
        FOLDER_VARIABLE,
        MODELFILE,
        convert_student,
        find_converter,
        needs_converter,
    )
    from orcinus.models.roles import trained_student

    config, before = trained_student(run_dir)
    system = before[0].content if before else ""
    clone = os.environ.get(FOLDER_VARIABLE)
    llama_cpp = None if clone is None else Path(clone)
    if not needs_converter(Path(config.path)):
        flags.show_note("llama.cpp splits a text where two blanks precede a word in its own way")
    elif find_converter(llama_cpp) is not None:
        flags.show_note(f"converting {config.path}; a large student takes minutes")
    path = convert_student(
        Path(config.path),
        system,
        out or run_dir / "student-gguf",
        llama_cpp=llama_cpp,
    )
    flags.say(f"{path}\n{path.with_name(MODELFILE)}")
    flags.say(f"ollama create {run_dir.name} -f {path.with_name(MODELFILE)}")


def push(
    run: flags.RunArgument,
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The repository; made if it is not there.")
    ],
    lessons: Annotated[
        bool, typer.Option("--lessons", help="The lessons as a data set, not the student.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public. Default: private.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the card and the files; send nothing.")
    ] = False,
    runs: flags.Runs = flags.DEFAULT_RUNS,
    ledger: flags.LedgerPath = None,
) -> None:
    """Publish a run's student, or its lessons, on the Hugging Face hub."""
    from orcinus.pipeline.push import push_run
    from orcinus.runs import layout
    from orcinus.runs.ledger import Ledger

    folder = flags.run_folder(run, runs)
    with Ledger(ledger or folder.parent / layout.LEDGER, read_only=True) as opened:
        spend = opened.spend(folder.name)
    done = push_run(
        folder,
        repo,
        spend,
        what="dataset" if lessons else "model",
        public=public,
        dry_run=dry_run,
    )
    if dry_run:
        flags.say(done.card)
    for name, size in done.files:
        flags.say(f"{size:>15,}  {name}")
    kind = f"{'public' if public else 'private'} {done.what}"
    if dry_run:
        flags.say(f"would go to {repo}, a {kind} if it is new; nothing was sent")
    else:
        flags.say(done.url)


def _under(before: "Messages") -> str:
    """Return a line about the message that precedes each question."""
    if not before:
        return "asked under no system message, as it was trained"
    return (
        "asked under the system message that it was trained with: "
        f"{shorten(before[0].content, 70)!r}"
    )


def _read_question() -> str:
    # Ctrl-C only cancels the coroutine that called this, and `input` would go on waiting.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return input("> ").strip()
    except EOFError:
        return ""
    finally:
        signal.signal(signal.SIGINT, handler)
