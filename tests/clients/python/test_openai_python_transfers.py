"""Bodies arrive as the provider sent them: when it sends them, byte for byte, and never as whole
when they were cut off."""

import hashlib
from itertools import islice

import httpx2
import openai
import pytest
from conftest import API_KEY, BASE_URL, HELLO, PROVIDER_KEY, PROVIDER_URL, TIMEOUT, model


def test_a_stream_is_readable_before_it_ends(client):
    # This one never ends: whoever collects it first would never hand out anything.
    with client.chat.completions.create(
        model=model("endless"), messages=HELLO, stream=True
    ) as stream:
        chunks = list(islice(stream, 5))
    assert len(chunks) == 5


def test_a_stream_that_is_cut_is_an_error(client):
    stream = client.chat.completions.create(model=model("cut"), messages=HELLO, stream=True)
    chunks = []
    # The SDK hands on what its HTTP library says of a broken transfer.
    with pytest.raises((openai.APIError, httpx2.TransportError)):
        for chunk in stream:
            chunks.append(chunk)
    assert len(chunks) == 3


def test_a_whole_answer_that_is_cut_is_an_error(client):
    with pytest.raises((openai.APIConnectionError, httpx2.TransportError)):
        client.chat.completions.create(model=model("cut"), messages=HELLO)


def body_of_stream(base_url, key):
    request = {"model": "mock:chunks=200,chunk-bytes=37", "messages": HELLO, "stream": True}
    with httpx2.stream(
        "POST",
        f"{base_url}/chat/completions",
        headers={"authorization": f"Bearer {key}"},
        json=request,
        timeout=TIMEOUT,
    ) as response:
        assert response.status_code == 200
        return b"".join(response.iter_raw())


@pytest.mark.gateway
def test_a_streamed_body_has_the_same_sha256_with_and_without_the_gateway():
    through, straight = (
        body_of_stream(BASE_URL, API_KEY),
        body_of_stream(PROVIDER_URL, PROVIDER_KEY),
    )
    assert len(straight) > 200 * 37
    assert hashlib.sha256(through).hexdigest() == hashlib.sha256(straight).hexdigest()
