import re
import shutil
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from tests.transports.gateways import Fakes
from tests.transports.streaming import streaming

ROOT = Path(__file__).parents[2]
FILE = ROOT / "service" / "lookonce" / "transports" / "http" / "web" / "index.html"
FIELDS = {"input", "select", "button", "textarea"}


class Reader(HTMLParser):
    """Every tag with its attributes, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.labelled: list[bool] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in FIELDS:
            self.labelled.append(tag == "button" or "label" in self._open)
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            continue

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in self.inline:
            self.inline[self._open[-1]].append(data)


@pytest.fixture(scope="module")
def page() -> Reader:
    reader = Reader()
    reader.feed(FILE.read_text())
    return reader


@pytest.fixture(scope="module")
def script(page: Reader) -> str:
    return "".join(page.inline["script"])


@pytest.fixture(scope="module")
async def http(fake_of: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        streaming(fake_of()) as gateway,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", trust_env=False) as client,
    ):
        yield client


async def test_the_page_is_what_stands_at_the_root(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == FILE.read_bytes()
    assert "set-cookie" not in answer.headers


async def test_a_browser_that_has_the_page_is_not_sent_it_again(http: httpx.AsyncClient) -> None:
    first = await http.get("/")
    assert first.headers["cache-control"] == "no-cache"
    for etag in (first.headers["etag"], "W/" + first.headers["etag"]):
        again = await http.get("/", headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert (await http.get("/", headers={"If-None-Match": '"another"'})).status_code == 200


async def test_the_policy_lets_the_pages_own_script_and_style_run_and_no_others(
    http: httpx.AsyncClient, page: Reader
) -> None:
    policy = dict(part.split(" ", 1) for part in (await http.get("/")).headers["content-security-policy"].split("; "))
    for tag, texts in page.inline.items():
        assert len(texts) == 1, f"one {tag} is what the policy has a hash for"
        assert policy[f"{tag}-src"] == f"'sha256-{b64encode(sha256(texts[0].encode()).digest()).decode()}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in str(policy)


def test_nothing_in_the_page_needs_what_the_policy_forbids(page: Reader, script: str) -> None:
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
    assert not re.findall(r"\b(eval|Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write)\b", script)


def test_the_page_asks_nobody_else_and_remembers_nothing(page: Reader, script: str) -> None:
    links = {str(attributes[name]) for _, attributes in page.tags for name in ("src", "href") if name in attributes}
    assert {link for link in links if not link.startswith("data:image/svg+xml,")} == {"/docs"}
    assert set(re.findall(r"https?://[^'\" ]+", FILE.read_text())) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"localStorage|sessionStorage|indexedDB|cookie|serviceWorker", script)


async def test_every_path_that_the_page_asks_is_there(http: httpx.AsyncClient, script: str) -> None:
    assert set(re.findall(r"[\"`}](/[\w/]+)", script)) == {
        "/v1/models",
        "/v1/models/",
        "/versions/",
        "/detect",
        "/v1/stream",
    }
    model = (await http.get("/v1/models")).json()["models"][0]
    assert {"name", "versions", "default_version"} <= model.keys()
    assert {"version", "labels", "thresholds"} <= model["versions"][0].keys()
    for path in (f"/v1/models/{model['name']}/detect", f"/v1/models/{model['name']}/versions/1/detect"):
        assert (await http.post(path)).status_code not in {404, 405}
    assert (await http.get("/docs")).status_code == 200


def test_every_element_that_the_script_names_is_there_once(page: Reader, script: str) -> None:
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\$\(\"([\w-]+)\"\)", script)) <= set(ids)


def test_people_who_hear_or_type_can_use_the_page(page: Reader) -> None:
    names = [tag for tag, _ in page.tags]
    by_id = {attributes["id"]: attributes for _, attributes in page.tags if "id" in attributes}
    assert dict(page.tags)["html"]["lang"] == "en"
    assert {"main", "header", "h1", "title", "caption", "fieldset", "legend"} <= set(names)
    assert all(page.labelled)
    assert by_id["status"]["role"] == "status"
    assert by_id["picture"]["alt"]
    assert by_id["boxes"]["aria-label"]


def test_the_script_is_javascript(script: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node, which reads the page's script, is not installed here.")
    module = tmp_path / "page.mjs"
    module.write_text(script)
    checked = subprocess.run([node, "--check", module], capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stderr


def test_the_page_travels_in_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as parts:
        assert parts.read("lookonce/transports/http/web/index.html") == FILE.read_bytes()
