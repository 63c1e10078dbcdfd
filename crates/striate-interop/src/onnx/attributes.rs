//! A node's attributes by name, with ONNX's defaults.

use super::error::Problem;
use super::proto::{AttributeValue, Node, Tensor};

/// The attributes of a node.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'n>(pub(crate) &'n Node<'n>);

impl<'n> Attributes<'n> {
    fn find(self, name: &'static str) -> Option<&'n AttributeValue<'n>> {
        self.0.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }

    /// Whether it is there.
    pub(crate) fn has(self, name: &'static str) -> bool {
        self.find(name).is_some()
    }

    /// A whole number.
    pub(crate) fn int(self, name: &'static str, default: i64) -> Result<i64, Problem> {
        match self.find(name) {
            None => Ok(default),
            Some(AttributeValue::Int(value)) => Ok(*value),
            Some(_) => Err(wrong(name, "is no whole number")),
        }
    }

    /// A float.
    pub(crate) fn float(self, name: &'static str, default: f32) -> Result<f32, Problem> {
        match self.find(name) {
            None => Ok(default),
            Some(AttributeValue::Float(value)) => Ok(*value),
            Some(_) => Err(wrong(name, "is no float")),
        }
    }

    /// Whole numbers, where it is there.
    pub(crate) fn ints(self, name: &'static str) -> Result<Option<&'n [i64]>, Problem> {
        match self.find(name) {
            None => Ok(None),
            Some(AttributeValue::Ints(values)) => Ok(Some(values)),
            Some(_) => Err(wrong(name, "is no list of whole numbers")),
        }
    }

    /// Floats, where it is there.
    pub(crate) fn floats(self, name: &'static str) -> Result<Option<&'n [f32]>, Problem> {
        match self.find(name) {
            None => Ok(None),
            Some(AttributeValue::Floats(values)) => Ok(Some(values)),
            Some(_) => Err(wrong(name, "is no list of floats")),
        }
    }

    /// Text.
    pub(crate) fn text(self, name: &'static str, default: &'static str) -> Result<&'n str, Problem> {
        match self.find(name) {
            None => Ok(default),
            Some(AttributeValue::Text(value)) => Ok(value),
            Some(_) => Err(wrong(name, "is no text")),
        }
    }

    /// A tensor, where it is there.
    pub(crate) fn tensor(self, name: &'static str) -> Result<Option<&'n Tensor<'n>>, Problem> {
        match self.find(name) {
            None => Ok(None),
            Some(AttributeValue::Tensor(value)) => Ok(Some(value)),
            Some(_) => Err(wrong(name, "is no tensor")),
        }
    }
}

/// An attribute that has another form or value than it should.
pub(crate) fn wrong(name: &'static str, problem: impl Into<String>) -> Problem {
    Problem::Attribute { name, problem: problem.into() }
}
