"""Every endpoint that the SDK has and the gateway forwards."""

import asyncio
import base64
import hashlib
import json
import struct

import openai
import pytest
from conftest import (
    API_KEY,
    BASE_URL,
    CHUNK_TEXT,
    CHUNKS,
    OPTIONS,
    PROMPT_TOKENS,
    PROVIDER_NAMES,
    TEXT_LENGTH,
    model,
)
from pydantic import BaseModel

# A name whose provider knows it by another one: the body has to be rewritten.
NAME = "renamed"

# A file of every byte, so that whoever takes it for text spoils it, and longer than one read.
FILE = bytes(range(256)) * 1024

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    },
}


class Person(BaseModel):
    name: str
    age: int


def run(call):
    """Makes a call with the asynchronous client."""

    async def with_client():
        async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, **OPTIONS) as client:
            return await call(client)

    return asyncio.run(with_client())


# ---- completions ----


def test_completions(client):
    completion = client.completions.create(model=model(NAME), prompt="Once")
    assert completion.object == "text_completion"
    assert completion.model == PROVIDER_NAMES[NAME]
    assert len(completion.choices[0].text) == TEXT_LENGTH
    assert completion.usage.total_tokens == PROMPT_TOKENS + CHUNKS


def test_completions_as_a_stream(client):
    chunks = list(client.completions.create(model=model(NAME), prompt="Once", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == CHUNK_TEXT * CHUNKS
    assert chunks[-1].choices[0].finish_reason == "stop"


# ---- embeddings ----


def floats(client, **more):
    created = client.embeddings.create(model=model(NAME), input=["one", "two"], **more)
    assert created.model == PROVIDER_NAMES[NAME]
    assert created.usage.total_tokens == PROMPT_TOKENS
    assert [item.index for item in created.data] == [0, 1]
    return [item.embedding for item in created.data]


def test_embeddings_are_the_same_as_numbers_and_as_base64(client):
    # Unless told otherwise, the SDK asks for base64 and reads it.
    numbers, unpacked = floats(client, encoding_format="float"), floats(client)
    assert len(numbers[0]) == 8 and numbers[0] != numbers[1]
    assert numbers == unpacked
    packed = [base64.b64decode(text) for text in floats(client, encoding_format="base64")]
    assert [list(struct.unpack("<8f", words)) for words in packed] == numbers


def test_dimensions_of_embeddings(client):
    assert [len(vector) for vector in floats(client, dimensions=1536)] == [1536, 1536]


def test_embeddings_of_tokens(client):
    created = client.embeddings.create(model=model(NAME), input=[[1, 2, 3], [4]])
    assert len(created.data) == 2


# ---- responses ----


def test_responses(client):
    response = client.responses.create(model=model(NAME), input="Hello!")
    assert response.status == "completed"
    assert response.model == PROVIDER_NAMES[NAME]
    assert len(response.output_text) == TEXT_LENGTH
    assert response.usage.total_tokens == PROMPT_TOKENS + CHUNKS


def test_responses_as_a_stream(client):
    events = list(client.responses.create(model=model(NAME), input="Hello!", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == CHUNK_TEXT * CHUNKS
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == CHUNK_TEXT * CHUNKS


def test_responses_put_together_by_the_sdk(client):
    with client.responses.stream(model=model(NAME), input="Hello!") as stream:
        response = stream.get_final_response()
    assert response.output_text == CHUNK_TEXT * CHUNKS


def test_structured_responses(client):
    asked = {"model": model(NAME), "input": "Who?", "text_format": Person}
    assert client.responses.parse(**asked).output_parsed == Person(name="mock", age=1)
    with client.responses.stream(**asked) as stream:
        response = stream.get_final_response()
    assert response.output_parsed == Person(name="mock", age=1)


def test_a_tool_call_in_a_response(client):
    asked = {"model": model(NAME), "input": "Hi", "tools": [WEATHER], "tool_choice": "required"}
    called = client.responses.create(**asked).output[0]
    assert (called.type, called.name) == ("function_call", "get_weather")
    assert json.loads(called.arguments) == {"city": "mock", "days": 1}
    with client.responses.stream(**asked) as stream:
        streamed = stream.get_final_response().output[0]
    assert (streamed.name, streamed.arguments) == (called.name, called.arguments)


# ---- moderations ----


def test_moderations(client):
    created = client.moderations.create(model=model(NAME), input=["one", "two"])
    assert created.model == PROVIDER_NAMES[NAME]
    assert [result.flagged for result in created.results] == [False, False]


def test_moderations_without_a_model(client):
    created = client.moderations.create(input="one")
    assert created.model == PROVIDER_NAMES["omni-moderation-latest"]
    assert created.results[0].categories.hate_threatening is False


# ---- images ----


def pixels(images):
    return [base64.b64decode(image.b64_json)[:8] for image in images.data]


PNG = b"\x89PNG\r\n\x1a\n"


def test_images_from_a_prompt(client):
    images = client.images.generate(model=model(NAME), prompt="a gateway", n=2)
    assert pixels(images) == [PNG, PNG]


def uploaded(answer, name):
    """What the provider says of a part of the form that came."""
    [part] = [part for part in answer.model_extra["mock"] if part["name"] == name]
    return part


def is_whole(part):
    return (part["bytes"], part["sha256"]) == (len(FILE), hashlib.sha256(FILE).hexdigest())


def test_edits_of_an_image(client):
    images = client.images.edit(
        model=model(NAME), prompt="a gateway", image=("in.png", FILE), mask=("mask.png", FILE)
    )
    assert pixels(images) == [PNG]
    assert is_whole(uploaded(images, "image")) and is_whole(uploaded(images, "mask"))
    assert uploaded(images, "image")["filename"] == "in.png"


def test_edits_of_several_images(client):
    files = [("one.png", FILE), ("two.png", FILE)]
    images = client.images.edit(model=model(NAME), prompt="a gateway", image=files)
    parts = [part for part in images.model_extra["mock"] if part["name"] == "image[]"]
    assert [part["filename"] for part in parts] == ["one.png", "two.png"]
    assert all(is_whole(part) for part in parts)


def test_variations_of_an_image(client):
    images = client.images.create_variation(model=model(NAME), image=("in.png", FILE), n=2)
    assert pixels(images) == [PNG, PNG]
    assert is_whole(uploaded(images, "image"))


# ---- audio ----


def test_speech(client):
    spoken = client.audio.speech.create(model=model(NAME), voice="alloy", input="Hello!")
    assert spoken.read() == bytes(index % 256 for index in range(TEXT_LENGTH))
    assert spoken.response.headers["content-type"] == "audio/mpeg"


def test_speech_as_it_comes(client):
    speak = client.audio.speech.with_streaming_response.create
    with speak(
        model=model(NAME), voice="alloy", input="Hello!", response_format="wav"
    ) as response:
        assert b"".join(response.iter_bytes()) == bytes(i % 256 for i in range(TEXT_LENGTH))
    assert response.headers["content-type"] == "audio/wav"


@pytest.mark.parametrize("kind", ["transcriptions", "translations"])
def test_texts_of_a_recording(client, kind):
    create = getattr(client.audio, kind).create
    heard = create(model=model(NAME), file=("heard.wav", FILE))
    assert len(heard.text) == TEXT_LENGTH
    part = uploaded(heard, "file")
    assert is_whole(part) and part["filename"] == "heard.wav"
    plain = create(model=model(NAME), file=("heard.wav", FILE), response_format="text")
    assert plain == heard.text


# ---- rerank, which the SDK has no method for ----


def test_rerank_by_the_sdks_own_post(client):
    asked = {
        "model": model(NAME),
        "query": "gateway",
        "documents": ["a", "abc", "ab"],
        "top_n": 2,
        "return_documents": True,
    }
    ranked = client.post("/rerank", body=asked, cast_to=object)
    assert ranked["model"] == PROVIDER_NAMES[NAME]
    assert [result["index"] for result in ranked["results"]] == [1, 2]
    assert ranked["results"][0]["document"] == {"text": "abc"}


# ---- models ----


@pytest.mark.gateway
def test_the_list_of_models(client):
    models = {listed.id: listed for listed in client.models.list()}
    assert set(models) == set(PROVIDER_NAMES)
    assert {listed.object for listed in models.values()} == {"model"}


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["mock", "vendor/модель:free", "mock:chunks=200,chunk-bytes=37"])
def test_one_model(client, name):
    found = client.models.retrieve(name)
    assert (found.id, found.object, found.owned_by) == (name, "model", "openai")


@pytest.mark.gateway
def test_a_model_that_is_not_there(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("vendor/nobody")
    assert caught.value.code == "model_not_found"
    assert "vendor/nobody" in caught.value.message


# ---- the asynchronous client ----


def test_asynchronous_calls_of_every_kind():
    async def all_of_them(client):
        return await asyncio.gather(
            client.completions.create(model=model(NAME), prompt="Once"),
            client.embeddings.create(model=model(NAME), input="one"),
            client.responses.create(model=model(NAME), input="Hello!"),
            client.moderations.create(model=model(NAME), input="one"),
            client.images.generate(model=model(NAME), prompt="a gateway"),
            client.images.edit(model=model(NAME), prompt="a gateway", image=("in.png", FILE)),
            client.audio.transcriptions.create(model=model(NAME), file=("heard.wav", FILE)),
        )

    text, vectors, response, _, images, edited, heard = run(all_of_them)
    assert len(text.choices[0].text) == TEXT_LENGTH
    assert len(vectors.data[0].embedding) == 8
    assert len(response.output_text) == TEXT_LENGTH
    assert pixels(images) == [PNG]
    assert is_whole(uploaded(edited, "image")) and is_whole(uploaded(heard, "file"))


def test_an_asynchronous_stream_of_a_response():
    async def streamed(client):
        stream = await client.responses.create(model=model(NAME), input="Hello!", stream=True)
        return [event async for event in stream]

    assert run(streamed)[-1].response.output_text == CHUNK_TEXT * CHUNKS


def test_asynchronous_speech():
    async def spoken(client):
        answer = await client.audio.speech.create(model=model(NAME), voice="alloy", input="Hello!")
        return await answer.aread()

    assert len(run(spoken)) == TEXT_LENGTH
