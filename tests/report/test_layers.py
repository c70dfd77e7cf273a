import pytest

from multipath_gcn.report import layer_table, plot_channels


def layer(name, channels, parameters, macs):
    named = {"channels": channels, "parameters": parameters, "macs": macs}
    counts = {
        f"{what}_{when}": n for what, pair in named.items() for when, n in zip(("before", "after"), pair, strict=True)
    }
    return {"name": name, "kind": "Conv2d"} | counts


LAYERS = [layer("first", (16, 4), (432, 108), (1000, 250)), layer("second", (32, 32), (4608, 1152), (3000, 750))]


def test_table_lists_and_adds_up():
    lines = layer_table(LAYERS).splitlines()
    assert lines[2] == "| first | Conv2d | 4 | 16 | 108 | 432 | 250 | 1,000 | 25.0 % |"
    assert lines[-1] == "| all | | 36 | 48 | 1,260 | 5,040 | 1,000 | 4,000 | 25.0 % |"
    assert len(lines) == 5


def test_no_layers_are_an_empty_table():
    assert len(layer_table([]).splitlines()) == 2


@pytest.mark.parametrize("count", [1, 2, 60])
def test_picture_has_a_pair_of_bars_for_every_layer(count, tmp_path, monkeypatch):
    bars = []
    from matplotlib.axes import Axes

    draw = Axes.bar
    monkeypatch.setattr(
        Axes, "bar", lambda self, at, heights, **style: bars.append(heights) or draw(self, at, heights, **style)
    )
    plot_channels((LAYERS * count)[:count], tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 1000
    assert [len(heights) for heights in bars] == [count, count]
    assert bars[0][0] == 16 and bars[1][0] == 4
