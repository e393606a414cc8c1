"""Sliders of the notebooks: one module per layer, each a pure function in a thin widget."""
