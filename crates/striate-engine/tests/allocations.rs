//! A step allocates nothing: neither inference nor training, on one thread or two. Every allocation of the process is
//! counted, so this runs without the test harness and its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use striate_engine::{Parameters, Plan, PlanOptions, Session};
use striate_graph::ops::*;
use striate_graph::training::{self, ClassifierTraining, LEARNING_RATE, LOSS, MOMENTUM};
use striate_graph::{Builder, Graph, Init};

/// The system's allocator, counted.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Convolutions by both algorithms, strided and grouped ones, every normalisation, pools, branches, dropout.
fn network() -> Graph {
    let mut net = Builder::new("everything");
    let x = net.input("image", [3, 34, 34]);
    let x = net.conv2d("stem", x, Conv2d::new(32, 5).stride(2).padding(2));
    let x = net.relu(x);
    let x = net.local_response_norm(x, LocalResponseNorm::ALEXNET);
    let x = net.max_pool2d(x, MaxPool2d::new(3).stride(1).padding(1));
    let y = net.conv2d("conv1", x, Conv2d::new(32, 3).padding(1).no_bias());
    let y = net.batch_norm("bn1", y, BatchNorm::default());
    let x = net.add(y, x);
    let x = net.relu(x);
    let a = net.conv2d("a", x, Conv2d::new(16, 3).padding(1).groups(4));
    let b = net.avg_pool2d(x, AvgPool2d::new(3).stride(1).padding(1));
    let x = net.concat(&[a, b]);
    let x = net.activation(x, ActivationKind::Tanh);
    let x = net.global_avg_pool(x);
    let x = net.dropout(x, 0.3);
    let x = net.linear("fc", x, Linear::new(10));
    let x = net.softmax(x);
    net.output(x);
    net.finish().unwrap()
}

/// What works axis by axis.
fn arrays() -> Graph {
    let mut net = Builder::new("arrays");
    let x = net.input("image", [3, 34, 34]);
    let x = net.conv2d("stem", x, Conv2d::new(8, 5).stride(2).padding(2));
    let x = net.apply(Standardize { axes: vec![1, 2], eps: 1e-5 }, &[x]);
    let scale = net.parameter("scale", [8, 1, 1], Role::Scale, Init::ONES);
    let x = net.apply(Binary { kind: BinaryKind::Prelu }, &[x, scale]);
    let x = net.apply(PadAxis { mode: PadMode::Reflect, ..PadAxis::zeros(1, [2, 1]) }, &[x]);
    let (mode, coordinates) = (ResizeMode::Linear, Coordinates::HalfPixel);
    let x = net.apply(Resize { axis: 1, size: 12, scale: None, mode, coordinates }, &[x]);
    let x = net.apply(Resize { axis: 2, size: 12, scale: None, mode, coordinates }, &[x]);
    let x = net.apply(SpaceToDepth { block: 2, crd: false }, &[x]);
    let y = net.apply(Fold { kind: FoldKind::Max, axes: vec![1, 2] }, &[x]);
    let condition = net.apply(Binary::GREATER, &[x, y]);
    let y = net.apply(Where, &[condition, y, x]);
    let x = net.apply(Concat { axis: 1 }, &[x, y]);
    let x = net.apply(Flip { axis: 2 }, &[x]);
    let tokens = net.apply(Reshape { dims: vec![32, 72] }, &[x]);
    let turned = net.apply(Permute { axes: vec![1, 0] }, &[tokens]);
    let scores = net.apply(MatMul::default(), &[tokens, turned]);
    let scores = net.apply(Softmax { log: false, axis: 0 }, &[scores]);
    let mixed = net.apply(MatMul::default(), &[scores, tokens]);
    let part = net.apply(Slice { axis: 1, start: 0, end: 72, step: 3 }, &[mixed]);
    let tiled = net.apply(Tile { axis: 0, times: 2 }, &[part]);
    let x = net.activation(tiled, ActivationKind::Gelu);
    let x = net.linear("fc", x, Linear::new(10));
    let x = net.softmax(x);
    net.output(x);
    net.finish().unwrap()
}

fn main() {
    for net in [network(), arrays()] {
        allocates_nothing(&net);
    }
}

fn allocates_nothing(net: &Graph) {
    let training = training::classifier(net, &ClassifierTraining::default()).unwrap();
    for (graph, is_training) in [(net.inference(), false), (training, true)] {
        for threads in [1, 2] {
            let options = PlanOptions { threads, ..PlanOptions::new(4) };
            let mut session = Session::new(Plan::new(&graph, options).unwrap()).unwrap();
            session.load(&Parameters::init(&graph, 1)).unwrap();
            session.input("image").unwrap().fill(0.5);
            if is_training {
                session.input(LEARNING_RATE).unwrap()[0] = 1e-3;
                session.input(MOMENTUM).unwrap()[0] = 0.9;
            }
            session.run().unwrap();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..5 {
                session.run().unwrap();
            }
            let counted = ALLOCATIONS.load(Ordering::Relaxed) - before;
            assert_eq!(counted, 0, "{} allocates in a step with {threads} threads", graph.name);
            if is_training {
                assert!(session.scalar(LOSS).unwrap().is_finite());
            }
        }
    }
}
