"""GET /docs: the OpenAPI document as a page for people. It is whole in itself, so it needs no internet."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any, Final

import orjson
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from lookonce.transports.http.bare import Bare

Json = dict[str, Any]
STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 2rem 1.2rem 6rem; }
h1 { margin-bottom: 0; } h2 { margin: 3rem 0 0; font-size: 1.15rem; border-top: 1px solid var(--line);
padding-top: 1.4rem; overflow-wrap: anywhere; } h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; }
code, pre { font: .86rem/1.5 ui-monospace, monospace; } a { color: inherit; }
pre { background: color-mix(in srgb, currentColor 7%, transparent); padding: .9rem 1rem; border-radius: .5rem;
overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
td { border-top: 1px solid var(--line); padding: .35rem .8rem .35rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; } .method { color: #2f7d4f; } nav a { margin-right: 1rem; white-space: nowrap; }
@media (prefers-color-scheme: dark) { .method { color: #7fd6a2; } }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"


def manual(app: FastAPI) -> APIRouter:
    """The document for people and for machines."""
    routes = APIRouter(route_class=Bare)

    async def read(_request: Request) -> Response:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(page(app.openapi()), headers=headers)

    async def parse(_request: Request) -> Response:
        return Response(orjson.dumps(app.openapi()), media_type="application/json")

    routes.add_api_route("/docs", read, include_in_schema=False)
    routes.add_api_route("/openapi.json", parse, include_in_schema=False)
    return routes


def page(document: Json) -> str:
    title = escape(document["info"]["title"])
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    links = "".join(f'<a href="#{_anchor(each)}">{escape(path)}</a> ' for path, _, each in operations)
    sections = "".join(_section(*each) for each in operations)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1>{_prose(document['info']['description'])}"
        f'<p>For machines: <a href="openapi.json">openapi.json</a></p><nav>{links}</nav>{sections}</body></html>'
    )


def _prose(text: str) -> str:
    """Paragraphs; what is indented is code."""
    parts = (part for part in text.split("\n\n") if part.strip())
    return "".join(
        f"<pre>{escape(part.strip())}</pre>" if part.startswith("    ") else f"<p>{_words(part)}</p>" for part in parts
    )


def _section(path: str, method: str, operation: Json) -> str:
    parts = [
        f'<h2 id="{_anchor(operation)}"><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2>',
        f"<p>{_words(operation.get('description') or operation.get('summary', ''))}</p>",
        _table("Parameters", _parameters(operation)),
        _table("Body", _bodies(operation)),
        _table("Answers", ((status, _words(each["description"])) for status, each in operation["responses"].items())),
    ]
    parts += [f"<h3>{escape(name)}</h3><pre>{escape(text)}</pre>" for name, text in _examples(operation)]
    return "".join(parts)


def _parameters(operation: Json) -> Iterator[tuple[str, str]]:
    for each in operation.get("parameters", ()):
        words = _words(each.get("description", "")), f"<code>{escape(_schema(each['schema']))}</code>"
        yield each["name"], f"{' '.join(words)} ({each['in']})"


def _bodies(operation: Json) -> Iterator[tuple[str, str]]:
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        members = body["schema"].get("properties", {})
        yield media_type, escape(", ".join(members) or "the file itself")


def _examples(operation: Json) -> Iterator[tuple[str, str]]:
    """Every example, of what is sent first."""
    contents = [("Sent", operation.get("requestBody", {}).get("content", {}))]
    contents += [(f"Answered, {status}", each.get("content", {})) for status, each in operation["responses"].items()]
    for what, content in contents:
        for body in content.values():
            for example in body.get("examples", {}).values():
                yield what, json.dumps(example["value"], indent=2, ensure_ascii=False)


def _schema(schema: Json) -> str:
    """One line: `number 0…1 = 0.25`."""
    parts = [schema.get("type", ""), "|".join(map(str, schema.get("enum", ())))]
    if {"minimum", "maximum"} & schema.keys():
        parts.append(f"{schema.get('minimum', '')}…{schema.get('maximum', '')}")
    if "default" in schema:
        parts.append(f"= {json.dumps(schema['default'])}")
    return " ".join(filter(None, parts))


def _words(text: str) -> str:
    """Words, in which what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _table(title: str, rows: Iterator[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{told}</td></tr>" for name, told in rows)
    return f"<h3>{title}</h3><table>{body}</table>" if body else ""


def _anchor(operation: Json) -> str:
    return escape(operation["operationId"], quote=True)
