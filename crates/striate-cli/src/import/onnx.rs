//! Networks in ONNX files.

use std::path::Path;
use striate::graph::notation;
use striate::prelude::*;
use striate::train::onnx;
use striate::train::weights::Report;

use super::{Import, Imported};
use crate::failure::{Failure, Result};

/// Whether a source is such a file.
pub(super) fn is_onnx(source: &str) -> bool {
    Path::new(source).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

pub(super) fn import(args: &Import) -> Result<Imported> {
    if let Some(weights) = &args.weights {
        let text =
            format!("{} has its weights itself; {} is one file too many", args.source, weights.display());
        return Err(Failure::usage(text));
    }
    let input = args.input.map(|input| input.to_vec());
    let Model { graph, parameters, mut info } = onnx::read(&args.source, input.as_deref())?;
    if let Err(error) = notation::print(&graph) {
        let text = format!("{}: the network cannot be kept as text, as models are: {error}", args.source);
        return Err(Failure::new(text).advise("use the .onnx file itself wherever a model is asked for"));
    }
    if let Some(classes) = args.class_names()? {
        if classes.len() != info.classes.len() {
            let (given, outputs) = (classes.len(), info.classes.len());
            return Err(Failure::new(format!(
                "{given} classes are named, but the network has {outputs} outputs"
            )));
        }
        info.classes = classes;
    }
    let matched = graph.parameters().map(|(node, ..)| node.name.clone()).collect();
    let report = Report { matched, ..Report::default() };
    Ok(Imported { source: args.source.clone(), model: Model { graph, parameters, info }, report })
}
