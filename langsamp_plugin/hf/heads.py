"""The masked-LM heads of transformers: their input, and their final projection onto the vocabulary."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional

from torch import Tensor, nn


class Head(NamedTuple):
    """A masked-LM head in two parts.

    Args:
        module: takes the backbone's output (..., C); embeddings are added to its first argument.
        name: name of ``module`` in the model.
        predict: the stock computation from features (..., C) to logits (..., V).
        transform: everything before the projection, (..., C) to (..., D).
        weight, bias: the projection, (V, D) and (V,); ``bias`` may be ``None``.
        first: the first layer of the head if it is linear with a bias, so that a tag can be folded into it, else
            ``None``.
    """

    module: nn.Module
    name: str
    predict: Callable[[Tensor], Tensor]
    transform: Callable[[Tensor], Tensor]
    weight: Tensor
    bias: Optional[Tensor]
    first: Optional[nn.Linear]


def find_head(model: nn.Module) -> Head:
    """Return the head of a masked LM, recognised by its parts.

    Known are RoBERTa's (XLM-R, XLM-R XL, CamemBERT), BERT's, ModernBERT's (mmBERT), both of DeBERTa-v2 and a bare
    projection (EuroBERT).

    Raises:
        ValueError: the model has another head.
    """
    for part, make in (("lm_head", _roberta), ("cls", _bert), ("lm_predictions", _deberta), ("head", _modernbert)):
        module = getattr(model, part, None)
        head = make(model, module) if isinstance(module, nn.Module) else None
        if head is not None:
            return head
    raise ValueError(
        f"{type(model).__name__} must have a known masked-LM head (of RoBERTa, BERT, ModernBERT, DeBERTa-v2 or "
        "EuroBERT), but has none: load the model with AutoModelForMaskedLM"
    )


def _roberta(model: Any, head: Any) -> Optional[Head]:
    if isinstance(head, nn.Linear):
        return Head(head, "lm_head", head, nn.Identity(), head.weight, head.bias, _biased(head))
    if not _has(head, "dense", "layer_norm", "decoder"):
        return None
    from transformers.activations import gelu

    def transform(features: Tensor) -> Tensor:
        return head.layer_norm(gelu(head.dense(features)))

    bias = head.decoder.bias if head.decoder.bias is not None else getattr(head, "bias", None)  # ESM adds its own
    return Head(head, "lm_head", head, transform, head.decoder.weight, bias, _biased(head.dense))


def _bert(model: Any, head: Any) -> Optional[Head]:
    predictions: Any = getattr(head, "predictions", None)
    if not _has(predictions, "transform", "decoder") or not _has(predictions.transform, "dense"):
        return None
    if _has(predictions, "dense"):  # MobileBERT's projection has two parts
        return None
    decoder = predictions.decoder
    return Head(
        head, "cls", head, predictions.transform, decoder.weight, decoder.bias, _biased(predictions.transform.dense)
    )


def _deberta(model: Any, head: Any) -> Optional[Head]:
    inner: Any = getattr(head, "lm_head", None)
    if not _has(inner, "dense", "transform_act_fn", "LayerNorm", "bias"):
        return None

    def transform(features: Tensor) -> Tensor:
        return inner.LayerNorm(inner.transform_act_fn(inner.dense(features)))

    words = model.get_input_embeddings()
    return Head(
        head, "lm_predictions", lambda x: head(x, words), transform, words.weight, inner.bias, _biased(inner.dense)
    )


def _modernbert(model: Any, head: Any) -> Optional[Head]:
    decoder = getattr(model, "decoder", None)
    if not _has(head, "dense") or not isinstance(decoder, nn.Linear):
        return None
    return Head(head, "head", lambda x: decoder(head(x)), head, decoder.weight, decoder.bias, _biased(head.dense))


def _has(module: Any, *names: str) -> bool:
    return all(hasattr(module, name) for name in names)


def _biased(layer: Any) -> Optional[nn.Linear]:
    return layer if isinstance(layer, nn.Linear) and layer.bias is not None else None
