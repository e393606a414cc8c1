"""What the notebooks' sliders show: one module per notebook, each a pure function and its dials."""
