"""Chat completions as programs make them: whole, streamed, asynchronous, with tools."""

import asyncio
import json

import openai
import pytest
from conftest import (
    API_KEY,
    BASE_URL,
    CHUNK_TEXT,
    CHUNKS,
    HELLO,
    OPTIONS,
    PROMPT_TOKENS,
    PROVIDER_NAMES,
    TEXT_LENGTH,
    after_document,
    model,
)
from pydantic import BaseModel

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer"},
            },
            "required": ["city", "unit", "days"],
        },
    },
}
TOOLS = {"tools": [WEATHER], "tool_choice": "required"}
ARGUMENTS = {"city": "mock", "unit": "celsius", "days": 1}


class Person(BaseModel):
    name: str
    age: int
    email: str | None


PERSON = Person(name="mock", age=1, email="mock")


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize("name", ["mock", "renamed", "vendor/модель:free"])
def test_a_whole_answer(client, name):
    completion = client.chat.completions.create(model=model(name), messages=HELLO)
    assert completion.object == "chat.completion"
    assert completion.model == PROVIDER_NAMES[name]
    assert completion.choices[0].finish_reason == "stop"
    assert len(completion.choices[0].message.content) == TEXT_LENGTH
    assert completion.usage.prompt_tokens == PROMPT_TOKENS
    assert completion.usage.total_tokens == PROMPT_TOKENS + CHUNKS


@pytest.mark.parametrize("name", ["mock", "renamed", "vendor/модель:free"])
def test_a_streamed_answer(client, name):
    chunks = list(client.chat.completions.create(model=model(name), messages=HELLO, stream=True))
    assert text_of(chunks) == CHUNK_TEXT * CHUNKS
    assert {chunk.model for chunk in chunks} == {PROVIDER_NAMES[name]}
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_in_a_stream(client):
    chunks = list(
        client.chat.completions.create(
            model=model("mock"), messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == PROMPT_TOKENS + CHUNKS


def test_a_tool_call_in_a_whole_answer(client):
    completion = client.chat.completions.create(model=model("mock"), messages=HELLO, **TOOLS)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.name == "get_weather"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == ARGUMENTS


def test_a_tool_call_in_pieces(client):
    chunks = list(
        client.chat.completions.create(model=model("mock"), messages=HELLO, stream=True, **TOOLS)
    )
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0].id and calls[0].function.name == "get_weather"
    assert json.loads("".join(call.function.arguments for call in calls)) == ARGUMENTS
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_tool_call_put_together_by_the_sdk(client):
    with client.chat.completions.stream(model=model("mock"), messages=HELLO, **TOOLS) as stream:
        completion = stream.get_final_completion()
    call = completion.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == ARGUMENTS


def test_structured_output(client):
    completion = client.chat.completions.parse(
        model=model("mock"), messages=HELLO, response_format=Person
    )
    assert completion.choices[0].message.parsed == PERSON


def test_structured_output_as_a_stream(client):
    with client.chat.completions.stream(
        model=model("mock"), messages=HELLO, response_format=Person
    ) as stream:
        kinds = {event.type for event in stream}
        completion = stream.get_final_completion()
    assert "content.delta" in kinds
    assert completion.choices[0].message.parsed == PERSON


def test_any_json(client):
    completion = client.chat.completions.create(
        model=model("mock"), messages=HELLO, response_format={"type": "json_object"}
    )
    assert json.loads(completion.choices[0].message.content) == {}


def test_a_client_from_the_environment():
    program = (
        "from openai import OpenAI\n"
        f"answer = OpenAI().chat.completions.create(model={model('mock')!r}, messages={HELLO!r})\n"
        "print(len(answer.choices[0].message.content))"
    )
    assert after_document("openai-python.sh", program) == str(TEXT_LENGTH)


def test_a_raw_response_carries_the_providers_request_id(client):
    raw = client.chat.completions.with_raw_response.create(model=model("mock"), messages=HELLO)
    assert raw.request_id.startswith("req_mock_")
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().usage.prompt_tokens == PROMPT_TOKENS
    again = client.chat.completions.create(model=model("mock"), messages=HELLO)
    assert again._request_id.startswith("req_mock_")
    assert again._request_id != raw.request_id


@pytest.mark.gateway
def test_every_response_carries_the_gateways_request_id(client):
    create = client.chat.completions.with_raw_response.create
    ids = [create(model="mock", messages=HELLO).headers["x-gateway-request-id"] for _ in range(2)]
    with pytest.raises(openai.NotFoundError) as caught:
        create(model="no-such-model", messages=HELLO)
    ids.append(caught.value.response.headers["x-gateway-request-id"])
    assert all(ids) and len(set(ids)) == 3


def test_a_streamed_response_as_raw_lines(client):
    with client.chat.completions.with_streaming_response.create(
        model=model("mock"), messages=HELLO, stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)


def test_asynchronous_calls_side_by_side():
    async def whole(client):
        completion = await client.chat.completions.create(model=model("mock"), messages=HELLO)
        return len(completion.choices[0].message.content)

    async def streamed(client):
        stream = await client.chat.completions.create(
            model=model("mock"), messages=HELLO, stream=True
        )
        return len(text_of([chunk async for chunk in stream]))

    async def many():
        async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, **OPTIONS) as client:
            calls = [call(client) for _ in range(16) for call in (whole, streamed)]
            return await asyncio.gather(*calls)

    assert set(asyncio.run(many())) == {TEXT_LENGTH}
