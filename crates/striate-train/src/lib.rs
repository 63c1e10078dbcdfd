//! Data sets, augmentation, optimisers, schedules and the training loop of Striate
