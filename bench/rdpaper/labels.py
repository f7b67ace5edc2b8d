"""The parts of the paper's comparisons, and the labels that play them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Labels:
    """The labels of the records that play the paper's parts; a curve's full name will do as well."""

    ours: str = field(default="Ours", metadata={"part": "our codec: attentive fusion, with fidelity enhancement"})
    additive: str = field(default="Ours-AE", metadata={"part": "our codec with additive fusion"})
    unrenormalized: str = field(default="Ours-FE", metadata={"part": "our codec without fidelity enhancement"})
    perco: str = field(default="perco", metadata={"part": "PerCo"})
    vtm: str = field(default="vtm", metadata={"part": "VVC by VTM; claims about VVC are held against it"})
    vvenc: str = field(default="vvenc", metadata={"part": "VVC by vvenc; stands for VVC where VTM is missing"})
