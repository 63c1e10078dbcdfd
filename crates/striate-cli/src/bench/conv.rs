//! `striate bench conv`.

use clap::Args;
use console::style;
use serde::Serialize;
use std::io::{self, Write};
use striate::engine::{Buffer, executor};
use striate::kernels::conv::{BackwardData, BackwardWeights, Conv2dGeometry, Epilogue, Forward, Options};
use striate::kernels::{Bf16, Context, Element, ElementType, Executor};

use super::{Length, gflops, median_ms, peak_gflops};
use crate::failure::{Failure, Result};
use crate::options::{Format, Machine, write_json};
use crate::table::{Table, left, right};
use crate::text::{count, percent, plural};
use crate::workload::{random, zeros};

/// Time one convolution: forward, the gradient of its source, the gradient of its weights.
#[derive(Args, Debug)]
#[command(after_help = GEOMETRY)]
pub(crate) struct Conv {
    /// The geometry, such as 'n16 ic64 ih56 oc64 kh3 ph1'
    #[arg(required = true, num_args = 1.., value_name = "GEOMETRY")]
    geometry: Vec<String>,
    #[command(flatten)]
    length: Length,
    #[command(flatten)]
    machine: Machine,
}

const GEOMETRY: &str = "\
Geometry: fields in any order, each a name and a number.
  n images, g groups, ic oc channels in and out, ih iw rows and columns in,
  kh kw kernel, sh sw stride, dh dw dilation, ph pw padding (or pt pb pl pr)
  Left out: n1 g1 sh1 sw1 dh1 dw1 ph0 pw0; a width takes the height's value.

Examples:
  striate bench conv 'n16 ic64 ih56 oc64 kh3 ph1'
  striate bench conv n1 ic3 ih224 oc64 kh7 sh2 ph3 --threads 1 --isa avx2
  striate bench conv n64 ic4096 ih1 oc1000 kh1          a fully connected layer";

/// The result, as programs read it.
#[derive(Serialize)]
struct Outcome {
    geometry: String,
    macs: u64,
    threads: usize,
    isa: &'static str,
    precision: &'static str,
    /// What the threads can reach together, measured.
    peak_gflops: f64,
    passes: Vec<Pass>,
}

#[derive(Serialize)]
struct Pass {
    pass: &'static str,
    ms: f64,
    gflops: f64,
    /// Of the measured peak.
    peak_fraction: f64,
    algorithm: String,
}

/// Why a pass may seem faster than the machine.
const ABOVE_PEAK: &str = "counted are the multiplications of the definition; Winograd needs a quarter of a 3x3 kernel's, 36 % of a 5x5 kernel's";

/// The tensors of a convolution and of its gradients.
struct Tensors<E> {
    src: Buffer<E>,
    weights: Buffer<f32>,
    dst: Buffer<E>,
}

impl Conv {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let g: Conv2dGeometry = self.geometry.join(" ").parse().map_err(|error| {
            Failure::from(error).of_usage().advise("`striate bench conv --help` tells all fields")
        })?;
        let (isa, threads) = (self.machine.isa(), self.machine.threads());
        let executor = executor(threads).map_err(Failure::new)?;
        let cx = Context { isa, exec: &*executor };
        let peak = peak_gflops(&self.machine, self.machine.precision());
        let passes = match self.machine.precision() {
            ElementType::F32 => self.passes::<f32>(&cx, &g)?,
            ElementType::Bf16 => self.passes::<Bf16>(&cx, &g)?,
        };
        let passes = passes.map(|(pass, (ms, algorithm))| {
            let gflops = gflops(g.macs(), ms);
            Pass { pass, ms, gflops, peak_fraction: gflops / peak, algorithm }
        });
        let outcome = Outcome {
            geometry: g.to_string(),
            macs: g.macs(),
            threads,
            isa: isa.name(),
            precision: self.machine.precision().name(),
            peak_gflops: peak,
            passes: passes.into(),
        };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => Ok(outcome.write()?),
        }
    }

    /// The passes over maps of `E`, each with its time in milliseconds and its algorithm.
    fn passes<E: Element>(
        &self,
        cx: &Context,
        g: &Conv2dGeometry,
    ) -> Result<[(&'static str, (f64, String)); 3]> {
        let mut t = Tensors::<E> {
            src: random(g.n * g.ih * g.iw * g.ic)?,
            weights: random(g.weights_len())?,
            dst: random(g.n * g.oh() * g.ow() * g.oc)?,
        };
        Ok([
            ("forward", self.forward(cx, g, &mut t)?),
            ("backward data", self.backward_data(cx, g, &mut t)?),
            ("backward weights", self.backward_weights(cx, g, &mut t)?),
        ])
    }

    fn options(&self) -> Options {
        let (algorithm, element) = (self.machine.algorithm.unwrap_or_default(), self.machine.precision());
        Options { algorithm, src: element, dst: element }
    }

    fn forward<E: Element>(
        &self,
        cx: &Context,
        g: &Conv2dGeometry,
        t: &mut Tensors<E>,
    ) -> Result<(f64, String)> {
        let pass = Forward::with(cx.isa, g, g.ic, g.oc, self.options())?;
        let (mut packed, mut workspace) =
            (zeros(pass.packed_len())?, scratch(cx.exec, |n| pass.workspace_len(n))?);
        pass.pack(cx, &t.weights, None, &mut packed);
        let ms =
            self.median(|| pass.run(cx, &t.src, &packed, &Epilogue::default(), &mut t.dst, &mut workspace))?;
        Ok((ms, pass.describe()))
    }

    fn backward_data<E: Element>(
        &self,
        cx: &Context,
        g: &Conv2dGeometry,
        t: &mut Tensors<E>,
    ) -> Result<(f64, String)> {
        let pass = BackwardData::with(cx.isa, g, g.ic, g.oc, self.options())?;
        let (mut packed, mut workspace) =
            (zeros(pass.packed_len())?, scratch(cx.exec, |n| pass.workspace_len(n))?);
        pass.pack(cx, &t.weights, None, &mut packed);
        let ms =
            self.median(|| pass.run(cx, &t.dst, &packed, &Epilogue::default(), &mut t.src, &mut workspace))?;
        Ok((ms, pass.describe()))
    }

    fn backward_weights<E: Element>(
        &self,
        cx: &Context,
        g: &Conv2dGeometry,
        t: &mut Tensors<E>,
    ) -> Result<(f64, String)> {
        let pass = BackwardWeights::with(cx.isa, g, g.ic, g.oc, self.options())?;
        let mut workspace = scratch(cx.exec, |n| pass.workspace_len(n))?;
        let ms = self.median(|| pass.run(cx, &t.src, &t.dst, &mut t.weights, None, &mut workspace))?;
        Ok((ms, pass.describe()))
    }

    fn median(&self, mut pass: impl FnMut()) -> Result<f64> {
        let mut step = || {
            pass();
            Ok(())
        };
        self.length.warm_up(&mut step)?;
        Ok(median_ms(&mut self.length.times(step)?))
    }
}

fn scratch(exec: &dyn Executor, len: impl Fn(usize) -> usize) -> Result<Buffer<f32>> {
    zeros(len(exec.workers()))
}

impl Outcome {
    fn write(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let Self { geometry, macs, threads, isa, precision, peak_gflops, .. } = self;
        writeln!(
            out,
            "{}  {} MACs, {}, {isa}, {precision}",
            style(geometry).bold(),
            count(*macs),
            plural(*threads, "thread")
        )?;
        writeln!(out, "peak {peak_gflops:.0} GFLOP/s, measured\n")?;
        let columns =
            [left("pass"), right("ms"), right("GFLOP/s"), right("of peak"), left("algorithm").dispensable(1)];
        let mut table = Table::new(columns);
        for Pass { pass, ms, gflops, peak_fraction, algorithm } in &self.passes {
            table.row([
                pass.to_string(),
                format!("{ms:.3}"),
                format!("{gflops:.1}"),
                percent(*peak_fraction),
                algorithm.clone(),
            ]);
        }
        table.write(&mut out)?;
        if self.passes.iter().any(|pass| pass.peak_fraction > 1.0) {
            writeln!(out, "\n{ABOVE_PEAK}")?;
        }
        Ok(())
    }
}
