//! Plans and runs Striate graphs.
//!
//! A [`Plan`] is made for a graph, a batch size and a machine: it groups operations into kernel calls, packs weights,
//! and lays all memory into one arena. A [`Session`] runs it, allocating nothing. The same graph, data, seed and
//! instruction set give the same bits for any number of threads.
//!
//! ```
//! use striate_engine::{Parameters, Plan, PlanOptions, Session};
//! use striate_graph::{Builder, ops::Conv2d};
//!
//! let mut net = Builder::new("edge");
//! let x = net.input("image", [1, 4, 4]);
//! let x = net.conv2d("conv", x, Conv2d::new(1, 3).no_bias());
//! net.output(x);
//! let graph = net.finish()?;
//!
//! let mut session = Session::new(Plan::new(&graph, PlanOptions::new(1))?)?;
//! let mut parameters = Parameters::init(&graph, 0);
//! parameters.0.get_mut("conv.weight").unwrap().data = vec![0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0];
//! session.load(&parameters)?;
//! session.set_input("image", &(0..16).map(|i| (i % 4) as f32).collect::<Vec<_>>())?;
//! session.run()?;
//! assert_eq!(session.output("main")?.data, [2.0; 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arena;
mod buffer;
mod convolution;
mod error;
mod functions;
mod guard;
mod lower;
mod options;
mod parameters;
mod place;
mod plan;
mod precision;
pub mod reference;
mod session;
mod tensor;
mod threads;
mod units;

pub use buffer::Buffer;
pub use convolution::{Convolution, Pass, Tuning};
pub use error::{NotFinite, Origin, PlanError, RunError, Seen};
pub use guard::Extent;
pub use options::PlanOptions;
pub use parameters::{ParameterMismatch, Parameters};
pub use plan::{Layout, Plan, StepInfo};
pub use session::Session;
pub use striate_kernels::conv::{Algorithm, Candidate, Conv2dGeometry};
pub use striate_kernels::{ElementType as Precision, Isa};
pub use tensor::Tensor;
pub use threads::{available as available_threads, executor};
