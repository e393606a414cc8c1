"""The six coordination layers, one module each, in the order in which the ladder adds them."""

LAYERS = ("context", "planning", "execution", "state", "verification", "human")
