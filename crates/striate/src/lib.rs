//! Convolutional networks in Rust: define, understand, train, look inside, ship
