"""The head of an answer, as the connection writes it; project/tests/test_limits.py asks over sockets."""

import pytest

from lib.protocol import _head

LENGTH = (b"Content-Length", b"2")


def test_an_answer_of_known_length_has_its_head_at_once():
    assert _head([(b"X-A", b"1"), LENGTH]) == (b"x-a: 1\r\ncontent-length: 2\r\n\r\n", 2)


@pytest.mark.parametrize(
    "headers", [[], [LENGTH, LENGTH], [LENGTH, (b"connection", b"close")], [LENGTH, (b"Transfer-Encoding", b"chunked")]]
)
def test_any_other_answer_is_left_to_uvicorn(headers):
    assert _head(headers) is None


@pytest.mark.parametrize("header", [(b"x-a", b"1\r\nx-b: 2"), (b"x a", b"1"), (b"x-a", b"\x00")])
def test_a_header_that_would_break_the_head_is_refused(header):
    with pytest.raises(RuntimeError):
        _head([LENGTH, header])


def test_an_answer_without_a_body_has_its_head_at_once_without_a_length():
    assert _head([(b"ETag", b'"1"')], True) == (b'etag: "1"\r\n\r\n', 0)
    assert _head([(b"content-length", b"3")], True) is None
