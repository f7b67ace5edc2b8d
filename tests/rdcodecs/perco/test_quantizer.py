import math

import numpy as np
import pytest
import torch

from rdcodecs.perco.quantizer import Codebook, VectorQuantizer
from rdtrain.perco.codebook import begin, begin_codebook, follow, perplexity, revive


@pytest.fixture
def quantizer() -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(6, 4, 16)


def test_the_entry_of_the_nearest_direction_is_chosen(quantizer: VectorQuantizer) -> None:
    features = torch.randn(2, 6, 3, 5)
    made = quantizer(features)
    entries = quantizer.codebook.embed[0].numpy()
    for image, row, column in np.ndindex(2, 3, 5):
        point = quantizer.project_in(features[image, :, row, column]).detach().numpy()
        cosines = [point @ entry / np.linalg.norm(point) / np.linalg.norm(entry) for entry in entries]
        best = int(np.argmax(cosines))
        assert int(made.indices[image, row, column]) == best
        wanted = quantizer.project_out(torch.from_numpy(entries[best] / np.linalg.norm(entries[best])))
        torch.testing.assert_close(made.features[image, :, row, column], wanted)


def test_indices_alone_give_the_same_features(quantizer: VectorQuantizer) -> None:
    made = quantizer(torch.randn(2, 6, 3, 5))
    torch.testing.assert_close(quantizer.lookup(made.indices), made.features)


def test_gradients_pass_as_if_nothing_were_quantised(quantizer: VectorQuantizer) -> None:
    features = torch.randn(1, 6, 2, 2)
    weights = torch.randn(1, 6, 2, 2)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    (quantizer(ours).features * weights).sum().backward()
    plain = torch.nn.functional.normalize(quantizer.project_in(theirs.permute(0, 2, 3, 1)), dim=-1)
    (quantizer.project_out(plain).permute(0, 3, 1, 2) * weights).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_codebook_has_no_gradient_and_its_length_no_effect(quantizer: VectorQuantizer) -> None:
    features = torch.randn(1, 6, 2, 2)
    before = quantizer(features).features
    with torch.no_grad():
        quantizer.codebook.embed *= 0.3
    torch.testing.assert_close(quantizer(features).features, before)
    assert not quantizer.codebook.embed.requires_grad


def clusters(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Points near four directions."""
    centres = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0]])
    points = centres.repeat(50, 1) + 0.05 * torch.randn(200, 3, generator=generator)
    return centres, torch.nn.functional.normalize(points, dim=-1)


def test_a_codebook_begins_where_the_data_are() -> None:
    generator = torch.Generator().manual_seed(3)
    centres, points = clusters(generator)
    codebook = Codebook(12, 3)
    begin_codebook(codebook, points, generator)
    assert float((centres @ codebook.entries.T).max(dim=1).values.min()) > 0.99
    assert float(codebook.initted) == 1


def test_features_that_hardly_differ_are_told_apart(quantizer: VectorQuantizer) -> None:
    """Those of an untrained encoder: a large common part, small differences."""
    generator = torch.Generator().manual_seed(5)
    features = 3 + 0.01 * torch.randn(4, 6, 8, 8, generator=generator)
    with torch.no_grad():
        before = quantizer.points(features).flatten(0, 2)
        assert float((before @ before.mean(dim=0)).min()) > 0.99
        begin(quantizer, features, generator)
        made = quantizer(features)
        raw = quantizer.project_in(features.permute(0, 2, 3, 1)).flatten(0, 2)
    assert float(made.points.flatten(0, 2).mean(dim=0).norm()) < 0.1
    torch.testing.assert_close(raw.mean(dim=0), torch.zeros(4), atol=1e-3, rtol=0)
    assert float(raw.square().sum(dim=1).mean()) == pytest.approx(1, abs=1e-3)
    assert float(perplexity(torch.bincount(made.indices.reshape(-1), minlength=16).float())) > 10


def test_entries_follow_what_chooses_them() -> None:
    codebook = Codebook(2, 2)
    codebook.cluster_size.fill_(1)
    codebook.embed_avg[0] = torch.eye(2)
    points = torch.tensor([[0.6, 0.8], [0.8, 0.6]])
    follow(codebook, points, torch.tensor([0, 0]), 0.9)
    torch.testing.assert_close(codebook.cluster_size[0], torch.tensor([1.1, 0.9]))
    mean = 0.9 * torch.tensor([1.0, 0.0]) + 0.1 * torch.tensor([1.4, 1.4])
    torch.testing.assert_close(codebook.embed[0, 0], mean / mean.norm())
    torch.testing.assert_close(codebook.embed[0, 1], torch.tensor([0.0, 1.0]))


def test_a_collapsed_codebook_comes_back_into_use() -> None:
    generator = torch.Generator().manual_seed(4)
    _, points = clusters(generator)
    codebook = Codebook(8, 3)
    with torch.no_grad():
        codebook.embed[0] = torch.nn.functional.normalize(torch.tensor([-1.0, -1, -1]), dim=0)
        codebook.embed[0, 0] = torch.tensor([1.0, 0, 0])
    codebook.cluster_size[0] = torch.tensor([8.0] + 7 * [0.0])
    assert int(revive(codebook, points, 0.05, generator)) == 7
    for _ in range(20):
        indices = (points @ codebook.entries.T).argmax(dim=1)
        follow(codebook, points, indices, 0.9)
        revive(codebook, points, 0.05, generator)
    counts = torch.bincount((points @ codebook.entries.T).argmax(dim=1), minlength=8)
    assert float(perplexity(counts.float())) > 4
    assert int(revive(codebook, points, 0.0, generator)) == 0


def test_perplexity_is_the_number_of_equally_used_entries() -> None:
    assert float(perplexity(torch.tensor([5.0, 5, 0, 5, 0]))) == pytest.approx(3)
    use = torch.tensor([3.0, 1])
    assert float(perplexity(use)) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
