//! candle: its own ResNets, and the others written with its layers; threads by `RAYON_NUM_THREADS`.

use crate::Job;
use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Conv2dConfig, Func, Module, VarBuilder, conv2d, linear};
use candle_transformers::models::resnet;

pub fn infer(job: &Job) -> Result<()> {
    let device = Device::Cpu;
    let (shape, images) = job.images()?;
    let images = Tensor::from_vec(images, &shape, &device)?;
    let weights = candle_core::safetensors::load(job.weights(), &device)?;
    let weights = VarBuilder::from_tensors(weights, DType::F32, &device);
    let network = match job.network.as_str() {
        "lenet5" => lenet5(weights)?,
        "vgg16" => vgg16(weights)?,
        "resnet18" => resnet::resnet18(1000, weights)?,
        "resnet50-v1.5" => resnet::resnet50(1000, weights)?,
        other => bail!("{other} is not written for candle"),
    };
    job.measure(|| Ok(network.forward(&images)?.flatten_all()?.to_vec1()?))
}

fn lenet5(weights: VarBuilder) -> candle_core::Result<Func<'static>> {
    let conv = |ic, oc, name| conv2d(ic, oc, 5, Conv2dConfig::default(), weights.pp(name));
    let [conv1, conv2, conv3] = [conv(1, 6, "conv1")?, conv(6, 16, "conv2")?, conv(16, 120, "conv3")?];
    let [fc1, fc2] = [linear(120, 84, weights.pp("fc1"))?, linear(84, 10, weights.pp("fc2"))?];
    Ok(Func::new(move |x| {
        let x = x.apply(&conv1)?.relu()?.max_pool2d(2)?;
        let x = x.apply(&conv2)?.relu()?.max_pool2d(2)?;
        let x = x.apply(&conv3)?.relu()?.flatten_from(1)?;
        x.apply(&fc1)?.relu()?.apply(&fc2)
    }))
}

fn vgg16(weights: VarBuilder) -> candle_core::Result<Func<'static>> {
    // Channels of each convolution, by blocks that end in a maximum pool.
    const BLOCKS: [&[usize]; 5] =
        [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];
    let config = Conv2dConfig { padding: 1, ..Default::default() };
    let (mut at, mut ic) = (0, 3);
    let mut blocks = Vec::new();
    for block in BLOCKS {
        let mut convolutions = Vec::new();
        for &oc in block {
            convolutions.push(conv2d(ic, oc, 3, config, weights.pp(format!("features.{at}")))?);
            (at, ic) = (at + 2, oc);
        }
        blocks.push(convolutions);
        at += 1;
    }
    let fc = |input, output, at: usize| linear(input, output, weights.pp(format!("classifier.{at}")));
    let [fc1, fc2, fc3] = [fc(25088, 4096, 0)?, fc(4096, 4096, 3)?, fc(4096, 1000, 6)?];
    Ok(Func::new(move |x| {
        let mut x = x.clone();
        for block in &blocks {
            for convolution in block {
                x = x.apply(convolution)?.relu()?;
            }
            x = x.max_pool2d(2)?;
        }
        x.flatten_from(1)?.apply(&fc1)?.relu()?.apply(&fc2)?.relu()?.apply(&fc3)
    }))
}
