from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled
from torch.nn import functional

from encoders.base import Base, load_sentence_transformer
from encoders.encoder import all_vectors
from encoders.errors import BaseModelError
from encoders.interest import InterestModel
from encoders.packed import ATTENTION
from encoders.served_transformer import encode_served
from encoders.train import train
from encoders.transformer import TransformerEncoder

TEXTS = ["rose", "tulip rose spade soil seed lawn hedge bloom", "", "guitar drum chord", "oven whisk flour butter cake"]
packable = pytest.mark.parametrize("tiny_base", ["Bert", "Roberta", "DistilBert"], indirect=True)


def _open(folder, **given) -> TransformerEncoder:
    given = {"tuning": "full", "precision": "float32", **given}
    base = Base(name="tiny", source="folder", folder=folder)
    return TransformerEncoder.open(base, TEXTS, max_tokens=32, **given)


def test_vectors_are_those_that_the_library_gives(tiny_base):
    expected = load_sentence_transformer(tiny_base).encode(TEXTS, normalize_embeddings=True)
    expected[2] = 0  # a blank text speaks for nothing
    for at_once in (None, 8):
        encoder = _open(tiny_base)
        encoder.tokens_at_once = at_once
        np.testing.assert_allclose(all_vectors(encoder, len(TEXTS)).numpy(), expected, atol=1e-6)


@pytest.fixture(scope="module")
def prompting(tiny_transformer, tmp_path_factory):
    """A base that asks for words before each text."""
    folder = tmp_path_factory.mktemp("prompting")
    model = load_sentence_transformer(tiny_transformer)
    model.prompts, model.default_prompt_name = {"document": "guitar melody "}, "document"
    model.save(str(folder))
    return folder


def test_a_default_prompt_is_read_in_training_as_in_service(prompting, tiny_transformer, tmp_path):
    encoder = _open(prompting).eval()
    learned = all_vectors(encoder, len(TEXTS)).numpy()
    expected = load_sentence_transformer(prompting).encode(TEXTS, normalize_embeddings=True)
    expected[2] = 0
    np.testing.assert_allclose(learned, expected, atol=1e-6)
    assert np.abs(learned - all_vectors(_open(tiny_transformer), len(TEXTS)).numpy()).max() > 0.01
    encoder.save(tmp_path)
    _, served = encode_served(None, tmp_path / "transformer", TEXTS)
    np.testing.assert_allclose(served[[0, 1, 3, 4]], learned[[0, 1, 3, 4]], atol=1e-5)


def test_a_base_of_token_vectors_is_for_the_static_kind(tiny_transformer, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = load_sentence_transformer(tiny_transformer).tokenizer.backend_tokenizer
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(str(tmp_path))
    with pytest.raises(BaseModelError, match="wanted a transformer, got StaticEmbedding; use kind = static"):
        _open(tmp_path)


@packable
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_texts_end_to_end_give_the_vectors_and_gradients_of_padded_ones(tiny_base, tuning):
    found = []
    for packs in (False, True):
        torch.manual_seed(3)
        encoder = _open(tiny_base, tuning=tuning).eval()
        encoder.packs = packs
        vectors = encoder.vectors(torch.tensor([4, 0, 3, 1, 2]))
        (vectors * torch.linspace(-1, 1, encoder.dim)).sum().backward()
        learning = [value for value in encoder.parameters() if value.grad is not None]
        found.append((vectors.detach(), torch.cat([value.grad.ravel() for value in learning])))
        assert (encoder.computed == encoder.ran) == packs  # padding is counted where it is
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-5, rtol=1e-4)
    assert found[0][1].abs().max() > 1e-3


@packable
def test_texts_end_to_end_do_not_read_each_other(tiny_base):
    encoder = _open(tiny_base).eval()
    encoder.packs = True
    alone = torch.cat([encoder.vectors(torch.tensor([row])) for row in range(len(TEXTS))])
    torch.testing.assert_close(encoder.vectors(torch.arange(len(TEXTS))), alone, atol=1e-5, rtol=0)


@packable
def test_packing_is_taken_only_where_it_gives_the_same(tiny_base, monkeypatch):
    rows = torch.arange(len(TEXTS))
    encoder = _open(tiny_base)
    lengths = encoder.text_lengths
    assert encoder._packing_holds(rows, lengths)
    # a model that counts places otherwise gives other vectors that way
    monkeypatch.setattr("encoders.packed._first_position", lambda model: 2)
    assert not encoder._packing_holds(rows, lengths)

    def refuse(*given, **named):
        raise NotImplementedError("windows")

    monkeypatch.setattr("encoders.packed.packed_attention", refuse)
    assert not encoder._packing_holds(rows, lengths)
    assert encoder.training


@pytest.mark.parametrize("tiny_base", ["MPNet"], indirect=True)
def test_attention_with_a_bias_of_its_own_is_padded(tiny_base):
    encoder, rows = _open(tiny_base), torch.arange(len(TEXTS))
    assert not encoder._packing_holds(rows, encoder.text_lengths)


def test_packed_training_leaves_no_trace_in_what_is_saved(tiny_transformer, tmp_path):
    encoder = _open(tiny_transformer)
    encoder.packs = True
    encoder.vectors(torch.arange(len(TEXTS)))
    encoder.save(tmp_path)
    assert not [path for path in tmp_path.rglob("*.json") if ATTENTION in path.read_text()]
    assert load_sentence_transformer(tmp_path / "transformer")[0].model.config._attn_implementation != ATTENTION


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_what_is_saved_gives_the_vectors_that_were_learned(tiny_base, tuning, tmp_path):
    encoder = _open(tiny_base, tuning=tuning).eval()
    optimizer = torch.optim.SGD([value for group in encoder.groups(1.0) for value in group["params"]], lr=1.0)
    before = encoder.vectors(torch.arange(len(TEXTS)))
    (before @ torch.linspace(-1, 1, encoder.dim)).sum().backward()
    optimizer.step()
    after = all_vectors(encoder, len(TEXTS)).numpy()
    assert np.abs(after - before.detach().numpy()).max() > 1e-3
    encoder.save(tmp_path)
    _, served = encode_served(None, tmp_path / "transformer", TEXTS)
    spoken = [bool(text) for text in TEXTS]
    np.testing.assert_allclose(served[spoken], after[spoken], atol=1e-5)


def test_reading_and_writing_a_model_draws_nothing(tiny_transformer, tmp_path, capfd):
    """Bars would stand in a log file, or beside our own."""
    bars_before = are_progress_bars_disabled()
    _open(tiny_transformer).save(tmp_path)
    encode_served(None, tmp_path / "transformer", TEXTS)
    assert capfd.readouterr() == ("", "")
    assert are_progress_bars_disabled() == bars_before


@packable
@pytest.mark.parametrize("packs", [False, True])
def test_bfloat16_is_near_float32_and_learns_in_float32(tiny_base, packs):
    vectors = {}
    for precision in ("float32", "bfloat16"):
        encoder = _open(tiny_base, precision=precision).eval()
        encoder.packs = packs
        vectors[precision] = encoder.vectors(torch.arange(len(TEXTS)))
        vectors[precision].sum().backward()
        assert {value.grad.dtype for value in encoder.parameters() if value.grad is not None} == {torch.float32}
    apart = (vectors["float32"] - vectors["bfloat16"]).abs().max()
    assert 0 < apart < 0.02


@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_training_runs_in_bfloat16(shop, small, tiny_transformer, tmp_path, kind):
    config = replace(small, kind=kind, base=str(tiny_transformer), epochs=1, pairs_per_epoch=50, dim=8)
    losses = {
        precision: train(shop.folder, tmp_path / precision, replace(config, precision=precision)).epochs[0].loss
        for precision in ("bfloat16", "float32")
    }
    # the same draws: only rounding tells them apart
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    vectors = InterestModel.load(tmp_path / "bfloat16").encode(["rose tulip"])
    assert np.isfinite(vectors).all()


def test_weights_stored_in_half_precision_learn_in_float32(tiny_transformer, tmp_path):
    load_sentence_transformer(tiny_transformer).half().save(str(tmp_path / "half"))
    encoder = _open(tmp_path / "half")
    assert {value.dtype for value in encoder.parameters()} == {torch.float32}
    apart = all_vectors(encoder, len(TEXTS)) - all_vectors(_open(tiny_transformer), len(TEXTS))
    assert apart.abs().max() < 5e-3


def test_frozen_texts_go_through_the_model_once(tiny_base):
    encoder = _open(tiny_base, tuning="none")
    encoder.train()  # no dropout either: the vectors are those that serve
    first = encoder.vectors(torch.tensor([1, 3]))
    ran = encoder.ran
    torch.testing.assert_close(encoder.vectors(torch.tensor([3, 1, 3])), first[[1, 0, 1]], atol=0, rtol=0)
    assert encoder.ran == ran
    torch.testing.assert_close(all_vectors(_open(tiny_base), len(TEXTS))[[1, 3]], first, atol=1e-6, rtol=0)
    torch.testing.assert_close(functional.normalize(first, dim=1), first)


def test_adapters_have_the_rank_that_is_set(tiny_base):
    encoder = _open(tiny_base, tuning="lora", lora_rank=3)
    assert {value.shape[0] for name, value in encoder.named_parameters() if "lora_A" in name} == {3}


@pytest.mark.parametrize("packs", [False, True])
def test_compiled_layers_give_the_same_vectors(tiny_transformer, packs):
    encoder = _open(tiny_transformer).eval()
    encoder.packs = packs
    plain = encoder.vectors(torch.arange(len(TEXTS)))
    encoder.compile_layers(backend="eager")
    torch.testing.assert_close(encoder.vectors(torch.arange(len(TEXTS))), plain, atol=1e-6, rtol=0)
    encoder.vectors(torch.tensor([3, 1]))


def test_pieces_hold_all_places_within_their_bounds():
    from encoders.transformer import _pieces

    lengths = np.array([2, 2, 3, 4, 5, 9, 30])
    for most, padded in ((12, False), (24, True), (20, False), (1, False), (1, True)):
        pieces = list(_pieces(lengths, most, padded=padded))
        assert [piece.start for piece in pieces] == [0, *(piece.stop for piece in pieces[:-1])]
        assert pieces[-1].stop == len(lengths)
        for piece in pieces:
            held = lengths[piece]
            more = np.append(held, lengths[piece.stop : piece.stop + 1])
            tokens, with_next = (len(some) * some.max() if padded else some.sum() for some in (held, more))
            # a text longer than the bound still runs, alone; no other would have fitted
            assert tokens <= most or len(held) == 1
            assert with_next > most or piece.stop == len(lengths)
    assert list(_pieces(lengths[:0], 8, padded=False)) == []
