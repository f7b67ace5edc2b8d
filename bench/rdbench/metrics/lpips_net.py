"""Load the `lpips` package's networks with trained weights, and with nothing else."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from rdbench.metrics.perceptual_net import PerceptualNet
from rdcodecs.torchvision_compat import ensure_torchvision


def load_lpips(backbone: str, heads: Path, trunk: Mapping[str, torch.Tensor]) -> PerceptualNet:
    """Return an LPIPS network.

    Args:
        backbone: "alex", "vgg" or "squeeze".
        heads: the file of the linear heads.
        trunk: the backbone's tensors by their names in torchvision.
    """
    ensure_torchvision()
    import lpips

    head_state = torch.load(heads, map_location="cpu", weights_only=True)
    # On the meta device no parameter has a value: nothing is drawn from torch's global generator, and what
    # the files leave out cannot pass for trained.
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torchvision\..*")
        model = lpips.LPIPS(net=backbone, pretrained=False, pnet_rand=True, verbose=False)
    # The package names a parameter sliceK.INDEX.x where torchvision has features.INDEX.x. Loading is strict.
    names = {name: "features." + name.partition(".")[2] for name in model.net.state_dict()}
    model.net.load_state_dict({name: trunk[theirs] for name, theirs in names.items()}, assign=True)
    for index, head in enumerate(model.lins):
        head.load_state_dict({n: head_state[f"lin{index}.{n}"] for n in head.state_dict()}, assign=True)
    stages = [getattr(model.net, f"slice{number}") for number in range(1, model.net.N_slices + 1)]
    return PerceptualNet(lpips.ScalingLayer(), stages, model.lins)
