"""The repetition penalty is of what an answer has said itself: an answer to a question needs the question's words."""

from __future__ import annotations

from studio.ml.measure.answers import continue_ids
from studio.ml.models.loading import load_tokenizer
from tests.helpers.chat_models import EMBEDDED
from tests.helpers.families import family


def test_words_of_the_prompt_are_not_made_less_likely_and_those_of_the_answer_are() -> None:
    model, tokenizer = family("Llama"), load_tokenizer(EMBEDDED)

    def answer(tokens: int, **options: float) -> list[int]:
        return continue_ids(model, tokenizer, [prompt], do_sample=False, max_new_tokens=tokens, **options)[0]

    prompt = [20, 21, 22]
    while (following := answer(1)[0]) not in prompt:
        prompt.append(following)
    assert answer(1, repetition_penalty=1000.0) == [following]
    plain, penalised = answer(12), answer(12, repetition_penalty=1000.0)
    assert len(set(plain)) < len(plain), "this model repeats itself"
    assert len(set(penalised)) == len(penalised)
