"""LiteLLM as a client: it speaks each provider's API by itself, and here the gateway's."""

import asyncio
import json

import litellm
import pytest
from conftest import (
    CHUNK_TEXT,
    CHUNKS,
    HELLO,
    PROMPT_TOKENS,
    TEXT_LENGTH,
    TIMEOUT,
    WRONG_KEYS,
    after_document,
    document,
)

OPENAI, ANTHROPIC = "openai/renamed", "anthropic/claude"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def gateway():
    return document("litellm.py")["gateway"] | {"timeout": TIMEOUT, "max_retries": 0}


def options(gateway, name):
    """LiteLLM adds /v1 for Anthropic's API, as Anthropic's own SDK does."""
    if name.startswith("anthropic/"):
        return gateway | {"api_base": gateway["api_base"].removesuffix("/v1")}
    return gateway


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize("name", [OPENAI, ANTHROPIC])
def test_a_whole_answer(gateway, name):
    answer = litellm.completion(model=name, messages=HELLO, **options(gateway, name))
    assert len(answer.choices[0].message.content) == TEXT_LENGTH
    assert answer.usage.prompt_tokens == PROMPT_TOKENS


@pytest.mark.parametrize("name", [OPENAI, ANTHROPIC])
def test_a_streamed_answer(gateway, name):
    stream = litellm.completion(
        model=name, messages=HELLO, stream=True, **options(gateway, name)
    )
    assert text_of(stream) == CHUNK_TEXT * CHUNKS


def test_asynchronous_calls_side_by_side(gateway):
    async def streamed():
        stream = await litellm.acompletion(model=OPENAI, messages=HELLO, stream=True, **gateway)
        return len(text_of([chunk async for chunk in stream]))

    async def whole():
        answer = await litellm.acompletion(model=OPENAI, messages=HELLO, **gateway)
        return len(answer.choices[0].message.content)

    async def many():
        return await asyncio.gather(*[call() for _ in range(8) for call in (whole, streamed)])

    assert set(asyncio.run(many())) == {TEXT_LENGTH}


@pytest.mark.parametrize("name", [OPENAI, ANTHROPIC])
def test_a_tool_call(gateway, name):
    answer = litellm.completion(
        model=name,
        messages=HELLO,
        tools=[WEATHER],
        tool_choice="required",
        **options(gateway, name),
    )
    [call] = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "mock"}


def test_responses(gateway):
    response = litellm.responses(model=OPENAI, input="Hello!", **gateway)
    assert len(response.output[0].content[0].text) == TEXT_LENGTH


def test_text_completions(gateway):
    answer = litellm.text_completion(
        model="text-completion-openai/renamed", prompt="Once", **gateway
    )
    assert len(answer.choices[0].text) == TEXT_LENGTH


def test_embeddings(gateway):
    created = litellm.embedding(model=OPENAI, input=["one", "two"], **gateway)
    assert [len(item["embedding"]) for item in created.data] == [8, 8]
    again = asyncio.run(litellm.aembedding(model=OPENAI, input=["one"], **gateway))
    assert again.data[0]["embedding"] == created.data[0]["embedding"]


def test_rerank(gateway):
    ranked = litellm.rerank(
        model="jina_ai/rerank-v3.5",
        query="gateway",
        documents=["a", "abc", "ab"],
        api_base=gateway["api_base"],
        api_key=gateway["api_key"],
    )
    assert [result["index"] for result in ranked.results] == [1, 2, 0]


def test_images_and_audio(gateway):
    images = litellm.image_generation(model=OPENAI, prompt="a gateway", **gateway)
    assert images.data[0].b64_json
    spoken = litellm.speech(model=OPENAI, voice="alloy", input="Hello!", **gateway)
    assert len(spoken.content) == TEXT_LENGTH
    heard = litellm.transcription(model=OPENAI, file=("heard.wav", bytes(1000)), **gateway)
    assert len(heard.text) == TEXT_LENGTH


@pytest.mark.parametrize(
    ("name", "error_class"),
    [
        ("error-400", litellm.BadRequestError),
        ("error-401", litellm.AuthenticationError),
        ("error-404", litellm.NotFoundError),
        ("error-429", litellm.RateLimitError),
        ("error-500", litellm.InternalServerError),
        ("error-503", litellm.ServiceUnavailableError),
        ("no-such-model", litellm.NotFoundError),
        ("unreachable", litellm.BadGatewayError),
    ],
)
def test_errors_have_their_classes(gateway, name, error_class):
    with pytest.raises(error_class) as caught:
        litellm.completion(model=f"openai/{name}", messages=HELLO, **gateway)
    assert type(caught.value) is error_class


def test_a_refused_key(gateway):
    wrong = gateway | {"api_key": WRONG_KEYS[1]}
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(model=OPENAI, messages=HELLO, **wrong)


def test_a_client_from_the_environment():
    program = (
        "import litellm\n"
        f"answer = litellm.completion(model={OPENAI!r}, messages={HELLO!r})\n"
        "print(len(answer.choices[0].message.content))"
    )
    assert after_document("litellm.sh", program) == str(TEXT_LENGTH)
