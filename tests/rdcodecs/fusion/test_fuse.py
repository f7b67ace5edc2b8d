import math

import pytest
import torch

from rdcodecs.fusion.config import FusionConfig
from rdcodecs.fusion.fuse import AdditiveFusion, AttentiveFusion

CONFIG = FusionConfig(heads=2, head_channels=3)


def trained(kind: type[AttentiveFusion] | type[AdditiveFusion]) -> AttentiveFusion | AdditiveFusion:
    """Random weights everywhere, the zeros of the projection included."""
    torch.manual_seed(0)
    module = kind(CONFIG, 8, 5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


@pytest.mark.parametrize("kind", [AttentiveFusion, AdditiveFusion])
def test_before_training_nothing_changes(kind: type[AttentiveFusion]) -> None:
    module = kind(CONFIG, 8, 5)
    features = torch.randn(2, 8, 6, 4)
    assert torch.equal(module(features, module.prepare(torch.randn(2, 5, 6, 4))), features)


def test_attention_is_the_formula_position_by_position() -> None:
    module = trained(AttentiveFusion)
    assert isinstance(module, AttentiveFusion)
    features, control = torch.randn(1, 8, 4, 5), torch.randn(1, 5, 4, 5)
    with torch.no_grad():
        fused = module(features, module.prepare(control))
        unit = features / features.square().mean(dim=1, keepdim=True).add(1e-6).sqrt()
        queries, keys, values = (
            layer(part)[0] for layer, part in ((module.query, unit), (module.key, control), (module.value, control))
        )
        taken = torch.zeros(6, 4, 5)
        for y in range(4):
            for x in range(5):
                for head in range(2):
                    part = slice(3 * head, 3 * head + 3)
                    scores, found = [0.0], [torch.zeros(3)]  # the sink
                    for index, (dy, dx) in enumerate((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                        inside = 0 <= y + dy < 4 and 0 <= x + dx < 5
                        key = keys[part, y + dy, x + dx] if inside else torch.zeros(3)
                        value = values[part, y + dy, x + dx] if inside else torch.zeros(3)
                        dot = float(queries[part, y, x] @ key) / math.sqrt(3)
                        scores.append(dot + float(module.bias[head, index]))
                        found.append(value)
                    weights = torch.tensor(scores).softmax(0)
                    taken[part, y, x] = sum(w * v for w, v in zip(weights, found, strict=True))
        torch.testing.assert_close(fused, features + module.out(taken[None]), rtol=1e-4, atol=1e-4)


def test_addition_is_a_projection() -> None:
    module = trained(AdditiveFusion)
    features, control = torch.randn(2, 8, 3, 3), torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(module(features, module.prepare(control)), features + module.out(control))


def test_gradients_reach_all_weights_where_the_features_have_none() -> None:
    # The first features of a frozen U-Net: torch's own group normalisation crashes there in channels_last.
    module = AttentiveFusion(CONFIG, 8, 5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.nn.init.normal_(module.out.weight)
    features = torch.randn(1, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    torch.autograd.backward(module(features, module.prepare(torch.randn(1, 5, 8, 8))).sum())
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_half_precision_features_do_not_overflow() -> None:
    module = trained(AttentiveFusion).half()
    features = torch.full((1, 8, 2, 2), 3000.0, dtype=torch.half)
    with torch.no_grad():
        fused = module(features, module.prepare(torch.randn(1, 5, 2, 2).half()))
    assert bool(torch.isfinite(fused).all())
