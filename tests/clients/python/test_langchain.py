"""LangChain's chat models and embeddings, by OpenAI's API and by Anthropic's."""

import asyncio

import pytest
from conftest import (
    CHUNK_TEXT,
    CHUNKS,
    PROMPT_TOKENS,
    TEXT_LENGTH,
    TIMEOUT,
    after_document,
    document,
    model,
)
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

# Both ways to ask an OpenAI model, and Anthropic's.
KINDS = ["chat", "responses", "anthropic"]


@tool
def get_weather(city: str, days: int) -> str:
    """The weather of a city."""
    return f"{city}: sunny for {days} day"


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@pytest.fixture(scope="module")
def documented():
    return document("langchain.py")


def chat_model(documented, kind, **more):
    options = {"timeout": TIMEOUT, "max_retries": 0} | more
    if kind == "anthropic":
        return documented["anthropic"].model_copy(update={"model": model("claude")} | options)
    options["use_responses_api"] = kind == "responses"
    # Made anew, because a copy would keep its clients.
    openai = documented["openai"]
    return type(openai)(
        model=model("renamed"),
        base_url=openai.openai_api_base,
        api_key=openai.openai_api_key,
        **options,
    )


@pytest.fixture(params=KINDS)
def chat(documented, request):
    return chat_model(documented, request.param)


def test_a_whole_answer(chat):
    answer = chat.invoke("Hello!")
    assert len(answer.text) == TEXT_LENGTH
    assert answer.usage_metadata["input_tokens"] == PROMPT_TOKENS
    assert answer.usage_metadata["output_tokens"] == CHUNKS


def test_a_streamed_answer(chat):
    chunks = list(chat.stream("Hello!"))
    assert "".join(chunk.text for chunk in chunks) == CHUNK_TEXT * CHUNKS
    assert len(chunks) > CHUNKS


def test_asynchronous_calls_side_by_side(documented):
    async def many():
        models = [chat_model(documented, kind) for kind in KINDS]
        answers = await asyncio.gather(*[chat.ainvoke("Hello!") for chat in models * 4])
        streamed = [[chunk async for chunk in chat.astream("Hello!")] for chat in models]
        return answers, streamed

    answers, streamed = asyncio.run(many())
    assert {len(answer.text) for answer in answers} == {TEXT_LENGTH}
    texts = {"".join(chunk.text for chunk in chunks) for chunks in streamed}
    assert texts == {CHUNK_TEXT * CHUNKS}


def test_a_batch(chat):
    answers = chat.batch(["one", "two", "three"])
    assert [len(answer.text) for answer in answers] == [TEXT_LENGTH] * 3


def test_a_tool_call_and_its_answer(chat):
    turns = [HumanMessage("Which weather?")]
    called = chat.bind_tools([get_weather], tool_choice="any").invoke(turns)
    [call] = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "mock", "days": 1})
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage) and result.content == "mock: sunny for 1 day"
    answer = chat.bind_tools([get_weather]).invoke([*turns, called, result])
    assert len(answer.text) == TEXT_LENGTH


def test_a_tool_call_in_pieces(chat):
    whole = None
    for chunk in chat.bind_tools([get_weather], tool_choice="any").stream("Which weather?"):
        whole = chunk if whole is None else whole + chunk
    [call] = whole.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "mock", "days": 1})


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("chat", "json_schema"),
        ("chat", "function_calling"),
        ("responses", "json_schema"),
        ("anthropic", "function_calling"),
    ],
)
def test_structured_output(documented, kind, method):
    chat = chat_model(documented, kind).with_structured_output(Person, method=method)
    assert chat.invoke("Who?") == Person(name="mock", age=1)


def test_embeddings(documented):
    embeddings = documented["embeddings"]
    vectors = embeddings.embed_documents(["one", "two"])
    assert [len(vector) for vector in vectors] == [8, 8] and vectors[0] != vectors[1]
    assert embeddings.embed_query("one") == vectors[0]
    assert asyncio.run(embeddings.aembed_query("one")) == vectors[0]


def test_a_model_that_is_not_mapped(documented):
    from openai import NotFoundError

    chat = documented["openai"].model_copy(update={"model_name": "no-such-model"})
    with pytest.raises(NotFoundError) as caught:
        chat.invoke("Hello!")
    assert caught.value.code == "model_not_found"


def test_models_from_the_environment():
    program = (
        "from langchain_anthropic import ChatAnthropic\n"
        "from langchain_openai import ChatOpenAI, OpenAIEmbeddings\n"
        f"openai = ChatOpenAI(model={model('mock')!r})\n"
        f"anthropic = ChatAnthropic(model={model('claude')!r})\n"
        f"embeddings = OpenAIEmbeddings(model={model('mock')!r}, check_embedding_ctx_length=False)\n"
        "print(len(openai.invoke('Hi').text), len(anthropic.invoke('Hi').text),"
        " len(embeddings.embed_query('Hi')))"
    )
    printed = after_document("langchain.sh", program)
    assert printed == f"{TEXT_LENGTH} {TEXT_LENGTH} 8"
