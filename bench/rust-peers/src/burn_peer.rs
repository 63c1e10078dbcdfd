//! burn on its backend for processors in pure Rust (flex); threads by `RAYON_NUM_THREADS`.

use crate::Job;
use anyhow::{Result, anyhow, bail};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2dConfig, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_store::{ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore};

pub fn infer(job: &Job) -> Result<()> {
    let device = Device::flex();
    let (shape, images) = job.images()?;
    let images = Tensor::<4>::from_data(TensorData::new(images, shape), &device);
    match job.network.as_str() {
        "lenet5" => {
            let network = loaded(Lenet5::new(&device), job)?;
            job.measure(|| floats(network.forward(images.clone())))
        }
        "resnet18" => {
            let network = loaded(Resnet18::new(&device), job)?;
            job.measure(|| floats(network.forward(images.clone())))
        }
        other => bail!("{other} is not written for burn"),
    }
}

pub fn train(job: &Job) -> Result<()> {
    if job.network != "lenet5" {
        bail!("{} is not written for burn's training", job.network);
    }
    let device = Device::flex().autodiff();
    let images = Tensor::<4>::random([job.batch, 1, 32, 32], Distribution::Default, &device);
    let labels: Vec<i64> = (0..job.batch as i64).map(|at| at % 10).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [job.batch]), &device);
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let sgd = SgdConfig::new().with_momentum(Some(momentum));
    let mut sgd = sgd.with_weight_decay(Some(WeightDecayConfig::new(5e-4))).init();
    let mut network = Some(Lenet5::new(&device));
    job.measure(|| {
        let now = network.take().expect("each step puts it back");
        let loss = cross_entropy.forward(now.forward(images.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &now);
        network = Some(sgd.step(1e-3, now, gradients));
        Ok(Vec::new())
    })
}

/// The network with the exported parameters, all of them.
fn loaded<M: ModuleSnapshot>(mut network: M, job: &Job) -> Result<M> {
    let mut store = SafetensorsStore::from_file(job.weights())
        .with_from_adapter(PyTorchToBurnAdapter)
        .with_key_remapping(r"downsample\.0", "downsample.conv")
        .with_key_remapping(r"downsample\.1", "downsample.bn");
    let outcome = network.load_from(&mut store).map_err(|error| anyhow!("{error}"))?;
    if !outcome.missing.is_empty() {
        bail!("parameters are missing: {:?}", outcome.missing);
    }
    Ok(network)
}

fn floats(logits: Tensor<2>) -> Result<Vec<f32>> {
    logits.into_data().try_to_vec().map_err(|error| anyhow!("{error:?}"))
}

fn convolution(channels: [usize; 2], kernel: usize, stride: usize, padding: usize) -> Conv2dConfig {
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
}

#[derive(Module, Debug)]
struct Lenet5 {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Lenet5 {
    fn new(device: &Device) -> Self {
        let conv = |ic, oc| convolution([ic, oc], 5, 1, 0).init(device);
        Self {
            conv1: conv(1, 6),
            conv2: conv(6, 16),
            conv3: conv(16, 120),
            fc1: LinearConfig::new(120, 84).init(device),
            fc2: LinearConfig::new(84, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let pool = MaxPool2dConfig::new([2, 2]).init();
        let x = pool.forward(relu(self.conv1.forward(x)));
        let x = pool.forward(relu(self.conv2.forward(x)));
        let x = relu(self.conv3.forward(x)).flatten(1, 3);
        self.fc2.forward(relu(self.fc1.forward(x)))
    }
}

#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    bn: BatchNorm,
}

impl ConvNorm {
    fn new(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Self {
        let conv = convolution(channels, kernel, stride, kernel / 2).with_bias(false).init(device);
        Self { conv, bn: BatchNormConfig::new(channels[1]).init(device) }
    }
}

#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(ic: usize, oc: usize, device: &Device) -> Self {
        let stride = oc / ic;
        let first = ConvNorm::new([ic, oc], 3, stride, device);
        let second = ConvNorm::new([oc, oc], 3, 1, device);
        let downsample = (stride > 1).then(|| ConvNorm::new([ic, oc], 1, stride, device));
        Self { conv1: first.conv, bn1: first.bn, conv2: second.conv, bn2: second.bn, downsample }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = relu(self.bn1.forward(self.conv1.forward(x.clone())));
        let y = self.bn2.forward(self.conv2.forward(y));
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.bn.forward(downsample.conv.forward(x)),
            None => x,
        };
        relu(y + shortcut)
    }
}

#[derive(Module, Debug)]
struct Resnet18 {
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    fc: Linear,
}

impl Resnet18 {
    fn new(device: &Device) -> Self {
        let ConvNorm { conv, bn } = ConvNorm::new([3, 64], 7, 2, device);
        let stage = |ic, oc| vec![Block::new(ic, oc, device), Block::new(oc, oc, device)];
        Self {
            conv1: conv,
            bn1: bn,
            layer1: stage(64, 64),
            layer2: stage(64, 128),
            layer3: stage(128, 256),
            layer4: stage(256, 512),
            fc: LinearConfig::new(512, 1000).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let pool = MaxPool2dConfig::new([3, 3]).with_strides([2, 2]);
        let pool = pool.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init();
        let x = pool.forward(relu(self.bn1.forward(self.conv1.forward(x))));
        let blocks = [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten();
        let x = blocks.fold(x, |x, block| block.forward(x));
        self.fc.forward(AdaptiveAvgPool2dConfig::new([1, 1]).init().forward(x).flatten(1, 3))
    }
}
