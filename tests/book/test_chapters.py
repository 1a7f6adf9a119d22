import nbformat

from kd_lib.book import chapters


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


def test_long_logs_are_folded_and_short_ones_and_pictures_are_not():
    line, picture = "a  epoch 1\n", nbformat.v4.new_output("display_data", {"text/html": "<img>"})
    outputs = [[line * 30], [line * 20], [line * 15, line * 15], [line * 30, picture], []]
    cells = [
        nbformat.v4.new_code_cell(
            "x", outputs=[o if o is picture else nbformat.v4.new_output("stream", text=o) for o in each]
        )
        for each in outputs
    ]
    chapters.fold_logs(nbformat.v4.new_notebook(cells=cells))
    assert [cell.metadata.get("tags") for cell in cells] == [["hide-output"], None, ["hide-output"], None, None]
    assert cells[2].metadata.mystnb["code_prompt_show"] == "Show 30 lines"


def test_widgets_leave_their_picture_and_no_state():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/html": "<img>"}
    outputs = [nbformat.v4.new_output("display_data", view), nbformat.v4.new_output("stream", text="x")]
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("w", outputs=outputs)], metadata={"widgets": {}})
    chapters.without_widgets(node)
    assert node.cells[0].outputs[0].data == {"text/html": "<img>"}
    assert "widgets" not in node.metadata
