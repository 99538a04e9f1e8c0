"""The routes: pages for people, JSON for programs, text for monitors. All of them read."""

from collections.abc import Callable
from importlib import resources
from typing import Annotated

import structlog
from fastapi import FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException as HTTPError

from negvol_pacs import __version__
from negvol_pacs.errors import StorageError
from negvol_pacs.report.table import Row, findings_rows
from negvol_pacs.report.wording import NAMES, NOTICE, UNITS
from negvol_pacs.storage.overview import Standing
from negvol_pacs.web import metrics
from negvol_pacs.web.guards import address
from negvol_pacs.web.health import Health
from negvol_pacs.web.node import Node
from negvol_pacs.web.study import look
from negvol_pacs.web.views import Lines, Status, Study

OnAccess = Callable[[str, str, str, str], None]
"""Called with user, address, study and patient ID for each look at a study."""

Uid = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$")]
Page = Annotated[int, Query(ge=1, le=100_000)]

_log = structlog.get_logger()


def create_app(node: Node, on_access: OnAccess) -> FastAPI:
    """Make the application, without its guards.

    Parameters
    ----------
    node
        What is shown.
    on_access
        For the audit trail.
    """
    app = FastAPI(
        title="negvol_pacs", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    pages = _Pages()

    @app.api_route("/health", methods=["GET", "HEAD"], include_in_schema=False)
    def health(response: Response) -> Health:
        found = node.health()
        response.status_code = 200 if found.healthy else 503
        return found

    @app.get("/metrics", include_in_schema=False)
    def show_metrics() -> Response:
        return Response(metrics.text(node), media_type="text/plain; version=0.0.4")

    for name, media_type in (("style.css", "text/css"), ("icon.svg", "image/svg+xml")):
        app.get(f"/{name}", include_in_schema=False)(_constant(name, media_type))

    @app.get("/api/status")
    def status() -> Status:
        return node.status()

    @app.get("/api/studies")
    def studies(standing: Standing | None = None, page: Page = 1) -> Lines:
        return node.studies(standing, page)

    @app.get("/api/studies/{study_uid}")
    def study(study_uid: Uid, request: Request) -> Study:
        return _look(study_uid, request)[0]

    @app.get("/", include_in_schema=False)
    def front_page() -> HTMLResponse:
        return pages.show(
            "node.html",
            status=node.status(),
            needing=node.studies(Standing.NEEDS_PERSON),
            mismatched=node.mismatched(),
            latest=node.studies(),
        )

    @app.get("/studies", include_in_schema=False)
    def list_page(standing: Standing | None = None, page: Page = 1) -> HTMLResponse:
        return pages.show("studies.html", status=node.status(), listed=node.studies(standing, page), standing=standing)

    @app.get("/studies/{study_uid}", include_in_schema=False)
    def study_page(study_uid: Uid, request: Request) -> HTMLResponse:
        seen, rows = _look(study_uid, request)
        return pages.show("study.html", status=node.status(), study=seen, rows=rows)

    @app.get("/studies/{study_uid}/joints.png", include_in_schema=False)
    def picture(study_uid: Uid, request: Request) -> FileResponse:
        path = node.picture(study_uid)
        if path is None:
            raise HTTPException(404, "There is no picture of this study.")
        _look(study_uid, request)
        return FileResponse(path, media_type="image/png")

    def _look(study_uid: str, request: Request) -> tuple[Study, list[Row]]:
        seen = look(node, study_uid)
        if seen is None:
            raise HTTPException(404, "Nothing was received of this study.")
        study, findings, patient = seen
        on_access(request.scope.get("user", ""), address(request.scope), study_uid, patient)
        return study, [] if findings is None else findings_rows(findings)

    def fail(request: Request, error: Exception) -> Response:
        if isinstance(error, StorageError):
            _log.error("ledger-unreadable", reason=str(error))
            status, reason = 503, "The ledger cannot be read. The log says why."
        elif isinstance(error, HTTPError):
            status, reason = error.status_code, str(error.detail)
        else:
            status, reason = 404, "There is no such page."
        if request.url.path.startswith("/api/"):
            return JSONResponse({"detail": reason}, status)
        return pages.show("error.html", status_code=status, reason=reason)

    app.add_exception_handler(HTTPError, fail)
    app.add_exception_handler(StorageError, fail)
    app.add_exception_handler(RequestValidationError, fail)
    return app


class _Pages:
    """The templates."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=PackageLoader("negvol_pacs.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"notice": NOTICE, "version": __version__, "names": NAMES, "units": UNITS}
        self._templates.filters |= {"bytes": _bytes, "when": lambda time: f"{time:%Y-%m-%d %H:%M:%S}"}

    def show(self, name: str, status_code: int = 200, **values: object) -> HTMLResponse:
        """Fill a template."""
        template = self._templates.get_template(name)
        return HTMLResponse(template.render(status_code=status_code, **values), status_code)


def _constant(name: str, media_type: str) -> Callable[[], Response]:
    """Make the route of a file that came with the package."""
    content = (resources.files("negvol_pacs.web") / "static" / name).read_bytes()
    return lambda: Response(content, media_type=media_type, headers={"Cache-Control": "max-age=3600"})


def _bytes(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
