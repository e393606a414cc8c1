import plotly.graph_objects as go

from coordkit.widgets import Dial, Explorer, Shown


def chain(p: float, steps: int) -> Shown:
    return Shown(f"success {p**steps:.1%}", [{"y": [p**steps]}], title=f"{steps} steps")


DIALS = [
    Dial("p", "reliability", 0.8, 1.0, 0.01, 0.97, ".0%"),
    Dial("steps", "steps", 1, 12, 1, 6),
]


def made() -> Explorer:
    return Explorer(DIALS, go.Figure(go.Scatter(x=[0], y=[0])), chain)


def test_it_begins_at_the_dials_values() -> None:
    explorer = made()
    assert explorer.values() == {"p": 0.97, "steps": 6}
    assert "success 83.3%" in explorer.readout.value
    assert explorer.figure.data[0].y == (0.97**6,)
    assert explorer.figure.layout.title.text == "6 steps"


def test_moving_a_slider_moves_figure_and_readout_together() -> None:
    explorer = made()
    explorer.sliders["steps"].value = 2
    assert "success 94.1%" in explorer.readout.value
    assert explorer.figure.data[0].y == (0.97**2,)
    explorer.sliders["p"].value = 0.5  # beyond its range: held at the end
    assert explorer.values()["p"] == 0.8
    assert "success 64.0%" in explorer.readout.value


def test_a_whole_number_s_slider_gives_whole_numbers() -> None:
    assert isinstance(made().values()["steps"], int)


def test_the_readout_is_announced_to_screen_readers() -> None:
    assert 'role="status"' in made().readout.value
