import torch

from rdcodecs.fusion.renormalize import match_neighbourhoods, match_statistics, window_at
from rdcodecs.hyperprior.statistics import Statistics, statistics


def pictures(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 70, 90, generator=torch.Generator().manual_seed(seed)) * 0.2 + 0.1


def test_statistics_become_those_wanted() -> None:
    wanted = statistics(pictures(1) * 1.7 - 0.4)
    found = statistics(match_statistics(pictures(0), wanted))
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.deviation, wanted.deviation)


def test_its_own_statistics_change_nothing() -> None:
    torch.testing.assert_close(match_statistics(pictures(0), statistics(pictures(0))), pictures(0))


def test_a_flat_picture_stays_finite() -> None:
    flat = torch.zeros(1, 3, 20, 20)
    wanted = Statistics(torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.3))
    torch.testing.assert_close(match_statistics(flat, wanted), torch.full_like(flat, 0.5))


def test_a_drift_of_colour_across_the_picture_goes() -> None:
    source = pictures(0)
    ramp = torch.linspace(-0.5, 0.5, 90).expand_as(source)
    mended = match_neighbourhoods(source + ramp, source, [33, 33])
    # But for the margin, where a ramp's mean is not its middle.
    torch.testing.assert_close(mended[..., 33:-33], source[..., 33:-33], atol=1e-5, rtol=0)


def test_detail_stays() -> None:
    source = torch.zeros(1, 3, 80, 80)
    source[..., ::2] = 0.2
    mended = match_neighbourhoods(source, torch.zeros_like(source), [33])
    torch.testing.assert_close(
        mended[..., 1::2] - mended[..., ::2], torch.full((1, 3, 80, 40), -0.2), atol=0.01, rtol=0
    )


def test_each_picture_has_its_window() -> None:
    made, wanted = pictures(0), pictures(1)
    both = match_neighbourhoods(made, wanted, [9, 21])
    for index, window in enumerate((9, 21)):
        alone = match_neighbourhoods(made[index : index + 1], wanted[index : index + 1], [window])
        assert torch.equal(both[index : index + 1], alone)
    assert not torch.equal(both, match_neighbourhoods(made, wanted, [21, 9]))


def test_windows_shrink_as_the_rate_grows() -> None:
    windows = [window_at(level, 8) for level in range(8)]
    assert windows == [21, 15, 11, 9, 7, 5, 5, 5]
    assert window_at(0, 1) == 21
