"""What docs/CLIENTS.md does with curl, and rerank, which few libraries speak, by plain HTTP."""

import json

import httpx2
import pytest
from conftest import API_KEY, BASE_URL, TEXT_LENGTH, TIMEOUT, WRONG_KEYS, bash, document_file


def test_the_documents_own_commands():
    decoder, printed = json.JSONDecoder(), bash(f'source "{document_file("curl.sh")}"')
    completion, end = decoder.raw_decode(printed)
    assert len(completion["choices"][0]["message"]["content"]) == TEXT_LENGTH
    ranked, _ = decoder.raw_decode(printed[end:].lstrip())
    assert [result["index"] for result in ranked["results"]] == [1, 0]


def rerank(key=API_KEY, **body):
    return httpx2.post(
        f"{BASE_URL}/rerank",
        headers={"authorization": f"Bearer {key}"},
        json={"model": "rerank-v3.5", "query": "gateway"} | body,
        timeout=TIMEOUT,
    )


def test_rerank():
    answer = rerank(documents=["a", {"text": "abc"}, "ab"], top_n=2, return_documents=True)
    assert answer.status_code == 200
    assert answer.json()["results"] == [
        {"index": 1, "relevance_score": 1.0, "document": {"text": "abc"}},
        {"index": 2, "relevance_score": 0.5, "document": {"text": "ab"}},
    ]


@pytest.mark.parametrize(
    ("key", "body", "status", "code"),
    [
        (WRONG_KEYS[0], {"documents": ["a"]}, 401, "invalid_api_key"),
        (API_KEY, {"documents": ["a"], "model": "no-such-model"}, 404, "model_not_found"),
        (API_KEY, {}, 400, "missing_required_parameter"),
    ],
)
def test_refusals_of_rerank(key, body, status, code):
    answer = rerank(key, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
