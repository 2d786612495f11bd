"""Hosts of URLs that nobody would think of."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.transports.test_fetching import HOST, fetcher_for, origin, refusal

from lookonce.errors import ImageFetchFailed

LABEL = st.sampled_from(["xn--", "xn--a", "xn--ls8h", "a", "-", "", "_", "*", "%41", "%00", "\u3002", "\u0660", "é"])
ODD_HOST = st.lists(LABEL | st.text(max_size=5) | st.text(max_size=5).map("xn--{}".format), max_size=5).map(".".join)


async def test_a_name_that_begins_with_a_dot_is_none() -> None:
    async with origin() as host:
        fetcher = fetcher_for(f"*.{HOST}:{host.port}")
        for scheme in ("http", "https"):
            assert "begins with a dot" in await refusal(fetcher, f"{scheme}://.{HOST}:{host.port}/")


@settings(deadline=None, max_examples=300)
@given(
    scheme=st.sampled_from(["http", "https", "HTTP"]),
    host=ODD_HOST.map("{}.pictures.test".format) | ODD_HOST,
    rest=st.sampled_from(["", "/", ":1", ":0", ":1/", ":70000", ":", ":-1"]) | st.text(max_size=5).map(":1/{}".format),
)
async def test_no_host_whatever_breaks_the_fetcher_at_any_step(scheme: str, host: str, rest: str) -> None:
    """All are allowed and found on this machine, where nothing listens."""
    fetcher = fetcher_for(f"*.{HOST}", f"*.{HOST}:1", HOST, timeout_s=5.0)
    with pytest.raises(ImageFetchFailed):
        await fetcher.fetch(f"{scheme}://{host}{rest}")
