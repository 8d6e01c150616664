"""The pages: each is one function from a request to a page rendered here. All that a model wrote is escaped."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import orjson
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from orcinus.core.errors import ConfigError, OrcinusError
from orcinus.reports import words
from orcinus.reports.model_names import model_name, model_names
from orcinus.reports.pages import SHORT, dot_plot
from orcinus.reports.viewer.index import FILTERS, ROWS_PER_PAGE, Asked
from orcinus.reports.viewer.workspace import (
    LESSONS_PER_PAGE,
    Workspace,
    assigned_strategies,
    attempt_at,
    lessons_page,
    paired,
)
from orcinus.runs import layout
from orcinus.runs.folders import scores_of
from orcinus.runs.lineage import example_of, fate_of_trace, lessons_of, trace_lesson
from orcinus.runs.progress import live

if TYPE_CHECKING:
    pass


MOST_COMPARED = 6
"""Runs beside each other; more do not fit."""
KEPT_PLOTS = 32
ORDERS = {
    "first": "in order",
    "longest": "longest first",
    "shortest": "shortest first",
    "dearest": "dearest first",
}


def app(workspace: Workspace, base: str) -> Starlette:
    """The pages of a workspace.

    Args:
        workspace: What is shown.
        base: What every address here starts with, without a slash at its end.
    """
    pages = _Pages(workspace, base)
    routes: dict[str, Callable[[Request], Response]] = {
        "/": pages.runs,
        "/live": pages.runs_live,
        "/compare": pages.compare,
        "/runs/{run}": pages.run,
        "/runs/{run}/live": pages.run_live,
        "/runs/{run}/report": pages.report,
        "/runs/{run}/attempts": pages.attempts,
        "/runs/{run}/attempts/{folder}/{file}/{row:int}": pages.attempt,
        "/runs/{run}/lessons": pages.lessons,
        "/runs/{run}/lessons/{lesson}": pages.lesson,
        "/style.css": pages.style,
        "/page.js": pages.script,
    }
    # Pages are plain functions, which Starlette runs in threads: one that waits for the disk holds up no other.
    return Starlette(
        routes=[Route(path, page, methods=["GET"]) for path, page in routes.items()],
        exception_handlers={OrcinusError: pages.problem, 404: pages.nothing},
    )


class _Pages:
    def __init__(self, workspace: Workspace, base: str) -> None:
        self._workspace = workspace
        self._templates = Environment(
            loader=ChoiceLoader(
                [
                    PackageLoader("orcinus", "reports/viewer"),
                    PackageLoader("orcinus", "reports/templates"),
                ]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(base=base, arms=words.ARMS, short=SHORT)
        self._templates.filters.update(
            percent=words.percent,
            points=words.points,
            model=model_name,
            count=words.count,
            chance=words.chance,
            dollars=words.dollars,
            part=lambda text: quote(str(text), safe=""),
            moment=_moment,
            duration=_duration,
        )

    def _page(self, template: str, code: int = 200, /, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(**values), code)

    def problem(self, request: Request, error: Exception) -> Response:
        return self._page(
            "problem.html.j2", 404 if isinstance(error, ConfigError) else 500, text=str(error)
        )

    def nothing(self, request: Request, error: Exception) -> Response:
        return self._page("problem.html.j2", 404, text="There is no such page.")

    def style(self, request: Request) -> Response:
        return Response(self._templates.get_template("view.css.j2").render(), media_type="text/css")

    def script(self, request: Request) -> Response:
        return Response(
            (files("orcinus.reports.viewer") / "page.js").read_bytes(), media_type="text/javascript"
        )

    def runs(self, request: Request) -> Response:
        return self._page("runs.html.j2", runs=self._overviews())

    def runs_live(self, request: Request) -> Response:
        return self._page("runs-live.html.j2", runs=self._overviews())

    def _overviews(self) -> list[Any]:
        return [self._workspace.overview(folder) for folder in self._workspace.folders().values()]

    def run(self, request: Request) -> Response:
        folder = self._workspace.folder(request.path_params["run"])
        scores = scores_of(folder)
        return self._page(
            "run.html.j2",
            run=self._workspace.overview(folder),
            status=self._workspace.status(folder),
            names=model_names(folder),
            scores=scores,
            plot=None if scores is None else _plot(orjson.dumps(scores["arms"])),
            report=(folder / layout.report("html")).exists(),
        )

    def run_live(self, request: Request) -> Response:
        folder = self._workspace.folder(request.path_params["run"])
        return self._page(
            "run-live.html.j2",
            run=self._workspace.overview(folder),
            status=self._workspace.status(folder),
            names=model_names(folder),
        )

    def report(self, request: Request) -> Response:
        folder = self._workspace.folder(request.path_params["run"])
        try:
            content = (folder / layout.report("html")).read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"{folder.name}: there is no report yet") from None
        return HTMLResponse(content, headers={"content-security-policy": REPORT_POLICY})

    def compare(self, request: Request) -> Response:
        names = list(dict.fromkeys(request.query_params.getlist("run")))[:MOST_COMPARED]
        folders = [self._workspace.folder(name) for name in names]
        runs = [self._workspace.overview(folder) for folder in folders]
        with_scores = [run for run in runs if run.scores is not None]
        strategies = [assigned_strategies(folder) for folder in folders]
        return self._page(
            "compare.html.j2",
            runs=runs,
            arms_seen=[
                arm
                for arm in words.ARMS
                if any(arm in run.scores["arms"] for run in with_scores if run.scores)
            ],
            tasks=sorted(
                {task for run in with_scores if run.scores for task in _tasks(run.scores)}
            ),
            groups=sorted(set().union(*strategies)) if strategies else [],
            strategies=strategies,
            paired=[(folder.name, paired(folders[0], folder)) for folder in folders[1:]],
        )

    def attempts(self, request: Request) -> Response:
        folder = self._workspace.folder(request.path_params["run"])
        index = self._workspace.index(folder)
        asked = asked_of(request.query_params)
        found = index.find(asked)

        def link(page: int) -> str:
            return "?" + urlencode(
                {k: v for k, v in asdict(replace(asked, page=page)).items() if v}
            )

        return self._page(
            "attempts.html.j2",
            run=folder.name,
            asked=asked,
            found=found,
            filters=FILTERS,
            values=index.values,
            orders=ORDERS,
            first=ROWS_PER_PAGE * found.page + 1,
            before=link(found.page - 1) if found.page else None,
            after=link(found.page + 1) if ROWS_PER_PAGE * (found.page + 1) < found.count else None,
            under_way=live(folder),
        )

    def attempt(self, request: Request) -> Response:
        run, step, file, row = (
            request.path_params[name] for name in ("run", "folder", "file", "row")
        )
        folder = self._workspace.folder(run)
        judged = attempt_at(folder, step, file, row)
        attempt = judged.attempt
        taught = step.startswith("teach-")
        return self._page(
            "attempt.html.j2",
            run=run,
            judged=judged,
            names=model_names(folder),
            example=example_of(folder, attempt.task, attempt.example_id),
            table=f"{step}/{file}",
            row=row,
            others=self._workspace.index(folder).of_example(attempt.task, attempt.example_id),
            events=fate_of_trace(folder, attempt.id) if taught else (),
            lessons=lessons_of(folder, attempt.id) if taught else (),
        )

    def lessons(self, request: Request) -> Response:
        folder = self._workspace.folder(request.path_params["run"])
        page = _number(request.query_params.get("page"))
        rows, count = lessons_page(folder, page)
        return self._page(
            "lessons.html.j2",
            run=folder.name,
            rows=rows,
            count=count,
            first=LESSONS_PER_PAGE * page + 1,
            before=f"?page={page - 1}" if page else None,
            after=f"?page={page + 1}" if LESSONS_PER_PAGE * (page + 1) < count else None,
        )

    def lesson(self, request: Request) -> Response:
        folder = self._workspace.folder(request.path_params["run"])
        found = trace_lesson(folder, request.path_params["lesson"])
        return self._page("lesson.html.j2", run=folder.name, found=found, names=model_names(folder))


def asked_of(query: Mapping[str, str]) -> Asked:
    """What an address asks for; what makes no sense there is as if it were not there."""
    texts = {
        name: query.get(name, "").replace("\0", "") for name in (*FILTERS, "words", "identity")
    }
    order = query.get("order", "first")
    return Asked(
        **{name: text.strip() for name, text in texts.items()},
        order=order if order in ORDERS else "first",  # type: ignore[arg-type]
        page=_number(query.get("page")),
    )


@lru_cache(maxsize=KEPT_PLOTS)
def _plot(arms: bytes) -> Markup:
    """Scores as JSON drawn; drawing takes longer than the rest of the page, and a run's scores seldom change."""
    return dot_plot(orjson.loads(arms))


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _tasks(scores: Mapping[str, Any]) -> set[str]:
    return {
        task for by_task in scores["arms"].values() for task in by_task if not task.startswith("_")
    }


def _moment(seconds: float) -> str:
    return (
        datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M") if seconds else "–"
    )


def _duration(seconds: float | None) -> str:
    """``4000`` → ``1 h 7 min``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'; sandbox"
"""The report brings its style along; it has no script, and gets none."""
