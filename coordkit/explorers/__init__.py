"""The sliders of the notebooks: a pure function each, in the wrapper of coordkit.widgets."""
