//! tract: the ONNX file, optimised for the batch, products on a pool of threads.

use crate::Job;
use anyhow::{Result, anyhow};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

pub fn infer(job: &Job) -> Result<()> {
    set_default_executor(Executor::multithread(job.threads));
    let (shape, images) = job.images()?;
    let model = tract_onnx::onnx()
        .with_ignore_output_shapes(true)
        .model_for_path(job.model())
        .and_then(|model| model.with_input_fact(0, f32::fact(shape).into()))
        .and_then(|model| model.into_optimized())
        .and_then(|model| model.into_runnable())
        .map_err(|error| anyhow!("{error:?}"))?;
    let images: TValue = Tensor::from_shape(&shape, &images).map_err(|error| anyhow!("{error:?}"))?.into();
    job.measure(|| {
        let outputs = model.run(tvec![images.clone()]).map_err(|error| anyhow!("{error:?}"))?;
        let logits = outputs[0].to_plain_array_view::<f32>().map_err(|error| anyhow!("{error:?}"))?;
        Ok(logits.iter().copied().collect())
    })
}
