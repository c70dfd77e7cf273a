import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from multipath_gcn.report import plots, read_runs, summarise
from multipath_gcn.report.labels import place_labels


@pytest.fixture
def draw(runs, tmp_path, monkeypatch):
    """Draws one of the figures and gives the figure and its picture."""
    kept = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: (kept.append(figure), save(figure, path)))

    def draw(name):
        found, _ = read_runs([runs])
        path = tmp_path / f"{name}.png"
        args = (summarise(found), found) if name == "curves" else (summarise(found),)
        getattr(plots, name)(*args, path)
        picture = matplotlib.image.imread(path)
        assert min(picture.shape[:2]) > 400
        assert len({tuple(colour) for colour in picture[::7, ::7].reshape(-1, picture.shape[2])}) > 10
        return kept[-1]

    return draw


def test_unequal_histories(draw, write_run):
    write_run("a", seed=0, curve=(0.5, 0.6, 0.7, 0.8, 0.9))
    write_run("b", seed=1, curve=(0.7, 0.8))
    [ax] = draw("curves").axes
    solid, dotted = ax.lines
    assert solid.get_xydata().tolist() == [[1, pytest.approx(60)], [2, pytest.approx(70)]]
    assert dotted.get_linestyle() == ":"
    assert dotted.get_xdata().tolist() == [2, 3, 4, 5]
    assert dotted.get_ydata().tolist() == pytest.approx([70, 70, 80, 90])
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 0].max() == 2
    # 50 and 70: mean 60, unbiased deviation sqrt(200).
    first = band[band[:, 0] == 1][:, 1]
    assert (first.min(), first.max()) == pytest.approx((60 - 200**0.5, 60 + 200**0.5))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["plain (2 seeds)"]


def test_one_panel_per_data_set(draw, write_run):
    for data in ("a", "b", "c", "d"):
        write_run(data, data=data, synthetic=data == "d")
    titles = [ax.get_title() for ax in draw("curves").axes]
    assert titles == ["a", "b", "c", "d (synthetic)"]
    assert [ax.get_title() for ax in draw("parameters").axes] == titles


def test_metric_is_named(draw, write_run):
    write_run("a", metric="rocauc")
    assert draw("curves").axes[0].get_ylabel() == "validation ROC-AUC (%)"
    assert draw("parameters").axes[0].get_ylabel() == "test ROC-AUC (%)"


def test_single_epoch_and_no_curve_at_all(draw, write_run):
    write_run("a", curve=(0.5,), best_epoch=1)
    (write_run("b", data="other") / "history.csv").unlink()
    first, second = draw("curves").axes
    assert first.lines[0].get_marker() == "o"
    assert second.texts[0].get_text() == "no readable history"


def test_many_rows(draw, write_run):
    for index in range(14):
        write_run(f"r{index}", config=f"c{index:02}", test=0.5 + 0.01 * index, parameters=1000 * 2**index)
    [ax] = draw("curves").axes
    assert len(ax.get_legend().get_texts()) == plots.MOST_CURVES
    assert "4 of 14 rows" in ax.get_legend().get_title().get_text()
    assert draw("parameters").axes[0].get_xscale() == "log"


@pytest.mark.parametrize("parameters", [0, 1, 10**12])
def test_extreme_sizes(draw, write_run, parameters):
    write_run("a", parameters=parameters)
    draw("parameters")


def test_equal_sizes_stand_side_by_side(draw, write_run):
    for seed in (0, 1):
        for model in ("plain", "residual", "multipath"):
            write_run(f"{model}{seed}", seed=seed, model=model, test=0.8 + 0.02 * seed)
    [ax] = draw("parameters").axes
    centres = [line.get_transform().transform((217479, 81))[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert len(set(np.round(centres))) == 3
    assert {text.get_text() for text in ax.texts} >= {"plain", "residual", "multipath"}


def test_labels_do_not_overlap():
    figure = Figure(figsize=(5, 4), dpi=100)
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    rng = np.random.default_rng(0)
    points = [(x, y, 0.02, 0.0) for x, y in rng.random((12, 2))]
    points += [(0.5, 0.5, 0.1, -5.0), (0.5, 0.51, 0.1, 5.0)]
    ax.plot([0, 1], [0, 1], alpha=0)
    place_labels(ax, points, [f"model {index}" for index in range(len(points))])
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in ax.texts if text.get_text()]
    assert len(boxes) == len(points)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert not any(box.contains(*ax.transData.transform(point[:2])) for point in points)
