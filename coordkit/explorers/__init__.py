"""Sliders for the layers: one module per notebook, a pure function and the widget around it."""
