import nbformat

from kd_lib import chapters


def test_labels_and_what_refers_to_them_are_renamed_and_nothing_else():
    figure = nbformat.v4.new_code_cell("fig_one", metadata={"mystnb": {"figure": {"name": "fig-one"}}})
    text = (
        "(here)=\n# T\n\n{numref}`fig-one`, {ref}`words <here>`, [words](#here), {numref}`fig-other`; fig-one\n\n"
        "$$ x $$ (eq-x)\n\n{eq}`eq-x`"
    )
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text), figure])
    chapters.rename_labels([node], "p")
    assert node.cells[0].source == (
        "(p-here)=\n# T\n\n{numref}`p-fig-one`, {ref}`words <p-here>`, [words](#p-here), {numref}`fig-other`; fig-one"
        "\n\n$$ x $$ (p-eq-x)\n\n{eq}`p-eq-x`"
    )
    assert node.cells[1].metadata.mystnb.figure.name == "p-fig-one"
    assert node.cells[1].source == "fig_one"


def test_widgets_leave_their_picture_and_no_state():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/html": "<img>"}
    outputs = [nbformat.v4.new_output("display_data", view), nbformat.v4.new_output("stream", text="x")]
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("w", outputs=outputs)], metadata={"widgets": {}})
    chapters.without_widgets(node)
    assert node.cells[0].outputs[0].data == {"text/html": "<img>"}
    assert "widgets" not in node.metadata
