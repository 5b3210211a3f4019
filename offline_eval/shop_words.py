"""Which words describe the goods of the simulated shop? Each aspect has some, and each of them several phrases.

Each word of an aspect has several phrases, so that two items of one taste often share no token: a reader of meaning
can do better than a counter of words. All shops, brands and goods are invented.
"""

PHRASES = dict[str, tuple[str, ...]]

DEPARTMENTS: dict[str, tuple[str, ...]] = {
    "Kitchen": ("cutting board", "mixing bowl", "coffee dripper", "spice jar", "bread knife", "serving tray", "teapot"),
    "Garden": ("planter", "watering can", "seed box", "hand trowel", "bird feeder", "trellis", "garden bench"),
    "Music": ("ukulele", "hand drum", "music stand", "kalimba", "guitar strap", "metronome", "record crate"),
    "Hair": ("shampoo", "conditioner", "hair mask", "styling cream", "hair brush", "comb", "scalp serum"),
    "Desk": ("notebook", "pen tray", "desk lamp", "letter opener", "planner", "monitor stand", "pencil case"),
    "Outdoor": ("camp stool", "water bottle", "lantern", "picnic blanket", "cooking set", "hammock", "day pack"),
    "Play": ("building set", "puzzle", "rocking horse", "card game", "marble run", "kite", "doll house"),
    "Rest": ("pillow", "throw", "scented candle", "bath mat", "incense holder", "eye mask", "bedside table"),
}
"""Department (the category that a catalogue shows) and its product types."""

SOLID: PHRASES = {
    "oak": ("oak", "solid oak", "European oak with a visible grain", "oakwood"),
    "bamboo": ("bamboo", "fast-growing bamboo", "pressed bamboo fibre"),
    "steel": ("stainless steel", "brushed steel", "steel", "rust-free steel"),
    "ceramic": ("ceramic", "stoneware", "glazed earthenware", "fired clay"),
    "glass": ("glass", "clear borosilicate glass", "mouth-blown glass"),
    "cotton": ("cotton", "woven cotton", "combed cotton canvas"),
    "leather": ("leather", "full-grain leather", "saddle leather"),
    "cork": ("cork", "natural cork", "cork from Portugal"),
}
"""What things are made of; for every department but Hair."""

INGREDIENTS: PHRASES = {
    "argan": ("argan oil", "cold-pressed argan", "argan"),
    "rosemary": ("rosemary", "rosemary extract", "wild rosemary"),
    "aloe": ("aloe vera", "aloe gel", "the juice of aloe leaves"),
    "keratin": ("keratin", "keratin protein", "hydrolysed keratin"),
    "coconut": ("coconut", "coconut milk", "virgin coconut oil"),
    "citrus": ("citrus", "lemon peel", "grapefruit and bergamot"),
}
"""What hair care is made of."""

STYLES: PHRASES = {
    "minimalist": ("minimalist", "pared back to the essentials", "clean lines and nothing else", "quiet and plain"),
    "rustic": ("rustic", "with the charm of a farmhouse", "rough-hewn country look"),
    "vintage": ("vintage", "as our grandparents knew it", "with a nineteen-fifties look", "retro"),
    "colourful": ("colourful", "in bright colours", "a cheerful riot of colour"),
    "industrial": ("industrial", "with a factory-loft look", "raw and mechanical"),
    "nordic": ("nordic", "light and airy in the Scandinavian way", "inspired by Danish homes"),
    "playful": ("playful", "with a wink", "made to raise a smile"),
    "elegant": ("elegant", "refined and slender", "for the well-laid table"),
    "bohemian": ("bohemian", "boho patterns and fringes", "with a free-spirited pattern"),
}
"""How things look."""

VALUES: PHRASES = {
    "vegan": ("vegan", "free of anything from animals", "entirely plant-based"),
    "handmade": ("handmade", "made by hand in a small workshop", "each piece crafted by a single maker"),
    "recycled": ("recycled", "made anew from what others threw away", "from reclaimed raw materials"),
    "local": ("locally made", "produced less than an hour from our shop", "from the region"),
    "fair": ("fairly traded", "paying its makers a decent wage", "fair trade"),
    "durable": ("built to last", "with a thirty-year guarantee", "made to be handed down"),
    "budget": ("easy on the budget", "good value", "costs little and does its work"),
    "fragrance-free": ("fragrance-free", "without any scent", "unscented for sensitive people"),
    "limited": ("a limited edition", "numbered, only a few hundred exist", "sold once and never again"),
}
"""What things stand for."""

USES: PHRASES = {
    "travel": ("for travel", "fits in any suitcase", "at home on the road"),
    "families": ("for families", "survives small children", "for households with kids"),
    "beginners": ("for beginners", "needs no experience", "an easy first step"),
    "professionals": ("for professionals", "used daily by people of the trade", "workshop grade"),
    "small rooms": ("for small rooms", "takes next to no space", "folds flat in a tiny flat"),
    "gifts": ("as a gift", "comes wrapped with a ribbon", "for the person who has everything"),
    "rainy days": ("for rainy days", "for long afternoons indoors", "when the weather keeps you in"),
    "parties": ("for parties", "when friends come round", "for a full table"),
    "early mornings": ("for early mornings", "before the house wakes", "starts the day calmly"),
}
"""What things are good for."""

BRANDS: tuple[str, ...] = (
    "Alder & Finch", "Brackwater", "Cobalt Hare", "Dunmore", "Elmira", "Fenwick Row", "Gullhaven", "Hollowell",
    "Ivory Lane", "Juniper Works", "Kestrel", "Lowland Supply", "Marrow & Co", "Nightjar", "Ostra", "Pell Street",
)  # fmt: skip
"""Invented makers."""

SERIES: tuple[str, ...] = (
    "Aster", "Birch", "Clover", "Dune", "Ember", "Fjord", "Grove", "Harbour", "Isle", "Jetty", "Knoll", "Lark",
    "Moss", "North", "Orchard", "Pebble", "Quill", "Reed", "Slate", "Tide", "Umber", "Vale", "Willow", "Yarrow",
)  # fmt: skip
"""Names of series: they tell items apart and carry no taste."""

TITLES: tuple[str, ...] = (
    "{brand} {series} {type}, {material}",
    "{series} {type} ({style})",
    "{brand} {type} {series}: {value}",
    "{type} {series} by {brand}",
    "{series} {type}, {use}",
)
"""Each title shows one or two aspects; the description tells the others."""

SENTENCES: dict[str, tuple[str, ...]] = {
    "material": (
        "The main thing in it is {material}.",
        "Our {type} relies on {material}.",
        "At its heart: {material}.",
    ),
    "style": ("The look is {style}.", "In appearance: {style}.", "You will find it {style}."),
    "value": ("It is {value}.", "What matters to its makers: {value}.", "Good to know: {value}."),
    "use": ("We recommend it {use}.", "People choose it {use}.", "Just right {use}."),
    "brand": ("A new {type} from the house of {brand}.", "{brand} has made each {type} with care for years."),
}
"""One sentence of a description for each aspect."""

FILLERS: tuple[str, ...] = (
    "Ships within two days.", "Returns are free for a month.", "Photographs by our own studio.",
    "See the size chart before you order.", "Customers often order two.", "Back in stock after a long wait.",
)  # fmt: skip
"""Sentences that say nothing of taste."""

PEAK_DAY: dict[str, int] = {
    "Garden": 125, "Outdoor": 195, "Play": 345, "Rest": 20, "Desk": 245, "Kitchen": 320, "Music": 330, "Hair": 160,
    "gifts": 345, "travel": 200, "rainy days": 305, "parties": 355, "colourful": 140, "rustic": 290,
}  # fmt: skip
"""Day of the year on which a word is wanted most; words without one know no season."""
