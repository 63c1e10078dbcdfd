//! Training that stops before values that are no numbers spoil the parameters, and finds where they came from.

use crate::error::{NotFinite, Origin, RunError, Seen};
use crate::place::Place;
use crate::session::Session;
use striate_graph::DType;
use striate_graph::ops::Role;

/// What of a training graph is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Step,
    /// All but what changes parameters by training's rule: gradients are only summed up.
    Gradients,
}

impl Session {
    /// Runs the steps of a training graph, up to the first by which a value that is infinite or no number would get into a
    /// parameter: when the output `loss` is none, or what an update reads. Then the same inputs are gone through once
    /// more to find the first such value, unless an update has changed a parameter already: the gradient that was seen is
    /// then the first of all. Parameters are numbers then if they were before; the session's other values are of no use.
    ///
    /// # Errors
    /// [`RunError::NotFinite`] then; where a loss refuses its labels.
    pub fn run_guarded(&mut self, loss: &str, extent: Extent) -> Result<(), RunError> {
        let loss = self.output_place(loss)?;
        let steps = self.plan().steps.len();
        let mut changed = false;
        let made_at = (0..steps).rev().find(|index| self.plan().steps[*index].results.contains(&loss));
        for index in 0..steps {
            let step = &self.plan().steps[index];
            if step.is_update && extent == Extent::Gradients {
                continue;
            }
            if let Some(value) = step.gradients.iter().find_map(|place| self.not_finite(place)) {
                let of = self.plan().steps[index].updates.clone();
                return Err(self.trace(Seen::Gradient { of }, value, (!changed).then_some(index)));
            }
            changed |= step.is_update;
            self.run_step(index)?;
            if Some(index) == made_at
                && let Some(value) = self.not_finite(&loss)
            {
                return Err(self.trace(Seen::Loss, value, (!changed).then_some(index)));
            }
        }
        Ok(())
    }

    /// The error, with the first value that is no number of what was given and, where they can be computed again, of the
    /// steps up to `last`.
    fn trace(&mut self, seen: Seen, value: f32, last: Option<usize>) -> RunError {
        let origin = self.given().or_else(|| self.computed(last?)).or_else(|| {
            let state = self.parameter(|role| role == Role::OptimiserState);
            state.map(|(name, value)| Origin::Parameter { name, value })
        });
        RunError::NotFinite(Box::new(NotFinite { seen, value, origin }))
    }

    /// An input or a parameter that is no number.
    fn given(&self) -> Option<Origin> {
        let inputs = self.plan().inputs.iter().filter(|port| port.ty.dtype == DType::F32);
        let input = inputs
            .filter_map(|port| Some((port.name.clone(), self.not_finite(&port.place)?)))
            .map(|(name, value)| Origin::Input { name, value })
            .next();
        input.or_else(|| {
            let (name, value) = self.parameter(Role::is_trained)?;
            Some(Origin::Parameter { name, value })
        })
    }

    /// The first parameter of such a role that is no number.
    fn parameter(&self, of: impl Fn(Role) -> bool) -> Option<(String, f32)> {
        let plan = self.plan();
        let mut parameters = plan.graph.parameters().filter(|(_, parameter, _)| of(parameter.role));
        parameters.find_map(|(node, ..)| {
            let port = plan.parameters.iter().find(|port| port.name == node.name)?;
            Some((node.name.clone(), self.not_finite(&port.place)?))
        })
    }

    /// The first step, up to `last`, with a result that is no number.
    fn computed(&mut self, last: usize) -> Option<Origin> {
        for index in 0..=last {
            if self.plan().steps[index].is_update {
                continue;
            }
            self.run_step(index).ok()?;
            let step = &self.plan().steps[index];
            if let Some(value) = step.results.iter().find_map(|place| self.not_finite(place)) {
                return Some(Origin::Step { name: step.name.clone(), op: step.op, value });
            }
        }
        None
    }

    fn not_finite(&self, place: &Place) -> Option<f32> {
        (place.elements() > 0).then(|| self.first_not_finite(place)).flatten()
    }
}
