"""The OpenAPI 3.1 document, made from the routes: their types, docstrings, scopes and statuses."""

import inspect
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from ioe_node.api.http_errors import Problem
from ioe_node.api.http_node import node_version
from ioe_node.api.http_routes import JSON, File, Nothing, Route, route

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api

REF = "#/components/schemas/{name}"
WHY = {
    400: "The body is not what it claims to be.",
    401: "No token, or none that is known and has not ended.",
    403: "The token may not do this, or another site asks.",
    404: "Nothing of that name is here.",
    408: "The rest of the body did not come in time.",
    409: "It cannot be done as things are; the text says why.",
    413: "The body is too long.",
    415: "The body is no JSON.",
    422: "A value is missing, of another type, or out of its range.",
    426: "Open it as a WebSocket.",
    429: "Too many requests; wait as many seconds as Retry-After says.",
    503: "What is asked for is not there now; try again.",
}


@route("GET", "/openapi.json", None)
async def openapi(api: "Api", asked: Nothing) -> File:
    """This document."""
    return File(api.document)


def document(routes: list[Route]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    shapes: list[Any] = [Problem]
    for each in routes:
        shapes += [shape for shape in (each.body, each.answer) if _is_shape(shape)]
        shapes.append(each.asked)
    schemas, components = msgspec.json.schema_components(shapes, ref_template=REF)
    known = {_key(shape): schema for shape, schema in zip(shapes, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for each in routes:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, known, components)
    for name in [each.asked.__name__ for each in routes]:
        components.pop(name, None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ioe-node",
            "version": node_version(),
            "description": _DESCRIPTION,
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_DESCRIPTION = (
    "A node of the Internet of Energy. Energy is in milli-Wh, power in milliwatts (import "
    "positive, export negative), money in micro-credits, time in microseconds since 1970; agents "
    "and hashes are text. Make a token with 'ioe api token create'."
)


def _is_shape(shape: Any) -> bool:
    return shape not in (None, type(None), File)


def _key(shape: Any) -> str:
    return repr(shape)


def _operation(found: Route, known: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    text = inspect.getdoc(found.handler) or ""
    summary, _, rest = text.partition("\n")
    made: dict[str, Any] = {
        "operationId": found.handler.__name__,
        "summary": summary,
        "parameters": _parameters(found, components),
        "responses": {
            **_success(found, known),
            **{str(status): _problem(status) for status in found.statuses},
        },
    }
    if rest.strip():
        made["description"] = rest.strip()
    if found.scope is not None:
        made["security"] = [{"token": []}]
        made["x-scope"] = found.scope
    if found.body is not None:
        body = {JSON: {"schema": known[_key(found.body)]}}
        made["requestBody"] = {"required": True, "content": body}
    return made


def _success(found: Route, known: dict[str, Any]) -> dict[str, Any]:
    if found.answer is type(None):
        return {"101": {"description": "The WebSocket is open."}}
    if found.answer is not File:
        schema = known[_key(found.answer)]
    else:
        schema = {} if found.media == JSON else {"type": "string"}
    return {"200": {"description": "Done.", "content": {found.media: {"schema": schema}}}}


def _problem(status: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "description": WHY[status],
        "content": {JSON: {"schema": {"$ref": REF.format(name="Problem")}}},
    }
    if status == 429:
        made["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
    if status == 401:
        made["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return made


def _parameters(found: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    shape = components[found.asked.__name__]
    required = shape.get("required", [])
    listed = []
    for name in get_type_hints(found.asked):
        in_path = f"{{{name}}}" in found.path
        schema = shape["properties"][name]
        made = {
            "name": name,
            "in": "path" if in_path else "query",
            "required": in_path or name in required,
            "schema": _without_null(schema),
        }
        listed.append(made)
    return listed


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """In a query nothing is null: what is not given is not there."""
    made = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if "anyOf" in made:
        kept = [each for each in made.pop("anyOf") if each != {"type": "null"}]
        made |= kept[0]
    return made
