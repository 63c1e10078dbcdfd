//! Sizes that no memory holds are refused, whatever they would wrap to.

use striate_kernels::activation::{self, Activation};
use striate_kernels::conv::Conv2dGeometry;
use striate_kernels::copy::copy_box;
use striate_kernels::local;
use striate_kernels::pool::{self, Pool2dGeometry};
use striate_kernels::reduce::Reduction;
use striate_kernels::{Context, Pixels, PixelsMut, Serial};

/// Three times this is 2 beyond a `usize`.
const THIRD: usize = usize::MAX / 3 + 1;
/// The square of this is just beyond a `usize`.
const ROOT: usize = 1 << (usize::BITS / 2);

#[test]
#[should_panic(expected = "apart, overflow")]
fn distances_of_pixels() {
    let (src, mut dst) = ([0.0; 3], [0.0; 3]);
    let (src, dst) = (Pixels::new(&src, THIRD), PixelsMut::new(&mut dst, THIRD));
    activation::forward(&Context::new(&Serial), Activation::Relu, src, dst, 4, 1);
}

#[test]
#[should_panic(expected = "elements overflow")]
fn maps_to_pool() {
    let g = Pool2dGeometry::global(1, 1, ROOT, ROOT);
    pool::max_forward(&Context::new(&Serial), &g, Pixels::new(&[], 1), PixelsMut::new(&mut [0.0], 1));
}

#[test]
#[should_panic(expected = "elements overflow")]
fn windows_with_indices() {
    let g = Pool2dGeometry { kh: ROOT, kw: ROOT, ..Pool2dGeometry::global(1, 1, 1, 1) };
    let (src, mut dst) = ([0.0], [0.0]);
    let (src, dst) = (Pixels::new(&src, 1), PixelsMut::new(&mut dst, 1));
    pool::max_forward_indexed(&Context::new(&Serial), &g, src, dst, &mut [0u8]);
}

#[test]
#[should_panic(expected = "] overflow")]
fn strides_of_boxes() {
    let steps = [0, 0, 0, THIRD];
    copy_box(&Context::new(&Serial), [1, 1, 1, 4], &[0.0; 4], [0, 0, 0, 1], &mut [0.0; 4], steps);
}

#[test]
#[should_panic(expected = "elements overflow")]
fn weights_of_positions() {
    let g: Conv2dGeometry = "ic2 ih1 oc1 kh1".parse().unwrap();
    let g = Conv2dGeometry { n: 0, oc: 1 << (usize::BITS - 1), ..g };
    let (src, dst) = (Pixels::new(&[], 2), PixelsMut::new(&mut [], g.oc));
    local::forward(&Context::new(&Serial), &g, src, &[], None, dst);
}

#[test]
#[should_panic(expected = "elements overflow")]
fn maps_to_reduce() {
    let sum = Reduction { shape: [1, ROOT, ROOT, 1], axes: [true; 4], ld: [1, 1] };
    let mut dst = [0.0];
    let (src, dst) = (Pixels::new(&[], 1), PixelsMut::new(&mut dst, 1));
    sum.run(&Context::new(&Serial), src, 1.0, dst, &mut []);
}
