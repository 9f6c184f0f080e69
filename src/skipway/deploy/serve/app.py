"""The server's routes: predictions, explanations, generated images, the card, health, counts, and the page."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Union
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from skipway import installed_version
from skipway.deploy.serve import documentation, request_body
from skipway.deploy.serve.limits import RefusedError
from skipway.deploy.serve.middleware import RequestMiddleware, key_check
from skipway.deploy.serve.model_backend import PredictOptions
from skipway.deploy.serve.schema import Bounds, GenerationBounds, Model, State, answers_model, body, faults
from skipway.deploy.serve.service import Service

if TYPE_CHECKING:
    from skipway.deploy.serve.generation import GenerationService

AnyService = Union[Service, "GenerationService"]

HTML, CSS, SCRIPT = (f"text/{kind}; charset=utf-8" for kind in ("html", "css", "javascript"))
SHARED = {"/style.css": CSS, "/server.js": SCRIPT, "/card.js": SCRIPT}
PREDICTING = {**SHARED, "/app.js": SCRIPT, "/objects.js": SCRIPT, "/segments.js": SCRIPT}
GENERATING = {**SHARED, "/generate.js": SCRIPT}
WEBP: dict[int | str, Any] = {200: {"content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}}}}


def create_app(service: AnyService, key: str = "", local: bool = False) -> ASGIApp:
    """The application. With a `key`, whatever begins with /v1, /metrics, and /openapi.json, which names the classes,
    are for those who send it. local: pages from elsewhere may not have a browser ask."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    generates = not isinstance(service, Service)
    app = FastAPI(
        title="skipway",
        description=f"A trained network that {'draws' if generates else 'answers about'} images.",
        version=installed_version(),
        lifespan=lifespan,
        openapi_url=None,  # it would have no key
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    how = "$API_KEY" if key else ""
    guarded = {"dependencies": [Depends(key_check(key))], "responses": faults(401)} if key else {}
    app.include_router(operations(service), **guarded)  # type: ignore[arg-type]
    app.include_router(about(service), **guarded)  # type: ignore[arg-type]
    app.include_router(described(app), **guarded)  # type: ignore[arg-type]
    app.include_router(health(service))
    app.include_router(page("generate.html", GENERATING) if generates else page("index.html", PREDICTING))
    app.include_router(documented(app, how, generates))
    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(HTTPException, not_found(how, generates))
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(TimeoutError, late)
    app.add_exception_handler(Exception, failed)
    return RequestMiddleware(app, service.metrics, local)


def operations(service: AnyService) -> APIRouter:
    """What is done with images. A generator's modules need torch, and are imported for it alone."""
    if isinstance(service, Service):
        return images(service)
    from skipway.deploy.serve.generation_routes import generation

    return generation(service)


def images(service: Service) -> APIRouter:
    """What is options with images."""
    routes = APIRouter(prefix="/v1")
    names = list(service.answerer.classes)
    bounds = {"minimum": 0, "maximum": 1}  # written here too: the schema of an optional parameter leaves out ge and le
    about = "Least score of an object; else the network's own threshold."
    least = Query(ge=0, le=1, description=about, json_schema_extra=bounds)
    one_of = Query(alias="class", description="A class; else the most likely.", json_schema_extra={"enum": names})

    @routes.post(
        "/predict",
        responses={
            200: {"model": answers_model(service.answerer.schema())},
            **faults(400, 408, 413, 415, 422, 429, 500, 504),
        },
        openapi_extra=body(many=True),
    )
    async def predict(
        request: Request,
        top: Annotated[int, Query(ge=1, le=1000, description="Classes of an image.")] = 5,
        threshold: Annotated[float | SkipJsonSchema[None], least] = None,
    ) -> JSONResponse:
        """What the network predicts for one or several images: the most likely classes, objects, or each pixel's."""
        service.batcher.require_room()  # said before the body is read: cheap for both
        with service.held.share() as share:
            uploads = await request_body.read(request, service.limits, share)
            return JSONResponse(await service.predict(uploads, PredictOptions(top, threshold)))

    @routes.post(
        "/explain",
        responses={**WEBP, **faults(400, 408, 413, 415, 422, 429, 500, 504)},
        response_class=Response,
        openapi_extra=body(many=False),
    )
    async def explain(
        request: Request,
        wanted: Annotated[str | SkipJsonSchema[None], one_of] = None,
    ) -> Response:
        """One image with what speaks for a class (Grad-CAM) laid over it, as WebP; the class is in X-Class."""
        service.batcher.require_room()
        with service.held.share() as share:
            uploads = await request_body.read(request, service.limits, share)
            if len(uploads) > 1:
                raise RefusedError(400, "one image at a time is explained: send one")
            drawn, name = await service.explain(uploads[0], wanted)
            return Response(drawn, media_type="image/webp", headers={"X-Class": quote(name)})

    return routes


def about(service: AnyService) -> APIRouter:
    """The network's card and the counts."""
    routes = APIRouter()
    card, side = service.answerer.card, service.answerer.preprocessing
    model = Model(
        network=str(card.network["name"]),
        task=card.task,
        fields=fields_of(service),
        classes=list(service.answerer.classes),
        parameters=card.parameters,
        size=side.size,
        height=side.canvas[0],
        channels=side.channels,
        data=str(card.data["name"]),
        recipe=str(card.recipe["name"]),
        created=card.created,
        calibration=card.calibration,
        metrics=card.metrics,
        versions=card.versions,
        limits=bounds_of(service),
    )

    @routes.get("/v1/model")
    async def read_model() -> Model:
        """What is served: the network, its classes, what it was trained on and how good it was found."""
        return model

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counts in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def fields_of(service: AnyService) -> list[str]:
    """What the answer holds for an image."""
    if isinstance(service, Service):
        return list(service.answerer.schema())
    from skipway.deploy.serve.generation_schema import Picture

    return [field.alias or name for name, field in Picture.model_fields.items()]


def bounds_of(service: AnyService) -> Bounds | GenerationBounds:
    """The limits that whoever asks has to know."""
    limits = service.limits
    if isinstance(service, Service):
        return Bounds(body_bytes=limits.body_bytes, images=limits.images, pixels=limits.pixels, frames=limits.frames)
    from skipway.deploy.serve.generation_schema import STEPS

    return GenerationBounds(
        body_bytes=limits.body_bytes,
        images=limits.generated,
        steps=STEPS,
        evaluations=limits.evaluations,
        seconds=limits.generation_seconds,
    )


def health(service: AnyService) -> APIRouter:
    """For whoever watches over the process."""
    routes = APIRouter()

    @routes.head("/healthz", include_in_schema=False)
    @routes.get("/healthz")
    async def healthz() -> State:
        """The process is alive."""
        return State(status="alive")

    @routes.head("/readyz", include_in_schema=False)
    @routes.get("/readyz", responses={503: {"model": State, "description": "Not ready."}})
    async def readyz(response: Response) -> State:
        """The network answers."""
        ready = service.ready()
        response.status_code = 200 if ready else 503
        return State(status="ready" if ready else "not ready")

    return routes


def page(start: str, parts: dict[str, str]) -> APIRouter:
    """A web page, `start`, and its `parts`, each path with its type; the files are read once."""
    routes = APIRouter(include_in_schema=False)
    folder = files("skipway.deploy.serve") / "page"
    contents = {"/": ((folder / start).read_bytes(), HTML)}
    contents |= {path: ((folder / path[1:]).read_bytes(), kind) for path, kind in parts.items()}

    async def send(request: Request) -> Response:
        content, kind = contents[request.scope["route"].path]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    for path in contents:
        routes.add_api_route(path, send, methods=["GET", "HEAD"])
    return routes


def described(app: FastAPI) -> APIRouter:
    """The OpenAPI document."""
    routes = APIRouter(include_in_schema=False)

    document = cache(lambda: json.dumps(app.openapi()).encode())  # made when first asked for: all routes are known then

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return Response(document(), media_type="application/json")

    return routes


def documented(app: FastAPI, how: str, generates: bool) -> APIRouter:
    """The page about the API; `how` a shell finds the key."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(documentation.page(app.openapi(), address_in(request), how, generates))

    return routes


def address_in(request: Request) -> str:
    """The server's address as whoever asks wrote it."""
    return str(request.base_url).rstrip("/")


def not_found(how: str, generates: bool) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    """The answer to a path or method that is none: where to go instead."""

    async def answer(request: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, HTTPException)
        what = {404: "there is nothing at this path", 405: f"this path does not take {request.method}"}
        sentence = what.get(fault.status_code)
        where = documentation.elsewhere(address_in(request), how, generates)
        detail = f"{sentence}: {where}" if sentence else fault.detail
        return JSONResponse({"detail": detail}, fault.status_code, fault.headers)

    return answer


async def refused(_: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RefusedError)
    return JSONResponse({"detail": fault.sentence}, fault.status, fault.headers)


async def invalid(_: Request, fault: Exception) -> JSONResponse:
    """What is wrong with the first parameter."""
    assert isinstance(fault, RequestValidationError)
    first = fault.errors()[0]
    return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)


async def late(_: Request, fault: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the answer took too long and was given up"}, 504)


async def failed(_: Request, fault: Exception) -> JSONResponse:
    """The sender learns no more than that; the log has the rest."""
    return JSONResponse({"detail": "the network failed on this request; the server's log says why"}, 500)
