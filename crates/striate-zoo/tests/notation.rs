//! Every network of the zoo as text and back.

use striate_graph::notation::{parse, print};

#[test]
fn every_network_reads_back_exactly() {
    for name in striate_zoo::names().chain(["mlp-784-100-10"]) {
        let graph = striate_zoo::build(name).unwrap();
        let text = print(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(parse(&text).unwrap(), graph, "{name}:\n{text}");
    }
}
