//! rten: the ONNX file, weights packed in advance.

use crate::Job;
use anyhow::Result;
use rten::{ModelOptions, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::sync::Arc;

pub fn infer(job: &Job) -> Result<()> {
    let (shape, images) = job.images()?;
    let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(job.model())?;
    let images = NdTensor::from_data(shape, images);
    let pool = Arc::new(ThreadPool::with_num_threads(job.threads));
    let options = RunOptions::default().with_thread_pool(Some(pool));
    job.measure(|| {
        let logits: NdTensor<f32, 2> =
            model.run_one(images.view().into(), Some(options.clone()))?.try_into()?;
        Ok(logits.to_vec())
    })
}
