//! The classic convolutional networks, defined once, variants as rows
