"""What every figure must satisfy."""

import itertools

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg


def assert_texts_are_apart(figure):
    """No two texts that are drawn overlap, and none is cut off; slanted ones aside, whose boxes are mostly empty."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = {text for text in figure.findobj(plt.Text) if text.get_text().strip() and text.get_rotation() in (0, 90)}
    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = axis.get_major_ticks() + axis.get_minor_ticks()
        texts -= {tick.label1 for tick in ticks if not low <= tick.get_loc() <= high}  # these are not drawn
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts if text.get_visible()}
    for text, box in boxes.items():
        assert box.x0 > -1 and box.y0 > -1 and box.x1 < figure.bbox.x1 + 1 and box.y1 < figure.bbox.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        assert a.x0 > b.x1 or b.x0 > a.x1 or a.y0 > b.y1 or b.y0 > a.y1, (one, other)
