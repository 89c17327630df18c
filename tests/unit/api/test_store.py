from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from api.store import File, byte_range, headers_of, served_key
from producers.errors import Refused


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, (0, 10)),
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=2-99", (2, 10)),
        # Not one range of bytes: all of it.
        ("bytes=0-1,4-5", (0, 10)),
        ("bytes=5-2", (0, 10)),
        ("lines=0-3", (0, 10)),
        ("bytes=-", (0, 10)),
        ("bytes=x", (0, 10)),
    ],
)
def test_one_range_of_bytes_is_understood(header: str | None, wanted: tuple[int, int]) -> None:
    assert byte_range(header, 10) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=11-20", "bytes=-0"])
def test_a_range_that_is_not_there_says_how_much_is(header: str) -> None:
    with pytest.raises(HTTPException, match="the object has 10 bytes") as caught:
        byte_range(header, 10)
    assert (caught.value.status_code, caught.value.headers) == (416, {"Content-Range": "bytes */10"})


def file(uri: str = "s3://b/artifacts/25/x", **changes: str | None) -> File:
    given: dict[str, str | None] = {"name": "x.png", "content_type": "image/png", "sha256": "ab", **changes}
    return File(uri, "artifacts/25/", given["name"] or "", given["content_type"], given["sha256"])


@pytest.mark.parametrize(
    "uri",
    [
        "s3://other/artifacts/25/x",
        "s3://b/artifacts/251/x",
        "s3://b/artifacts/25/../26/x",
        "s3://b/artifacts/25//x",
        "s3://b/artifacts/25/",
        "/etc/passwd",
    ],
)
def test_only_objects_of_the_job_are_served(uri: str) -> None:
    with pytest.raises(Refused, match="lies outside of s3://b/artifacts/25/"):
        served_key(file(uri), "b")
    assert served_key(file(), "b") == "artifacts/25/x"


def test_only_pictures_are_shown_by_a_browser_and_nothing_runs() -> None:
    shown = headers_of(file())
    assert shown["Content-Disposition"] == "inline; filename*=UTF-8''x.png" and shown["ETag"] == '"ab"'
    for content_type in ("text/html", "image/svg+xml", "application/pdf"):
        headers = headers_of(file(content_type=content_type))
        assert headers["Content-Disposition"].startswith("attachment;") and headers["Content-Type"] == content_type
        assert headers["X-Content-Type-Options"] == "nosniff" and "sandbox" in headers["Content-Security-Policy"]


def test_what_the_log_says_cannot_write_headers() -> None:
    headers = headers_of(file(name='a"\r\nX: y/\u00e9\r\n.png', content_type="image/png\r\nX: y", sha256="a\r\nb"))
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A9%0D%0A.png"
    assert headers["ETag"] == '"a%0D%0Ab"'
