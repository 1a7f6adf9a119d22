import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lib.maps.incremental.parts import Span


@st.composite
def spans(draw):
    full, kernel, dilation = draw(st.integers(4, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
    size, reach = draw(st.integers(1, full)), dilation * (kernel - 1) + 1
    padding = draw(st.integers(max(0, (reach - full + 1) // 2), kernel // 2 + max(0, reach - full)))
    starts = draw(st.lists(st.integers(0, full - size), min_size=1, max_size=4))
    return Span(torch.tensor(starts), size, full), (kernel, draw(st.integers(1, 4)), padding, dilation)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(spans())
def test_a_span_reaches_exactly_the_outputs_that_change(case):
    span, (kernel, stride, padding, dilation) = case
    if span.full + 2 * padding < dilation * (kernel - 1) + 1:
        return
    changes = []
    for start in span.start.tolist():
        row = torch.zeros(1, 1, span.full)
        row[..., start : start + span.size] = 1
        weight = torch.ones(1, 1, kernel)
        changes.append(F.conv1d(row, weight, stride=stride, padding=padding, dilation=dilation)[0, 0] > 0)
    reached = span.reached(kernel, stride, padding, dilation, len(changes[0]))
    assert reached.full == len(changes[0])
    for start, changed in zip(reached.start.tolist(), changes, strict=True):
        assert 0 <= start <= reached.full - reached.size
        places = changed.nonzero().flatten().tolist()
        assert all(start <= place < start + reached.size for place in places)
    if dilation == 1:  # nothing more than needed (a dilated kernel can step over the part)
        widest = max(
            (int(places[-1] - places[0]) + 1 for c in changes if len(places := c.nonzero().flatten())), default=1
        )
        assert reached.size == max(1, widest)


def test_spans_by_hand():
    # ResNet's stem: a patch of 4 of 32 pixels, a 7-wide kernel with stride 2 and padding 3, reach 5 of 16 outputs
    stem = Span(torch.tensor([0, 14, 28]), 4, 32).reached(7, 2, 3, 1, 16)
    assert (stem.start.tolist(), stem.size) == ([0, 6, 11], 5)
    needed = stem.needed(7, 2, 3, 1)
    assert (needed.start.tolist(), needed.size) == ([-3, 9, 19], 15)
    both = Span(torch.tensor([0, 5]), 2, 8).united(Span(torch.tensor([1, 3]), 3, 8))
    assert (both.start.tolist(), both.size) == ([0, 3], 4)
