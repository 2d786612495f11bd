"""Every table of docs/api.md and docs/serving.md that has its like in the code."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.pages import API, README, ROOT, SERVING, quoted, section, table

from lookonce.cli.serve import config_to_text
from lookonce.errors import LookOnceError, ServiceError
from lookonce.pipeline.request import Timings
from lookonce.settings import Settings, variables
from lookonce.transports.http.annotated import STYLES
from lookonce.transports.http.schemas import One
from lookonce.transports.options import OPTIONS
from lookonce.transports.posted.bodies import MAX_JSON_BYTES
from lookonce.transports.posted.multipart import PICTURE_NAMES
from lookonce.transports.proto.lookonce.v1 import detection_pb2
from lookonce.transports.rpc import calls as rpc_calls
from lookonce.transports.rpc.server import LARGEST_MESSAGE_BYTES
from lookonce.transports.service import Patience
from lookonce.transports.status import status_of
from lookonce.transports.ws import stream
from lookonce.vision.headers import Kind

PAGES = sorted([README, *ROOT.glob("docs/*.md")])
TOO_BIG = 1009
"""RFC 6455's code for a message that is too big; the WebSocket library closes with it by itself."""


def leaves(kind: type[LookOnceError]) -> Iterator[type[LookOnceError]]:
    kinds = kind.__subclasses__()
    yield from (leaf for each in kinds for leaf in leaves(each))
    if not kinds:
        yield kind


def defaults() -> dict[str, tuple[str, str]]:
    """Every setting's default and meaning, as `lookonce serve --print-config` prints them."""
    found, meaning = dict[str, tuple[str, str]](), ""
    for line in config_to_text(Settings.model_construct()).splitlines():
        if line.startswith("# "):
            meaning = line[2:]
            continue
        name, _, value = line.removeprefix("#").partition("=")
        found[name], meaning = (value, meaning), ""
    return found


def test_the_options_are_those_of_the_table_that_every_transport_reads() -> None:
    without = {None: "the model's own", (): "all", False: "false", 300: "300"}
    coded = [[f"`{each.name}`", each.kind.range, without[each.default], each.description] for each in OPTIONS]
    assert table(API.read_text(), "option") == coded


def test_the_formats_are_the_code_s() -> None:
    (sentence,) = re.findall("REST has one more, `format`: (.+)", API.read_text())
    assert tuple(quoted(sentence)) == STYLES


def test_the_kinds_of_pictures_and_the_names_of_parts_are_the_code_s() -> None:
    text = section(API, "Sending pictures")
    assert [kind for kind in Kind if kind not in text] == []
    assert {name.removesuffix("[]") for name in PICTURE_NAMES} <= set(quoted(text))


def test_the_fields_of_an_answer_and_its_timings_are_the_code_s() -> None:
    text = section(API, "The answer")
    assert {quoted(row[0])[0].partition("[")[0] for row in table(text, "field")} == set(One.model_fields)
    assert [row[0] for row in table(text, "timing")] == [f"`{stage}`" for stage in Timings.__slots__]


def test_every_error_stands_with_its_status_on_every_wire() -> None:
    coded = {leaf.code: status_of(leaf("")) for leaf in leaves(ServiceError)} | {"internal": status_of(Exception())}
    rows = table(section(API, "Errors"), "code")
    documented = {code: (http, grpc) for codes, http, grpc, _ in rows for code in quoted(codes)}
    assert documented == {code: (str(int(status.http)), status.grpc.name) for code, status in coded.items()}


def test_every_way_that_a_stream_is_closed_stands_there() -> None:
    rows = table(section(API, "WebSocket"), "close code")
    ours = (stream.IDLE, stream.DRAINING, stream.UNREAD)
    assert {int(code) for code, *_ in rows} == {TOO_BIG, *stream.CLOSE_CODES.values(), *(each.code for each in ours)}
    named = {(int(code), *quoted(reason)) for code, reason, _ in rows if quoted(reason)}
    assert named == {(each.code, each.reason) for each in ours}


def test_the_methods_and_the_metadata_of_grpc_are_the_code_s() -> None:
    text = section(API, "gRPC")
    methods = detection_pb2.DESCRIPTOR.services_by_name["Detection"].methods_by_name
    assert [row[0] for row in table(text, "method")] == [f"`{name}`" for name in methods]
    said = {name for row in table(text, "metadata") if row[1] != "sent" for name in quoted(row[0])}
    assert said == {rpc_calls.REQUEST_ID, rpc_calls.CODE, rpc_calls.FAILED_ID, rpc_calls.RETRY_AFTER}


def test_every_setting_stands_there_with_its_default_and_its_meaning() -> None:
    rows = [
        (quoted(name)[0], "".join(quoted(value)), meaning)
        for name, value, meaning in table(SERVING.read_text(), "variable")
    ]
    assert [name for name, *_ in rows] == list(variables())
    coded = defaults()
    wrong = [
        (name, value, meaning)
        for name, value, meaning in rows
        if value != coded[name][0] or (coded[name][1] or meaning) != meaning or not meaning
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"LOOKONCE_[A-Z]+__[A-Z_]*[A-Z]", page.read_text())
    assert set(named) <= variables().keys()


def test_limits_are_called_as_settings_are() -> None:
    fields = {field.upper() for _, field in variables().values()}
    named = {name for row in table(SERVING.read_text(), "what | limit | beyond it") for name in quoted(row[1])}
    assert {name for name in named if name.isupper()} <= fields


def test_the_numbers_in_sentences_are_the_code_s() -> None:
    limits, patience = Settings.model_fields["limits"].default, Patience()
    assert f"JSON {MAX_JSON_BYTES >> 20} MiB, a gRPC message {LARGEST_MESSAGE_BYTES >> 20} MiB" in SERVING.read_text()
    assert re.search(rf"is a setting, {limits.max_images}\s", API.read_text())
    assert f"there are {patience.request_s:g} s, counted from" in API.read_text()
    assert f"no message for {patience.idle_s:g} s; for the first one there are {patience.body_s:g} s" in API.read_text()
