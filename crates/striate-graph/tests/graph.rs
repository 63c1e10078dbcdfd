//! Graphs from definition to training: shapes, all errors at once, accounting, gradients as graphs.

use striate_graph::analysis::summarise;
use striate_graph::ops::*;
use striate_graph::training::{self, ClassifierTraining};
use striate_graph::{Builder, Graph, Problem};

fn lenet5() -> Graph {
    let mut net = Builder::new("lenet5");
    let mut x = net.input("image", [1, 32, 32]);
    for (name, maps) in [("conv1", 6), ("conv2", 16)] {
        x = net.conv2d(name, x, Conv2d::new(maps, 5));
        x = net.relu(x);
        x = net.max_pool2d(x, MaxPool2d::new(2));
    }
    x = net.conv2d("conv3", x, Conv2d::new(120, 5));
    x = net.relu(x);
    x = net.linear("fc1", x, Linear::new(84));
    x = net.relu(x);
    x = net.linear("fc2", x, Linear::new(10));
    x = net.softmax(x);
    net.output(x);
    net.finish().unwrap()
}

#[test]
fn lenet5_accounting() {
    let graph = lenet5();
    assert_eq!(graph.parameter_count(), 61_706);
    let summary = summarise(&graph);
    assert_eq!((summary.total.params, summary.total.macs), (61_706, 416_520));
    let find = |name: &str| summary.layers.iter().find(|l| l.name == name).unwrap();
    let conv2 = find("conv2");
    assert_eq!(conv2.output, [16, 10, 10]);
    let field = conv2.receptive_field.unwrap();
    assert_eq!((field.size, field.stride, field.offset), ([14, 14], [2, 2], [0, 0]));
    assert_eq!(find("fc1").receptive_field.unwrap().size, [32, 32]);
}

#[test]
fn the_lectures_first_convolution() {
    let mut net = Builder::new("recap");
    let x = net.input("image", [3, 32, 32]);
    let x = net.conv2d("conv", x, Conv2d::new(6, 5));
    net.output(x);
    let summary = summarise(&net.finish().unwrap());
    let layer = &summary.layers[1];
    assert_eq!((layer.output.as_slice(), layer.params, layer.macs), ([6, 28, 28].as_slice(), 456, 352_800));
}

#[test]
fn all_errors_come_at_once_with_numbers_and_remedies() {
    let mut net = Builder::new("wrong");
    let x = net.input("image", [64, 8, 8]);
    let a = net.conv2d("conv2_1", x, Conv2d::new(64, 3).groups(3));
    let b = net.conv2d("conv2_2", a, Conv2d::new(64, 11));
    let b = net.relu(b); // behind an error: not reported again
    let c = net.max_pool2d(x, MaxPool2d::new(2));
    let sum = net.add(a, c);
    net.conv2d("conv2_1", x, Conv2d::new(64, 3));
    net.output(b);
    net.auxiliary("sum", sum);
    let errors = net.finish().unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.0.len(), 6, "{text}"); // groups of both sides, window in rows and columns, shapes, name
    for part in [
        "conv2_1 (conv2d on N×64×8×8): groups 3 does not divide 64 input channels; choose groups that divide 64: 1, 2, 4",
        "conv2_2 (conv2d on N×64×6×6): a window of 11 rows does not fit an input of 6 rows padded by 0; use a smaller",
        "shapes N×64×6×6 and N×64×4×4 do not combine",
        "the name 'conv2_1' is taken",
    ] {
        assert!(text.contains(part), "missing {part:?} in:\n{text}");
    }
}

#[test]
fn absurd_sizes_are_errors() {
    let mut net = Builder::new("huge");
    let x = net.input("image", [3, 224, 224]);
    let x = net.conv2d("conv", x, Conv2d::new(usize::MAX / 2, 3));
    let x = net.linear("fc", x, Linear::new(usize::MAX));
    net.output(x);
    assert!(net.finish().unwrap_err().0.iter().any(|e| e.problem == Problem::TooLarge));
}

#[test]
fn training_is_a_graph() {
    let graph = training::classifier(&lenet5(), &ClassifierTraining::default()).unwrap();
    let updates = graph.nodes().filter(|(_, node)| matches!(node.op, Op::SgdUpdate(_))).count();
    assert_eq!(updates, 10);
    let names: Vec<&str> = graph.inputs().map(|(node, _)| node.name.as_str()).collect();
    assert_eq!(names, ["image", training::LABELS, training::LEARNING_RATE, training::MOMENTUM]);
    assert!(
        !graph
            .nodes()
            .any(|(_, node)| matches!(&node.op, Op::Conv2dBackwardData(b) if b.dims == [1, 32, 32])),
        "the image's gradient is not asked for"
    );
}

#[test]
fn a_stride_that_does_not_cover_the_input_is_said() {
    let mut net = Builder::new("stride");
    let x = net.input("image", [3, 8, 9]);
    let x = net.conv2d("conv", x, Conv2d::new(4, 3).stride(2));
    net.output(x);
    assert_eq!(summarise(&net.finish().unwrap()).layers[1].unread, [1, 0]);
}

#[test]
fn inference_drops_auxiliary_heads() {
    let mut net = Builder::new("heads");
    let x = net.input("image", [3, 8, 8]);
    let x = net.conv2d("conv", x, Conv2d::new(4, 3));
    let main = net.linear("fc", x, Linear::new(10));
    let aux = net.linear("aux", x, Linear::new(10));
    net.output(main);
    net.auxiliary("aux1", aux);
    let graph = net.finish().unwrap();
    assert_eq!(graph.parameter_count() - graph.inference().parameter_count(), 4 * 36 * 10 + 10);
}

#[test]
fn padding_modes_are_spelled_out_for_training() {
    let mut net = Builder::new("reflect");
    let x = net.input("image", [3, 8, 8]);
    let conv = Conv2d { padding_mode: PadMode::Reflect, ..Conv2d::new(4, 3).padding(1) };
    let x = net.conv2d("a", x, conv);
    let x = net.conv2d("b", x, conv);
    let x = net.linear("fc", x, Linear::new(10));
    net.output(x);
    let graph = training::classifier(&net.finish().unwrap(), &ClassifierTraining::default()).unwrap();
    assert!(graph.nodes().any(|(_, node)| matches!(node.op, Op::PadBackward(_))));
}

#[test]
fn names_of_trainings_own_inputs_are_reserved() {
    let mut net = Builder::new("names");
    let x = net.input("image", [1, 8, 8]);
    let x = net.linear(training::LABELS, x, Linear::new(4));
    net.output(x);
    let error = training::classifier(&net.finish().unwrap(), &ClassifierTraining::default()).unwrap_err();
    assert!(error.to_string().contains("rename 'labels'"), "{error}");
}

#[test]
fn locally_connected_weights_count_the_inputs_of_a_window() {
    assert_eq!(striate_graph::fans(&[36, 16, 3, 5, 5]), (75, 400));
    assert_eq!(striate_graph::fans(&[16, 3, 5, 5]), (75, 400));
}
