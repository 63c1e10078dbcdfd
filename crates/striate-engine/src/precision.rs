//! Which values a plan stores in less than float32.

use crate::place::Storage;
use crate::units::viewed_values;
use striate_graph::ops::Op;
use striate_graph::{DType, Graph};
use striate_kernels::ElementType;

/// Operations whose operands and results keep float32: what is summed or exponentiated over many elements.
fn needs_float32(op: &Op) -> bool {
    matches!(
        op,
        Op::Softmax(_)
            | Op::SoftmaxBackward(_)
            | Op::CrossEntropy(_)
            | Op::CrossEntropyBackward(_)
            | Op::BceWithLogits(_)
            | Op::BceWithLogitsBackward(_)
            | Op::MeanSquaredError(_)
            | Op::MeanSquaredErrorBackward(_)
            | Op::Reduce(_)
            | Op::Expand(_)
    )
}

/// How each value, by index, is stored. Views share the storage of what they view.
pub(crate) fn storages(graph: &Graph, precision: ElementType) -> Vec<Storage> {
    let viewed = viewed_values(graph);
    let mut full = vec![precision == ElementType::F32; graph.value_count()];
    for (_, node) in graph.nodes() {
        let values = node.inputs.iter().chain(&node.outputs);
        let leaf = node.op.is_leaf();
        for value in values.filter(|value| leaf || needs_float32(&node.op) || !graph.ty(**value).batched) {
            full[viewed[value.index()].index()] = true;
        }
    }
    for output in graph.outputs() {
        full[viewed[output.value.index()].index()] = true;
    }
    let mut storages = vec![Storage::F32; graph.value_count()];
    for value in graph.nodes().flat_map(|(_, node)| &node.outputs) {
        storages[value.index()] = match graph.ty(*value).dtype {
            DType::F32 if !full[viewed[value.index()].index()] => Storage::Bf16,
            dtype => Storage::of(dtype),
        };
    }
    storages
}
