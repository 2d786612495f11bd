"""The one table of errors: complete, and the same over REST as the design says."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.transports.gateways import Fakes, Gateway, Serve

from lookonce import errors
from lookonce.errors import LookOnceError, ServiceError, TryLater
from lookonce.inference.fake import Fake
from lookonce.transports.status import STATUSES, status_of

EXPECTED = {
    errors.InvalidImage: 422,
    errors.InvalidOptions: 422,
    errors.UnsupportedMedia: 415,
    errors.SlowBody: 408,
    errors.ImageFetchFailed: 422,
    errors.ImageTooLarge: 413,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.UnknownModel: 404,
    errors.UnknownVersion: 404,
    errors.Overloaded: 429,
    errors.RateLimited: 429,
    errors.BackendUnavailable: 503,
    errors.Draining: 503,
    errors.DeadlineExceeded: 504,
    errors.BackendContractBroken: 502,
}


@pytest.fixture(scope="module")
def fake(fake_of: Fakes) -> Fake:
    return fake_of()


@pytest.fixture(scope="module")
async def gateway(fake: Fake, serve: Serve) -> AsyncIterator[Gateway]:
    async with serve(fake) as gateway:
        yield gateway


def leaves(kind: type[LookOnceError]) -> Iterator[type[LookOnceError]]:
    kinds = kind.__subclasses__()
    yield from (leaf for each in kinds for leaf in leaves(each))
    if not kinds:
        yield kind


def test_every_leaf_of_the_tree_has_the_status_of_the_design() -> None:
    assert {leaf: int(status_of(leaf("")).http) for leaf in leaves(ServiceError)} == EXPECTED


def test_no_code_stands_for_two_errors() -> None:
    codes = [leaf.code for leaf in leaves(LookOnceError)]
    assert len(codes) == len(set(codes))


def test_the_table_holds_nothing_that_no_error_needs() -> None:
    used = {next(kind for kind in leaf.__mro__ if kind in STATUSES) for leaf in leaves(ServiceError)}
    assert used | {BaseException} == set(STATUSES)


@pytest.mark.parametrize("leaf", EXPECTED, ids=lambda leaf: leaf.code)
async def test_every_leaf_is_a_problem_over_rest(leaf: type, gateway: Gateway, fake: Fake, png: bytes) -> None:
    gateway.lines.clear()
    fake.failures = iter([leaf("it went wrong; mend it.")])
    answer = await gateway.http.post("/v1/detect", content=png, headers={"X-Request-Id": "mine"})
    good = await gateway.http.post("/v1/detect", content=png)
    assert answer.status_code == EXPECTED[leaf]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": f"urn:lookonce:{leaf.code}",
        "title": status_of(leaf("")).http.phrase,
        "status": EXPECTED[leaf],
        "detail": "it went wrong; mend it.",
        "code": leaf.code,
        "request_id": "mine",
    }
    assert ("retry-after" in answer.headers) == issubclass(leaf, TryLater)
    assert ("www-authenticate" in answer.headers) == (leaf is errors.Unauthenticated)
    assert good.status_code == 200
    assert gateway.requests()[0]["code"] == leaf.code
