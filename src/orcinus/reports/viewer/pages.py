"""Render the viewer's pages: one function for each, from a request to HTML.

    GET /runs/small/attempts?words=answer ──► the list of attempts whose words match

Everything that a model wrote is escaped.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from orcinus.core.errors import ConfigError, OrcinusError
from orcinus.core.results import ARMS
from orcinus.evaluation.scores import read_scores
from orcinus.reports import words
from orcinus.reports.pages import SHORT, dot_plot, tasks_of
from orcinus.reports.viewer.attempt_columns import FILTERS
from orcinus.reports.viewer.downloads import CSV_ROWS, FILES, attempts_csv, file_of
from orcinus.reports.viewer.index import ROWS_PER_PAGE, AttemptQuery
from orcinus.reports.viewer.losses import CHART_HEIGHT, CHART_WIDTH, losses_of
from orcinus.reports.viewer.questions import (
    CHANGES,
    QUESTIONS_PER_PAGE,
    QuestionQuery,
    find_questions,
)
from orcinus.reports.viewer.recipes import recipe_differences
from orcinus.reports.viewer.workspace import (
    LESSONS_PER_PAGE,
    Overview,
    Workspace,
    assigned_strategies,
    attempt_at,
    compare_runs,
    lessons_beside,
    lessons_page,
    scores_or_none,
)
from orcinus.runs import layout
from orcinus.runs.folders import finished_steps
from orcinus.runs.lineage import find_example, find_lessons, find_trace_events, trace_lesson
from orcinus.runs.model_names import model_name, model_names
from orcinus.runs.progress import in_minutes, live

COMPARED_RUNS = 6
"""Runs in one comparison at most: more columns do not fit a page."""
KEPT_PLOTS = 32
"""Charts that are kept drawn, one for each run that was looked at."""
ORDERS = {
    "first": "run order",
    "longest": "longest first",
    "shortest": "shortest first",
    "costliest": "costliest first",
}
"""How a list of attempts can be sorted, in words."""
_REPORT_LINK = re.compile(rb'<a(?: href="#[^"]*")? data-view="([^"]*)"')
"""A figure of a report. In a file it leads to a place on the same page; here to the attempts."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""Content security policy of a run's report, whose style is in the page; no script may run."""


def app(workspace: Workspace, base: str) -> Starlette:
    """Return the application that answers with the pages of a workspace.

    Args:
        workspace: The runs to show.
        base: The beginning of every address, without a slash at its end.
    """
    pages = _Pages(workspace, base)
    routes: dict[str, Callable[[Request], Response]] = {
        "/": pages.runs,
        "/live": pages.runs_live,
        "/compare": pages.compare,
        "/runs/{run}": pages.run,
        "/runs/{run}/live": pages.run_live,
        "/runs/{run}/report": pages.report,
        "/runs/{run}/files/{name}": pages.file,
        "/runs/{run}/attempts.csv": pages.attempts_csv,
        "/runs/{run}/questions": pages.questions,
        "/runs/{run}/question": pages.question,
        "/runs/{run}/attempts": pages.attempts,
        "/runs/{run}/attempts/{folder}/{file}/{row:int}": pages.attempt,
        "/runs/{run}/lessons": pages.lessons,
        "/runs/{run}/lessons/{lesson}": pages.lesson,
        "/style.css": pages.style,
        "/page.js": pages.script,
    }
    # Pages are plain functions, which Starlette runs in threads: a slow disk delays one page only.
    return Starlette(
        routes=[Route(path, page, methods=["GET"]) for path, page in routes.items()],
        exception_handlers={OrcinusError: pages.problem, 404: pages.not_found},
    )


class _Pages:
    """The pages, as methods from a request to a response."""

    def __init__(self, workspace: Workspace, base: str) -> None:
        self._workspace = workspace
        self._base = base
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
        self._templates.globals.update(
            base=base, arms=ARMS, short=SHORT, chart=(CHART_WIDTH, CHART_HEIGHT)
        )
        self._templates.filters.update(
            words.FILTERS,
            model=model_name,
            part=lambda text: quote(str(text), safe=""),
            moment=_moment,
            duration=in_minutes,
        )

    def _page(self, template: str, code: int = 200, /, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(**values), code)

    def problem(self, request: Request, error: Exception) -> Response:
        code = 404 if isinstance(error, ConfigError) else 500
        return self._page("problem.html.j2", code, text=str(error))

    def not_found(self, request: Request, error: Exception) -> Response:
        return self._page("problem.html.j2", 404, text="There is no such page.")

    def style(self, request: Request) -> Response:
        return Response(self._templates.get_template("view.css.j2").render(), media_type="text/css")

    def script(self, request: Request) -> Response:
        content = (files("orcinus.reports.viewer") / "page.js").read_bytes()
        return Response(content, media_type="text/javascript")

    def runs(self, request: Request) -> Response:
        return self._page("runs.html.j2", runs=self._overviews())

    def runs_live(self, request: Request) -> Response:
        return self._page("runs-live.html.j2", runs=self._overviews())

    def _overviews(self) -> list[Overview]:
        return [self._workspace.overview(folder) for folder in self._workspace.folders().values()]

    def run(self, request: Request) -> Response:
        folder = self._folder(request)
        run = self._workspace.overview(folder)
        return self._page(
            "run.html.j2",
            run=run,
            status=self._workspace.status(folder),
            names=model_names(folder),
            plot=None if run.scores is None else _plot_of(folder),
            report=(folder / layout.report("html")).exists(),
            files=[name for name in FILES if (folder / name).is_file()],
            losses=losses_of(folder),
        )

    def run_live(self, request: Request) -> Response:
        folder = self._folder(request)
        return self._page(
            "run-live.html.j2",
            run=self._workspace.overview(folder),
            status=self._workspace.status(folder),
            names=model_names(folder),
            losses=losses_of(folder),
        )

    def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = file_of(self._folder(request), name)
        return Response(content, media_type=FILES[name], headers=_attachment(name))

    def attempts_csv(self, request: Request) -> Response:
        folder = self._folder(request)
        rows = self._workspace.index(folder).every(query_from(request.query_params), CSV_ROWS)
        return StreamingResponse(
            attempts_csv(folder, rows),
            media_type="text/csv",
            headers=_attachment(f"{folder.name}-attempts.csv"),
        )

    def report(self, request: Request) -> Response:
        folder = self._folder(request)
        try:
            content = (folder / layout.report("html")).read_bytes()
        except FileNotFoundError:
            raise ConfigError(f"{folder.name}: there is no report yet") from None
        content = _REPORT_LINK.sub(rb'<a href="\1"', content)
        return HTMLResponse(content, headers={"content-security-policy": REPORT_POLICY})

    def compare(self, request: Request) -> Response:
        names = list(dict.fromkeys(request.query_params.getlist("run")))[:COMPARED_RUNS]
        folders = [self._workspace.folder(name) for name in names]
        scores = {folder.name: scores_or_none(folder) for folder in folders}
        known = [found for found in scores.values() if found is not None]
        strategies = [assigned_strategies(folder) for folder in folders]
        return self._page(
            "compare.html.j2",
            runs=[self._workspace.overview(folder) for folder in folders],
            arms_seen=[arm for arm in ARMS if any(arm in found.arms for found in known)],
            tasks=sorted({task for found in known for task in tasks_of(found)}),
            groups=sorted(set().union(*strategies)) if strategies else [],
            strategies=strategies,
            differences=recipe_differences(folders),
            comparisons=[(folder.name, compare_runs(folders[0], folder)) for folder in folders[1:]],
        )

    def questions(self, request: Request) -> Response:
        folder = self._folder(request)
        query = _question_query(request.query_params)
        first = QUESTIONS_PER_PAGE * query.page
        rows, count = find_questions(folder, query, first, QUESTIONS_PER_PAGE)
        scores = scores_or_none(folder)
        return self._page(
            "questions.html.j2",
            run=folder.name,
            query=query,
            rows=rows,
            count=count,
            link=partial(question_link, query),
            tasks=[] if scores is None else tasks_of(scores),
            changes=CHANGES,
            first=first + 1,
            before=_address(query, page=query.page - 1) if query.page else None,
            after=_address(query, page=query.page + 1)
            if first + QUESTIONS_PER_PAGE < count
            else None,
        )

    def question(self, request: Request) -> Response:
        folder = self._folder(request)
        task, identity = (request.query_params.get(name, "") for name in ("task", "id"))
        rows = self._workspace.index(folder).of_example(task, identity)
        newest = {row["role"]: row for row in rows if row["step"] == "evaluate"}
        shown = [
            (newest[arm], attempt_at(folder, *(newest[arm][k] for k in ("folder", "file", "row"))))
            for arm in ARMS
            if arm in newest
        ]
        query = _question_query(request.query_params, task_from="in")
        place = _number(request.query_params.get("at"))
        before, after = (
            _neighbour(folder, query, place + by) if "at" in request.query_params else None
            for by in (-1, 1)
        )
        return self._page(
            "question.html.j2",
            run=folder.name,
            example=find_example(folder, task, identity),
            shown=shown,
            names=model_names(folder),
            others=[row for row in rows if row["step"] != "evaluate"],
            before=before,
            after=after,
        )

    def attempts(self, request: Request) -> Response:
        folder = self._folder(request)
        index = self._workspace.index(folder)
        query = query_from(request.query_params)
        found = index.find(query)
        first = ROWS_PER_PAGE * found.page
        return self._page(
            "attempts.html.j2",
            run=folder.name,
            query=query,
            found=found,
            filters=FILTERS,
            values=index.values,
            orders=ORDERS,
            first=first + 1,
            link=partial(_address, query),
            before=_address(query, page=found.page - 1) if found.page else None,
            after=_address(query, page=found.page + 1)
            if first + ROWS_PER_PAGE < found.count
            else None,
            under_way=live(folder),
        )

    def attempt(self, request: Request) -> Response:
        step, file, row = (request.path_params[name] for name in ("folder", "file", "row"))
        folder = self._folder(request)
        judged = attempt_at(folder, step, file, row)
        attempt = judged.attempt
        taught = step.startswith("teach-")
        index = self._workspace.index(folder)
        query, place = query_from(request.query_params), request.query_params.get("at")
        neighbours: list[str | None] = [None, None]
        if place is not None:
            places = [_number(place) - 1, _number(place) + 1]
            neighbours = [
                None
                if found is None
                else self._address_of(folder, found) + _address(query, at=str(at))
                for at, found in zip(places, index.at_places(query, places), strict=True)
            ]
        return self._page(
            "attempt.html.j2",
            run=folder.name,
            judged=judged,
            names=model_names(folder),
            example=find_example(folder, attempt.task, attempt.example_id),
            table=f"{step}/{file}",
            row=row,
            others=index.of_example(attempt.task, attempt.example_id),
            events=find_trace_events(folder, attempt.id) if taught else (),
            lessons=find_lessons(folder, attempt.id) if taught else (),
            before=neighbours[0],
            after=neighbours[1],
        )

    def _address_of(self, folder: Path, row: Mapping[str, Any]) -> str:
        parts = ("runs", folder.name, "attempts", row["folder"], row["file"], str(row["row"]))
        return "/".join([self._base, *(quote(part, safe="") for part in parts)])

    def lessons(self, request: Request) -> Response:
        folder = self._folder(request)
        page = _number(request.query_params.get("page"))
        rows, count = lessons_page(folder, page)
        return self._page(
            "lessons.html.j2",
            run=folder.name,
            rows=rows,
            count=count,
            place=LESSONS_PER_PAGE * page,
            first=LESSONS_PER_PAGE * page + 1,
            before=f"?page={page - 1}" if page else None,
            after=f"?page={page + 1}" if LESSONS_PER_PAGE * (page + 1) < count else None,
        )

    def lesson(self, request: Request) -> Response:
        folder = self._folder(request)
        found = trace_lesson(folder, request.path_params["lesson"])
        place = request.query_params.get("at")
        before, after = (None, None) if place is None else lessons_beside(folder, _number(place))
        return self._page(
            "lesson.html.j2",
            run=folder.name,
            found=found,
            names=model_names(folder),
            before=before,
            after=after,
        )

    def _folder(self, request: Request) -> Path:
        return self._workspace.folder(request.path_params["run"])


def _address(query: AttemptQuery | QuestionQuery, **changes: Any) -> str:
    """Return the end of an address with a query's conditions, leaving out those that are unset."""
    conditions = {**asdict(query), "page": 0, **changes}
    if conditions.get("order") == "first":
        del conditions["order"]
    return "?" + urlencode(
        {name: value for name, value in conditions.items() if value or name == "at"}
    )


def _question_query(parameters: Mapping[str, str], task_from: str = "task") -> QuestionQuery:
    """Return the query in an address. On a question's own page its task is given as ``in``."""
    change = parameters.get("after", "")
    return QuestionQuery(
        task=parameters.get(task_from, ""),
        against=parameters.get("against", ""),
        after=change if change in CHANGES else "",
        page=_number(parameters.get("page")),
    )


def _neighbour(folder: Path, query: QuestionQuery, place: int) -> str | None:
    """Return the address of the question at a place of a list; None outside of the list."""
    if place < 0:
        return None
    rows, _ = find_questions(folder, query, place, 1)
    return question_link(query, rows[0].task, rows[0].example_id, place) if rows else None


def question_link(query: QuestionQuery, task: str, identity: str, place: int) -> str:
    """Return the relative address of a question in a list: it leads on to the next one."""
    listed = {"in": query.task, "against": query.against, "after": query.after}
    kept = {name: value for name, value in listed.items() if value}
    return "question?" + urlencode({"task": task, "id": identity, **kept, "at": place})


def _attachment(name: str) -> dict[str, str]:
    return {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def query_from(parameters: Mapping[str, str]) -> AttemptQuery:
    """Return the query in an address; parameters that make no sense are ignored."""
    texts = {
        name: parameters.get(name, "").replace("\0", "") for name in (*FILTERS, "words", "identity")
    }
    order = parameters.get("order", "first")
    return AttemptQuery(
        **{name: text.strip() for name, text in texts.items()},
        order=order if order in ORDERS else "first",  # type: ignore[arg-type]
        page=_number(parameters.get("page")),
    )


def _plot_of(run_dir: Path) -> Markup:
    """Return the chart of a run's scores, cached because drawing it is slow."""
    folder = finished_steps(run_dir, "evaluate")[0]
    return _draw(folder, (folder / layout.SCORES).stat().st_mtime_ns)


@lru_cache(maxsize=KEPT_PLOTS)
def _draw(folder: Path, stamp: int) -> Markup:
    return dot_plot(read_scores(folder))


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _moment(seconds: float) -> str:
    """``1764370000`` → ``2025-11-28 23:46``; a dash for 0."""
    if not seconds:
        return "–"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
