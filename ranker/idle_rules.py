"""Which settings under `[rules]` name what no item has, so that they do nothing, or nothing good?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ranker.attributes import numbers
from ranker.caps import CATEGORY, capped_values
from ranker.catalogue import Catalogue
from ranker.rules import RulesConfig


def idle_rules(folder: Path, rules: RulesConfig) -> Iterator[str]:
    """Tell it in a sentence each, by the catalogue of a bundle; it is read only where a setting names something."""
    capped = [name for name, limit in rules.caps.items() if limit]
    named_price = rules.price_attribute != RulesConfig.price_attribute
    if not capped and not named_price:
        return
    catalogue = Catalogue.load(folder)
    for name in capped:
        if not any(capped_values(catalogue, name)):
            what = "a category" if name == CATEGORY else f"an attribute {name!r}"
            yield f"caps under [rules]: no item has {what}, so {name} = {rules.caps[name]} caps nothing"
    if named_price and np.isnan(numbers(catalogue, rules.price_attribute)).all():
        yield (
            f"price_attribute under [rules]: no item has a number as its {rules.price_attribute!r}, "
            "so questions with min_price or max_price find nothing"
        )
