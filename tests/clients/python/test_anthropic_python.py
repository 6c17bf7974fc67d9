"""Anthropic's SDK: messages whole, streamed and counted, tools, and errors of its own classes."""

import asyncio
from itertools import islice

import anthropic
import httpx2
import pytest
from conftest import (
    API_KEY,
    BASE_URL,
    CHUNK_TEXT,
    CHUNKS,
    HELLO,
    OPTIONS,
    PROMPT_TOKENS,
    PROVIDER_KEY,
    PROVIDER_NAMES,
    TEXT_LENGTH,
    WRONG_KEYS,
    after_document,
    document,
    model,
)

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
ASKED = {"model": model("claude"), "max_tokens": 100, "messages": HELLO}
FORCED = ASKED | {"tools": [WEATHER], "tool_choice": {"type": "any"}}


@pytest.fixture(scope="module")
def client():
    with document("anthropic-python.py")["client"] as client:
        yield client.with_options(**OPTIONS)


def failure(client, name, **more):
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**ASKED | {"model": model(name)} | more)
    return caught.value


def test_a_whole_answer(client):
    message = client.messages.create(**ASKED)
    assert (message.type, message.role) == ("message", "assistant")
    assert message.model == PROVIDER_NAMES["claude"]
    assert message.stop_reason == "end_turn"
    assert len(message.content[0].text) == TEXT_LENGTH
    assert message.usage.input_tokens == PROMPT_TOKENS
    assert message.usage.output_tokens == CHUNKS


def test_a_streamed_answer(client):
    events = list(client.messages.create(**ASKED, stream=True))
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(deltas) == CHUNK_TEXT * CHUNKS
    assert events[0].type == "message_start" and events[-1].type == "message_stop"


def test_a_stream_put_together_by_the_sdk(client):
    with client.messages.stream(**ASKED) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[0].text == CHUNK_TEXT * CHUNKS
    assert message.usage.output_tokens == CHUNKS


def test_a_stream_is_readable_before_it_ends(client):
    # This one never ends: whoever collects it first would never hand out anything.
    with client.messages.create(
        **ASKED | {"model": model("claude-endless")}, stream=True
    ) as stream:
        assert len(list(islice(stream, 5))) == 5


def test_a_stream_that_is_cut_is_an_error(client):
    with pytest.raises((anthropic.APIError, httpx2.TransportError)):
        list(client.messages.create(**ASKED | {"model": model("claude-cut")}, stream=True))


def test_counted_tokens(client):
    counted = client.messages.count_tokens(model=model("claude"), messages=HELLO)
    assert counted.input_tokens == PROMPT_TOKENS


def test_a_tool_call(client):
    message = client.messages.create(**FORCED)
    [block] = message.content
    assert message.stop_reason == "tool_use"
    assert (block.type, block.name, block.input) == (
        "tool_use",
        "get_weather",
        {"city": "mock", "days": 1},
    )


def test_a_tool_call_in_pieces(client):
    with client.messages.stream(**FORCED) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        [block] = stream.get_final_message().content
    assert len(pieces) > 1
    assert (block.name, block.input) == ("get_weather", {"city": "mock", "days": 1})


def test_the_answer_to_a_tool_call_goes_along(client):
    [block] = client.messages.create(**FORCED).content
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
    turns = [
        *HELLO,
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result]},
    ]
    message = client.messages.create(**ASKED | {"messages": turns}, tools=[WEATHER])
    assert message.stop_reason == "end_turn"


def test_request_ids(client):
    raw = client.messages.with_raw_response.create(**ASKED)
    assert raw.request_id.startswith("req_mock_")
    assert raw.headers["x-gateway-request-id"]
    assert raw.parse().usage.input_tokens == PROMPT_TOKENS


def test_asynchronous_calls_side_by_side():
    async def streamed(client):
        async with client.messages.stream(**ASKED) as stream:
            return len(await stream.get_final_text())

    async def whole(client):
        return len((await client.messages.create(**ASKED)).content[0].text)

    async def many():
        async with anthropic.AsyncAnthropic(
            base_url=BASE_URL.removesuffix("/v1"), api_key=API_KEY, **OPTIONS
        ) as client:
            calls = [call(client) for _ in range(8) for call in (whole, streamed)]
            return await asyncio.gather(*calls)

    assert set(asyncio.run(many())) == {TEXT_LENGTH}


def test_a_client_from_the_environment():
    program = (
        "from anthropic import Anthropic\n"
        f"print(len(Anthropic().messages.create(**{ASKED!r}).content[0].text))"
    )
    assert after_document("anthropic-python.sh", program) == str(TEXT_LENGTH)


def test_the_key_as_a_bearer_token():
    with anthropic.Anthropic(
        base_url=BASE_URL.removesuffix("/v1"), auth_token=API_KEY, **OPTIONS
    ) as client:
        assert client.messages.create(**ASKED).stop_reason == "end_turn"


# ---- errors ----


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "error_class", "type_"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.RequestTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_a_providers_error_is_relayed(client, status, error_class, type_, streamed):
    error = failure(client, f"claude-error-{status}", stream=streamed)
    assert type(error) is error_class
    assert (error.status_code, error.type) == (status, type_)
    assert "as the request asked for" in error.message
    assert error.request_id.startswith("req_mock_")


@pytest.mark.parametrize("key", WRONG_KEYS)
def test_a_refused_key(client, key):
    error = failure(client.with_options(api_key=key), "claude")
    assert (type(error), error.type) == (anthropic.AuthenticationError, "authentication_error")
    assert key not in error.response.text


def test_a_model_that_is_not_mapped(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**ASKED | {"model": "no-such-model"})
    assert caught.value.type == "not_found_error"
    assert "no-such-model" in caught.value.message
    gateways_id = caught.value.response.headers["x-gateway-request-id"]
    assert caught.value.body["request_id"] == gateways_id


def test_a_body_that_is_unusable(client):
    error = failure(client, "claude", extra_body={"model": 7})
    assert (type(error), error.type) == (anthropic.BadRequestError, "invalid_request_error")


def test_a_provider_that_cannot_be_reached(client):
    error = failure(client, "claude-unreachable")
    assert (error.status_code, error.type) == (502, "api_error")
    assert PROVIDER_KEY not in error.response.text


def test_the_sdk_repeats_what_failed_and_gets_through(client):
    message = client.with_options(max_retries=2).messages.create(
        **ASKED | {"model": model("claude-flaky")}
    )
    assert message.stop_reason == "end_turn"


def test_a_client_that_does_not_wait(client):
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=0.5).messages.create(
            **ASKED | {"model": model("claude-slow")}
        )
