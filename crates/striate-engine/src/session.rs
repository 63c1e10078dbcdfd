//! Running a plan: memory, parameters in, values in, values out. Nothing is allocated by a run.

use crate::arena::Arena;
use crate::error::RunError;
use crate::lower::Frame;
use crate::parameters::Parameters;
use crate::place::{Place, Storage};
use crate::plan::{Plan, Port};
use crate::{Tensor, threads};
use bytemuck::Pod;
use std::cell::Cell;
use std::time::{Duration, Instant};
use striate_graph::DType;
use striate_kernels::{Bf16, Context, Element, Executor, Pixels, survey};

/// A plan with its memory, ready to run again and again.
pub struct Session {
    plan: Plan,
    arena: Arena,
    exec: Box<dyn Executor + Send>,
    seed: u64,
}

impl Session {
    /// Allocates everything the plan needs. Parameters are zeros until [`Session::load`].
    ///
    /// # Errors
    /// Without the memory or the threads.
    pub fn new(plan: Plan) -> Result<Self, RunError> {
        let memory = RunError::Memory { bytes: plan.arena_bytes(), batch: plan.options.batch };
        let arena = Arena::new(plan.arena_bytes).ok_or(memory)?;
        for (place, value) in &plan.constants {
            // SAFETY: nothing else refers to the new arena.
            unsafe { arena.write(place.offset, place.span()) }.fill(*value);
        }
        let exec = threads::executor(plan.options.threads).map_err(RunError::Threads)?;
        Ok(Self { plan, arena, exec, seed: 0 })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes it has allocated.
    pub fn arena_bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// The seed of everything random (dropout).
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Takes the graph's parameters; further ones are ignored.
    ///
    /// # Errors
    /// All that are missing or shaped differently; nothing is taken then.
    pub fn load(&mut self, parameters: &Parameters) -> Result<(), RunError> {
        parameters.check(&self.plan.graph)?;
        for port in &self.plan.parameters {
            let tensor = parameters.get(&port.name).expect("checked");
            // SAFETY: no step is running, and `self` is borrowed mutably.
            let dst = unsafe { self.arena.write(port.place.offset, port.place.span()) };
            copy_logical(port, &tensor.data, dst, Direction::In);
        }
        let cx = Context { isa: self.plan.options.isa, exec: &*self.exec };
        for (offset, prepare) in &self.plan.prepares {
            // SAFETY: as above.
            (prepare.fill)(parameters, &cx, unsafe { self.arena.write(*offset, prepare.len) });
        }
        Ok(())
    }

    /// Copies the parameters that lie in the arena, as they are now, into `parameters`.
    pub fn store(&self, parameters: &mut Parameters) {
        for port in &self.plan.parameters {
            let dims = port.ty.dims.clone();
            let mut tensor = Tensor::full(dims, 0.0);
            // SAFETY: no step is running.
            let src = unsafe { self.arena.read(port.place.offset, port.place.span()) };
            copy_logical(port, src, &mut tensor.data, Direction::Out);
            parameters.0.insert(port.name.clone(), tensor);
        }
    }

    /// The memory of a float input as it lies: images channels-last, one after another.
    ///
    /// # Errors
    /// When there is no such input.
    pub fn input(&mut self, name: &str) -> Result<&mut [f32], RunError> {
        self.input_of(name, DType::F32)
    }

    fn input_of<T: Pod>(&mut self, name: &str, dtype: DType) -> Result<&mut [T], RunError> {
        let place = find(&self.plan.inputs, "input", name, dtype)?.place;
        // SAFETY: no step is running, and the slice borrows `self` mutably.
        Ok(unsafe { self.arena.write(place.offset, place.span()) })
    }

    /// The memory of an input of unsigned integers (labels, the step).
    ///
    /// # Errors
    /// When there is no such input.
    pub fn input_u32(&mut self, name: &str) -> Result<&mut [u32], RunError> {
        self.input_of(name, DType::U32)
    }

    /// Whether there is an input of this name.
    pub fn has_input(&self, name: &str) -> bool {
        self.plan.inputs.iter().any(|port| port.name == name)
    }

    /// Gives a float input in logical order (N, C, H, W).
    ///
    /// # Errors
    /// When there is no such input, or the number of elements differs.
    pub fn set_input(&mut self, name: &str, data: &[f32]) -> Result<(), RunError> {
        let port = find(&self.plan.inputs, "input", name, DType::F32)?;
        let expected = port.place.elements();
        if data.len() != expected {
            return Err(RunError::Size { name: name.into(), expected, found: data.len() });
        }
        // SAFETY: no step is running, and `self` is borrowed mutably.
        let dst = unsafe { self.arena.write(port.place.offset, port.place.span()) };
        copy_logical(port, data, dst, Direction::In);
        Ok(())
    }

    /// An output, in logical order with the batch first.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn output(&self, name: &str) -> Result<Tensor, RunError> {
        let port = find(&self.plan.outputs, "output", name, DType::F32)?;
        let mut dims = port.ty.dims.clone();
        if port.ty.batched {
            dims.insert(0, self.plan.options.batch);
        }
        let mut tensor = Tensor::full(dims, 0.0);
        // SAFETY: no step is running.
        let src = unsafe { self.arena.read(port.place.offset, port.place.span()) };
        copy_logical(port, src, &mut tensor.data, Direction::Out);
        Ok(tensor)
    }

    /// An output of unsigned integers (the places of extremes), in logical order with the batch first.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn output_u32(&self, name: &str) -> Result<Vec<u32>, RunError> {
        let port = find(&self.plan.outputs, "output", name, DType::U32)?;
        let mut data = vec![0; port.place.elements()];
        // SAFETY: no step is running.
        let src = unsafe { self.arena.read(port.place.offset, port.place.span()) };
        copy_logical(port, src, &mut data, Direction::Out);
        Ok(data)
    }

    /// A scalar output, such as the loss.
    ///
    /// # Errors
    /// When there is no such output, or it has more than one element.
    pub fn scalar(&self, name: &str) -> Result<f32, RunError> {
        let place = find(&self.plan.outputs, "output", name, DType::F32)?.place;
        if place.elements() != 1 {
            return Err(RunError::Size { name: name.into(), expected: place.elements(), found: 1 });
        }
        // SAFETY: no step is running.
        Ok(unsafe { self.arena.read(place.offset, 1) }[0])
    }

    /// The rows of a feature-vector output as they lie: for each image `ld` floats of which the first `features`
    /// are the output's; copies nothing.
    ///
    /// # Errors
    /// When there is no such output.
    pub fn rows(&self, name: &str) -> Result<impl Iterator<Item = &[f32]>, RunError> {
        let place = find(&self.plan.outputs, "output", name, DType::F32)?.place;
        // SAFETY: no step is running.
        let data = unsafe { self.arena.read(place.offset, place.span()) };
        Ok(data.chunks(place.ld).map(move |row| &row[..place.channels()]))
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// Where a loss refuses its labels.
    pub fn run(&mut self) -> Result<(), RunError> {
        for index in 0..self.plan.steps.len() {
            self.run_step(index)?;
        }
        Ok(())
    }

    /// Runs all steps and reports how long each took, in the plan's order.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_timed(&mut self, mut report: impl FnMut(usize, Duration)) -> Result<(), RunError> {
        for index in 0..self.plan.steps.len() {
            let start = Instant::now();
            self.run_step(index)?;
            report(index, start.elapsed());
        }
        Ok(())
    }

    /// The place of a float output.
    pub(crate) fn output_place(&self, name: &str) -> Result<Place, RunError> {
        Ok(find(&self.plan.outputs, "output", name, DType::F32)?.place)
    }

    /// The first of the floats at `place` that is infinite or no number.
    pub(crate) fn first_not_finite(&self, place: &Place) -> Option<f32> {
        match place.storage {
            Storage::F32 => self.first_of::<f32>(place),
            Storage::Bf16 => self.first_of::<Bf16>(place),
            Storage::U32 | Storage::U8 => None,
        }
    }

    fn first_of<E: Element>(&self, place: &Place) -> Option<f32> {
        let cx = Context { isa: self.plan.options.isa, exec: &*self.exec };
        // SAFETY: no step is running.
        let data = unsafe { self.arena.read::<E>(place.offset, place.span()) };
        let (rows, channels) = (place.rows(), place.channels());
        if survey::all_finite(&cx, Pixels::new(data, place.ld), rows, channels) {
            return None;
        }
        let pixels = data.chunks(place.ld.max(1)).flat_map(|pixel| &pixel[..channels.min(pixel.len())]);
        pixels.map(|element| element.to_f32()).find(|value| !value.is_finite())
    }

    pub(crate) fn run_step(&mut self, index: usize) -> Result<(), RunError> {
        let step = &self.plan.steps[index];
        let frame = Frame {
            arena: &self.arena,
            cx: Context { isa: self.plan.options.isa, exec: &*self.exec },
            seed: self.seed,
            reads: &step.reads,
            writes: &step.writes,
            workspace: step.workspace,
            prepared: step.prepared,
            taken: Cell::new(0),
        };
        (step.kernel)(&frame)
    }
}

fn find<'a>(ports: &'a [Port], what: &'static str, name: &str, dtype: DType) -> Result<&'a Port, RunError> {
    let port = ports.iter().find(|port| port.name == name).ok_or_else(|| {
        let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
        RunError::Unknown { what, name: name.into(), known: names.join(", ") }
    })?;
    if port.ty.dtype == dtype {
        Ok(port)
    } else {
        Err(RunError::Elements { name: name.into(), has: port.ty.dtype, asked: dtype })
    }
}

enum Direction {
    In,
    Out,
}

/// Copies between logical order and the order of a place: maps are channels-last there.
fn copy_logical<T: Copy>(port: &Port, src: &[T], dst: &mut [T], direction: Direction) {
    let place = port.place;
    let is_map = port.ty.dims.len() == 3;
    let [n, h, w, c] = place.shape;
    let plane = h * w;
    for image in 0..n {
        for channel in 0..c {
            for pixel in 0..plane {
                let there = (image * plane + pixel) * place.ld + channel;
                let logical =
                    if is_map { (image * c + channel) * plane + pixel } else { image * c + channel };
                match direction {
                    Direction::In => dst[there] = src[logical],
                    Direction::Out => dst[logical] = src[there],
                }
            }
        }
    }
}
