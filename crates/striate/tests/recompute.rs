//! Recomputation of networks of the zoo: each level's plan takes no more memory than the one before.

use striate::graph::training::{self, ClassifierTraining};
use striate::graph::{Recompute, recompute};
use striate::prelude::*;

#[test]
fn each_level_takes_no_more_memory_than_the_one_before() {
    for (network, batch) in [("resnet50", 16), ("vgg16", 8), ("googlenet-bn", 16)] {
        let training =
            training::classifier(&zoo::build(network).unwrap(), &ClassifierTraining::default()).unwrap();
        let arena = [Recompute::None, Recompute::Cheap, Recompute::Blocks].map(|level| {
            let options = PlanOptions { threads: 2, ..PlanOptions::new(batch) };
            Plan::new(&recompute(&training, level), options).unwrap().arena_bytes()
        });
        println!("{network}, batch {batch}: {arena:?}");
        assert!(arena.is_sorted_by(|a, b| a >= b), "{network}: {arena:?} bytes");
        assert!(arena[2] < arena[0], "{network}: {arena:?} bytes");
    }
}
