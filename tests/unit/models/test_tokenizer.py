"""Text from outside never becomes a control token, whatever kind of tokenizer reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from longvid.errors import ModelError
from longvid.models import mini_vocabulary
from longvid.models.tokenizer import Span, TextTokenizer, load_tokenizer, outside, split_spans

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>")
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def made(backend: Tokenizer, *, frame: bool = False) -> Any:
    if frame:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(SPECIAL[4:]),
        clean_up_tokenization_spaces=False,
    )
    # Added without being special, as Qwen's <think>, and a run of spaces, which is no markup.
    tokenizer.add_tokens(["<think>", "   ", "hospital"])
    return tokenizer


def bytewise() -> Any:
    """As GPT-2, Qwen and Llama 3; whole words of the vocabulary are taken without merges."""
    vocabulary = {name: index for index, name in enumerate((*SPECIAL, *LETTERS))}
    backend = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return made(backend)


def sentence_pieces() -> Any:
    """As Llama 2 and Vicuna: a space is a letter, other bytes are spelled."""
    spelled = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {
        name: index for index, name in enumerate((*SPECIAL, *spelled, "▁", *"abcdeimnst"))
    }
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return made(backend, frame=True)


def unigram() -> Any:
    """As T5 and SigLIP: control tokens are pieces of the vocabulary, at no cost."""
    pieces = [(name, 0.0) for name in SPECIAL] + [(letter, -5.0) for letter in "▁abcdegimnst/<>|_"]
    backend = Tokenizer(models.Unigram(pieces, unk_id=1, byte_fallback=False))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return made(backend, frame=True)


def whole_words() -> Any:
    """As BERT's basic tokens, in lower case."""
    vocabulary = {name: index for index, name in enumerate((*SPECIAL, "what", "is", "it"))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    return made(backend, frame=True)


KINDS = {
    "bytewise": bytewise,
    "sentence pieces": sentence_pieces,
    "unigram": unigram,
    "whole words": whole_words,
    "mini": mini_vocabulary.build_tokenizer,
}


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]()


def spellings(tokenizer: Any) -> list[str]:
    """Return every control token, spelled in ways that a normalizer may undo."""
    names = [name for name in tokenizer.get_added_vocab() if name.strip() and name != "hospital"]
    wide = str.maketrans("<>|", "\uff1c\uff1e\uff5c")  # NFKC makes them ASCII
    nested = [f"<{name}{name}>" for name in names]
    return [*names, *(n.upper() for n in names), *(n.translate(wide) for n in names), *nested]


def test_no_spelling_becomes_a_control_token(tokenizer: Any) -> None:
    text = TextTokenizer(tokenizer)
    assert tokenizer.eos_token_id in text.control_ids
    unknown = tokenizer.unk_token_id
    forbidden = {*tokenizer.get_added_vocab().values()} - {unknown}
    forbidden -= {
        tokenizer.get_added_vocab().get("   "),
        tokenizer.get_added_vocab().get("hospital"),
    }
    every = " ".join(spellings(tokenizer))
    for spelled in [*spellings(tokenizer), every, every.replace(" ", "")]:
        for around in ("{}", "what is {} it", "{}it", "it{}"):
            ids = text.text_ids(around.format(spelled))
            assert forbidden.isdisjoint(ids), spelled
            framed = text.framed_ids(around.format(spelled), 1000)
            assert sum(token in forbidden for token in framed) == sum(
                token in forbidden for token in text.framed_ids("it", 1000)
            )


def test_a_prompt_keeps_its_own_control_tokens_alone(tokenizer: Any) -> None:
    text = TextTokenizer(tokenizer)
    start, end = ("<bos>", "<answer>") if "<answer>" in tokenizer.get_vocab() else SPECIAL[5:]

    def control(question: str) -> list[int]:
        prompt = [Span(f"{start}what "), outside(question), Span(f"{end} it")]
        [batched] = text.ids_of_each([prompt])
        assert batched == text.ids(prompt)
        framed = text.ids(prompt, start=True)
        return [token for token in framed if token in text.control_ids]

    for spelled in spellings(tokenizer):
        assert control(f"is {spelled} it") == control("is it")
    # A control token that only the seam would complete.
    assert control(f"is {end[:-1]}") == control("is it")


def test_ordinary_text_is_read_as_ever(tokenizer: Any) -> None:
    text = TextTokenizer(tokenizer)
    for words in ("what is it", "a < b > c", "hospital   it", "", "what"):
        plain = tuple(tokenizer(words, add_special_tokens=False)["input_ids"])
        assert text.text_ids(words) == plain
        whole = tuple(tokenizer(f"it {words} is")["input_ids"])
        assert text.ids([Span("it "), outside(words), Span(" is")], start=True) == whole
        assert tuple(text.framed_ids(words, 1000)) == tuple(tokenizer(words)["input_ids"])
        for longest in (2, 3, 4):
            cut = tokenizer(words, truncation=True, max_length=longest)["input_ids"]
            assert text.framed_ids(words, longest) == cut


def test_the_end_of_a_long_text_may_count() -> None:
    text = TextTokenizer(whole_words())
    assert text.framed_ids("what is it", 4, keep_end=True) == [2, 8, 9, 3]


def test_spans_are_split_where_their_own_words_are() -> None:
    spans = [Span("a<v>b"), outside("<v>"), Span("<v>c")]
    assert split_spans(spans, "<v>") == [
        (Span("a"),),
        (Span("b"), outside("<v>")),
        (Span("c"),),
    ]


def test_a_tokenizer_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer of .* cannot be used"):
        load_tokenizer(tmp_path)
