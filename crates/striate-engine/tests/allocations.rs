//! A step allocates nothing: neither inference nor training, on one thread or two. Every allocation of the process is
//! counted, so this runs without the test harness and its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use striate_engine::{Parameters, Plan, PlanOptions, Session};
use striate_graph::ops::*;
use striate_graph::training::{self, ClassifierTraining, LEARNING_RATE, LOSS, MOMENTUM};
use striate_graph::{Builder, Graph};

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

fn main() {
    let net = network();
    let training = training::classifier(&net, &ClassifierTraining::default()).unwrap();
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
