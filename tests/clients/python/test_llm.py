"""The command line `llm`, set up by the commands of docs/CLIENTS.md."""

import pytest
from conftest import CHUNK_TEXT, CHUNKS, TEXT_LENGTH, bash, document_file


@pytest.fixture(scope="module")
def first_answer():
    """What the document's own commands print: the models are set up after that."""
    return bash(f'source "{document_file("llm.sh")}"')


def test_the_documents_own_prompt_is_streamed(first_answer):
    # It streams where it isn't told otherwise; whole answers have another text.
    assert first_answer.endswith((CHUNK_TEXT * CHUNKS).strip())


def test_a_whole_answer(first_answer):
    assert len(bash('llm --model gateway --no-stream "Hello!"')) == TEXT_LENGTH


def test_text_from_a_pipe_and_a_system_prompt(first_answer):
    answer = bash('echo "Hello!" | llm --model gateway --system "Be brief."')
    assert answer == (CHUNK_TEXT * CHUNKS).strip()


def test_a_conversation_that_goes_on(first_answer):
    bash('llm --model gateway "Hello!"')
    assert bash('llm --continue "And then?"') == (CHUNK_TEXT * CHUNKS).strip()


def test_a_model_that_is_not_mapped(first_answer):
    script = (
        'file=$(dirname "$(llm logs path)")/extra-openai-models.yaml\n'
        'sed -e "s/model_id: gateway/model_id: nobody/" -e "s/gpt-5-mini/no-such-model/" "$file" >"$file.new"\n'
        'cat "$file.new" >>"$file"\n'
        'llm --model nobody "Hello!" 2>&1 || true\n'
    )
    assert "does not exist" in bash(script)
