//! Runs the ONNX standard's backend tests, and compares what passes with lists:
//!
//!     cargo run --example onnx_backend -- DATA [--write]
//!
//! DATA is the folder `onnx/backend/test/data` of an ONNX wheel of at most version 1.19. Each test is a model, its inputs
//! and the outputs it must give. Models are read by `striate::interop::onnx` and run by a session: the first float input, and
//! others of its shape, are inputs of the network; the rest (weights, whole numbers) is given to the importer, which
//! computes what is known. A test of whole numbers alone is thus one of that arithmetic.
//!
//! `tests/onnx/passing.txt` lists the tests that must pass, `tests/onnx/left_out.txt` all others under why they do not.
//! Any difference from the lists is an error; `--write` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};
use striate::engine::Session;
use striate::graph::DType;
use striate::interop::onnx::{self, Constant, Data, ImportOptions, Imported, Kind, OnnxError, OutputSource};
use striate::prelude::*;

/// The suites, and how many tests of each must pass.
const SUITES: [(&str, usize); 4] =
    [("node", 340), ("pytorch-converted", 70), ("pytorch-operator", 18), ("simple", 0)];

/// How far results may lie from what the standard's reference gives.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-5;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some(data) = args.iter().find(|arg| !arg.starts_with("--")) else {
        eprintln!("usage: onnx_backend DATA [--write]");
        return ExitCode::from(2);
    };
    // What panics is told as a failure of its test.
    std::panic::set_hook(Box::new(|_| {}));
    let mut passing = Vec::new();
    let mut left_out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut failed = false;
    for (suite, least) in SUITES {
        let folder = Path::new(data).join(suite);
        let tests = subfolders(&folder);
        if tests.is_empty() {
            eprintln!("{}: no tests", folder.display());
            return ExitCode::from(2);
        }
        let mut passed = 0;
        for test in &tests {
            let name = format!("{suite}/{}", file_name(test));
            let outcome = catch_unwind(AssertUnwindSafe(|| run(test)));
            match outcome.unwrap_or_else(|_| Err("it panics".into())) {
                Ok(()) => {
                    passed += 1;
                    passing.push(name);
                }
                Err(reason) => left_out.entry(reason).or_default().push(name),
            }
        }
        println!("{suite}: {passed} of {} pass", tests.len());
        if passed < least {
            eprintln!("{suite}: at least {least} must pass");
            failed = true;
        }
    }
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx");
    let texts = [("passing.txt", list(&passing)), ("left_out.txt", grouped(&left_out))];
    for (file, text) in texts {
        let path = lists.join(file);
        if args.iter().any(|arg| arg == "--write") {
            fs::write(&path, text).expect("the list can be written");
            continue;
        }
        let wanted = fs::read_to_string(&path).unwrap_or_default();
        for line in difference(&wanted, &text) {
            eprintln!("{file}: {line}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn list(passing: &[String]) -> String {
    let about =
        "# Backend tests of ONNX 1.19.0 that must pass; written by the example onnx_backend --write.\n";
    passing.iter().fold(about.into(), |text, name| text + name + "\n")
}

fn grouped(left_out: &BTreeMap<String, Vec<String>>) -> String {
    let mut text = String::from(
        "# Backend tests of ONNX 1.19.0 that do not pass, under why; written by the example onnx_backend --write.\n",
    );
    for (reason, tests) in left_out {
        let _ = writeln!(text, "\n# {reason}");
        tests.iter().for_each(|test| {
            let _ = writeln!(text, "{test}");
        });
    }
    text
}

/// Lines that only one of two texts has.
fn difference(wanted: &str, found: &str) -> Vec<String> {
    let lines = |text: &str| text.lines().map(str::to_string).collect::<std::collections::BTreeSet<_>>();
    let (wanted, found) = (lines(wanted), lines(found));
    let gone = wanted.difference(&found).map(|line| format!("no longer: {line}"));
    gone.chain(found.difference(&wanted).map(|line| format!("new: {line}"))).collect()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs one test, or says why it does not pass.
fn run(test: &Path) -> Result<(), String> {
    let model = fs::read(test.join("model.onnx")).map_err(|error| error.to_string())?;
    let names = onnx::input_names(&model).map_err(|error| error.to_string())?;
    let sets: Vec<PathBuf> = subfolders(test);
    for set in &sets {
        let inputs = tensors(set, "input")?;
        let inputs: Vec<(String, Constant)> = names.iter().cloned().zip(inputs).collect();
        let outputs = tensors(set, "output")?;
        let (imported, given) = import(&model, &inputs)?;
        check(&imported, &given, &outputs)?;
    }
    if sets.is_empty() { Err("it has no inputs and outputs".into()) } else { Ok(()) }
}

fn tensors(set: &Path, what: &str) -> Result<Vec<Constant>, String> {
    let mut tensors = Vec::new();
    while let Ok(bytes) = fs::read(set.join(format!("{what}_{}.pb", tensors.len()))) {
        tensors.push(onnx::parse_tensor(&bytes).map_err(|error| format!("{what}: {}", error.problem))?);
    }
    Ok(tensors)
}

/// Reads the model with some inputs left to the session: the first float input with those of its shape, that input
/// alone, none, or all.
fn import(
    model: &[u8],
    inputs: &[(String, Constant)],
) -> Result<(Imported, Vec<(String, Constant)>), String> {
    let is_float =
        |(_, tensor): &&(String, Constant)| tensor.kind == Kind::Float && !tensor.dims.contains(&0);
    let first = inputs.iter().find(is_float);
    let like_first: Vec<&(String, Constant)> = inputs
        .iter()
        .filter(is_float)
        .filter(|(_, tensor)| first.is_some_and(|(_, first)| first.dims == tensor.dims))
        .collect();
    let mut reason = None;
    for left in [like_first, first.into_iter().collect(), vec![], inputs.iter().collect()] {
        let is_left = |name: &str| left.iter().any(|(other, _)| other == name);
        let bound = inputs.iter().filter(|(name, _)| !is_left(name)).cloned().collect();
        let options = ImportOptions { bound, ..ImportOptions::default() };
        match onnx::parse(model, None, &options) {
            Ok(imported) => return Ok((imported, left.into_iter().cloned().collect())),
            Err(error) => drop(reason.get_or_insert(why(&error))),
        }
    }
    Err(reason.unwrap_or_default())
}

/// A reason that many tests share.
fn why(error: &OnnxError) -> String {
    let OnnxError::Import(errors) = error else { return error.to_string() };
    if !errors.unsupported.is_empty() {
        let ops: Vec<&str> = errors.unsupported.iter().map(|one| one.op.as_str()).collect();
        return format!("operators that are not read: {}", ops.join(", "));
    }
    errors.problems.first().map_or(String::new(), |first| first.problem.to_string())
}

fn check(imported: &Imported, given: &[(String, Constant)], outputs: &[Constant]) -> Result<(), String> {
    let mut session = None;
    if !imported.graph.outputs().is_empty() {
        let batched = imported.graph.inputs().find(|(_, value)| imported.graph.ty(*value).batched);
        let has_batch = batched.is_some_and(|(node, value)| {
            let given = given.iter().find(|(name, _)| *name == node.name);
            given.is_some_and(|(_, tensor)| tensor.dims.len() > imported.graph.ty(value).dims.len())
        });
        let batch = if has_batch { given[0].1.dims[0] } else { 1 };
        session = Some(compute(imported, given, batch)?);
    }
    if imported.outputs.len() != outputs.len() {
        return Err(format!("{} outputs in place of {}", imported.outputs.len(), outputs.len()));
    }
    for (found, wanted) in imported.outputs.iter().zip(outputs) {
        let (dims, values) = match &found.source {
            OutputSource::Known(constant) => (constant.dims.clone(), numbers(constant)),
            OutputSource::Computed { name, has_batch } => {
                let session = session.as_ref().ok_or("it computes nothing")?;
                let (dims, values) = output(session, name)?;
                (if *has_batch { dims } else { dims[1..].to_vec() }, values)
            }
        };
        if dims != wanted.dims {
            return Err(format!("an output of {dims:?} in place of {:?}", wanted.dims));
        }
        compare(&values, &numbers(wanted))?;
    }
    Ok(())
}

fn compute(imported: &Imported, given: &[(String, Constant)], batch: usize) -> Result<Session, String> {
    let options = PlanOptions { threads: 1, ..PlanOptions::new(batch) };
    let plan = Plan::new(&imported.graph, options).map_err(|error| format!("no plan: {error}"))?;
    let parameters = imported
        .parameters
        .iter()
        .map(|(name, tensor)| (name.clone(), Tensor::new(tensor.shape.clone(), tensor.data.clone())));
    let mut session = Session::new(plan).map_err(|error| error.to_string())?;
    session.load(&Parameters(parameters.collect())).map_err(|error| error.to_string())?;
    let wanted: Vec<String> = session.plan().graph().inputs().map(|(node, _)| node.name.clone()).collect();
    for (name, tensor) in given.iter().filter(|(name, _)| wanted.contains(name)) {
        let data: Vec<f32> = numbers(tensor).into_iter().map(|value| value as f32).collect();
        session.set_input(name, &data).map_err(|error| error.to_string())?;
    }
    session.run().map_err(|error| error.to_string())?;
    Ok(session)
}

/// An output's dimensions, the batch first (1 where it has none), and its elements.
fn output(session: &Session, name: &str) -> Result<(Vec<usize>, Vec<f64>), String> {
    let graph = session.plan().graph();
    let output = graph.outputs().iter().find(|output| output.name == name).ok_or("the output is gone")?;
    let ty = graph.ty(output.value);
    let (mut dims, data): (Vec<usize>, Vec<f64>) = if ty.dtype == DType::U32 {
        let data = session.output_u32(name).map_err(|error| error.to_string())?;
        let batch = ty.batched.then_some(session.plan().options().batch);
        let dims = batch.into_iter().chain(ty.dims.iter().copied()).collect();
        (dims, data.into_iter().map(f64::from).collect())
    } else {
        let Tensor { dims, data } = session.output(name).map_err(|error| error.to_string())?;
        (dims, data.into_iter().map(f64::from).collect())
    };
    if !ty.batched {
        dims.insert(0, 1);
    }
    Ok((dims, data))
}

fn numbers(tensor: &Constant) -> Vec<f64> {
    match &tensor.data {
        Data::Floats(data) => data.iter().map(|value| f64::from(*value)).collect(),
        Data::Ints(data) => data
            .iter()
            .map(|int| match int {
                onnx::Int::Known(value) => *value as f64,
                onnx::Int::Batch(_) => f64::NAN,
            })
            .collect(),
    }
}

fn compare(found: &[f64], wanted: &[f64]) -> Result<(), String> {
    if found.len() != wanted.len() {
        return Err(format!("{} elements in place of {}", found.len(), wanted.len()));
    }
    let far = |(found, wanted): (&f64, &f64)| {
        let same = found == wanted || found.is_nan() && wanted.is_nan();
        // A NaN where there should be none is never near.
        let near = (found - wanted).abs() <= ABSOLUTE + RELATIVE * wanted.abs();
        !same && !near
    };
    let wrong = found.iter().zip(wanted).filter(|(found, wanted)| far((found, wanted))).count();
    match found.iter().zip(wanted).find(|(found, wanted)| far((found, wanted))) {
        Some((first, right)) => Err(format!(
            "{wrong} of {} elements are wrong, the first {first} in place of {right}",
            found.len()
        )),
        None => Ok(()),
    }
}
