import pytest
import torch

from trueline.models import ConvNet, WithProjection, resnet8


def test_logits_are_the_models_own_and_embeddings_have_length_one(generator: torch.Generator) -> None:
    model = resnet8((3, 8, 8), 5, width=4).eval()
    wrapped = WithProjection(model, dim=6).eval()
    inputs = torch.randn(7, 3, 8, 8, generator=generator)
    logits, embeddings = wrapped(inputs)
    assert wrapped.model is model
    assert torch.equal(logits, model(inputs))
    assert embeddings.shape == (7, 6)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(7))


def test_embeddings_by_hand(generator: torch.Generator) -> None:
    wrapped = WithProjection(ConvNet((1, 8, 8), 3, width=1, batch_norm=False), dim=4).double()
    inputs = torch.randn(5, 1, 8, 8, generator=generator, dtype=torch.float64)
    first, _, last = wrapped.head
    features = wrapped.model.features(inputs)
    out = (features @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    torch.testing.assert_close(wrapped(inputs)[1], out / out.square().sum(dim=1, keepdim=True).sqrt())


def test_embeddings_train_the_model_but_not_its_classifier(generator: torch.Generator) -> None:
    wrapped = WithProjection(resnet8((3, 8, 8), 5, width=4), dim=6)
    _, embeddings = wrapped(torch.randn(4, 3, 8, 8, generator=generator))
    (embeddings[0] @ embeddings[1]).backward()
    assert wrapped.model.classifier.weight.grad is None
    assert all(p.grad is not None for name, p in wrapped.named_parameters() if "linear" not in name)


@pytest.mark.parametrize("dim", [1, 7])
def test_the_head_has_the_stated_parameters(dim: int) -> None:
    wrapped = WithProjection(resnet8((3, 8, 8), 5, width=4), dim=dim)
    features = wrapped.model.feature_dim
    assert sum(p.numel() for p in wrapped.head.parameters()) == (features + 1) * features + (features + 1) * dim


def test_an_embedding_without_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="dim must be at least 1, got 0"):
        WithProjection(resnet8((3, 8, 8), 5), dim=0)
