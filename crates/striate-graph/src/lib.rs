//! Convolutional networks as data: graph, operations, notation, automatic differentiation, analysis
