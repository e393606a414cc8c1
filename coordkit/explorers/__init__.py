"""The notebooks' sliders: per layer a pure function, and the explorer that moves it."""
