"""What decides what a bundle becomes? All sections of `readrank.toml` that a training reads."""

from dataclasses import dataclass, field
from typing import get_type_hints

from encoders.text import TextConfig
from encoders.train import EncoderConfig
from ingest.workspace import Workspace
from ranker.boost import BlendConfig
from ranker.candidates import CandidatesConfig
from ranker.examples import ExamplesConfig
from ranker.factors import FactorsConfig
from ranker.neighbours import NeighboursConfig
from ranker.rules import RulesConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a bundle becomes."""

    text: TextConfig = field(default_factory=TextConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)
    candidates: CandidatesConfig = field(default_factory=CandidatesConfig)
    neighbours: NeighboursConfig = field(default_factory=NeighboursConfig)
    factors: FactorsConfig = field(default_factory=FactorsConfig)
    blend: BlendConfig = field(default_factory=BlendConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)

    @classmethod
    def of(cls, workspace: Workspace) -> "TrainConfig":
        """Read the section of `readrank.toml` that each field is named after."""
        return cls(**{name: workspace.section(name, section) for name, section in get_type_hints(cls).items()})
