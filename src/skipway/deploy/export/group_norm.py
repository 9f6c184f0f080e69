"""Group normalisation in OpenVINO as the operations that it consists of."""

from typing import Any

import numpy as np


def decompose_group_norms(graph: Any) -> None:
    """Replace every GroupNormalization of an ov.Model by reshapes, MVN, and a scale and a shift of each channel, if one
    of them is multiplied afterwards.

    OpenVINO 2026.4 crashes when it compiles such a product with a tensor (N, C, 1, 1), where a residual unit is scaled
    by an embedding, for the processor in float32 and a fixed batch; and it takes longer without this replacement.
    """
    from openvino import opset13 as ops

    norms = [op for op in graph.get_ordered_ops() if op.get_type_name() == "GroupNormalization"]
    readers = [place.get_node().get_type_name() for norm in norms for place in norm.output(0).get_target_inputs()]
    if "Multiply" not in readers:
        return
    for norm in norms:
        settings, (x, scale, shift) = norm.get_attributes(), norm.input_values()
        grouped = ops.reshape(x, np.array([0, settings["num_groups"], -1]), special_zero=True)
        unit = ops.mvn(grouped, np.array([2]), True, settings["epsilon"], "inside_sqrt")
        columns = np.array([1, -1, *[1] * (len(x.get_partial_shape()) - 2)])
        scaled = ops.multiply(ops.reshape(unit, ops.shape_of(x), False), ops.reshape(scale, columns, False))
        norm.output(0).replace(ops.add(scaled, ops.reshape(shift, columns, False)).output(0))
    graph.validate_nodes_and_infer_types()
