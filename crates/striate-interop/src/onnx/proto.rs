//! ONNX's messages, as far as a network needs them (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>).

use crate::protobuf::{Fields, WireError, Writer};
use std::borrow::Cow;

/// The most nodes, tensors, inputs or attributes that are read; networks have thousands.
const MAX_PARTS: usize = 1 << 18;

/// A model: a graph and what version of the operators it means.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model<'a> {
    pub(crate) ir_version: i64,
    pub(crate) producer: String,
    pub(crate) producer_version: String,
    pub(crate) graph: Option<Graph<'a>>,
    /// Operator sets: domain (empty: ONNX's own) and version.
    pub(crate) opsets: Vec<(String, i64)>,
    pub(crate) metadata: Vec<(String, String)>,
}

/// A computation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Graph<'a> {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) initializers: Vec<Tensor<'a>>,
    pub(crate) inputs: Vec<ValueInfo>,
    pub(crate) outputs: Vec<ValueInfo>,
    /// Whether it has sparse tensors, which are not read.
    pub(crate) sparse: bool,
}

/// An operator applied to named values; an empty name is an input left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node<'a> {
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) domain: String,
    pub(crate) attributes: Vec<Attribute<'a>>,
}

/// A named attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: String,
    pub(crate) value: AttributeValue<'a>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AttributeValue<'a> {
    Float(f32),
    Int(i64),
    Text(String),
    Tensor(Tensor<'a>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// Graphs, types, lists of texts or tensors: of operators that are not read.
    Other,
}

/// A tensor as files hold it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tensor<'a> {
    pub(crate) name: String,
    pub(crate) dims: Vec<i64>,
    pub(crate) data_type: i64,
    /// Elements, little-endian.
    pub(crate) raw: Option<Cow<'a, [u8]>>,
    /// Elements in typed fields: floats and doubles.
    pub(crate) floats: Vec<f32>,
    /// Elements in typed fields: whole numbers, and halves as their bits.
    pub(crate) ints: Vec<i64>,
    /// Where elements in another file lie: `location`, `offset`, `length`.
    pub(crate) external: Option<Vec<(String, String)>>,
}

/// A named value with its type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ValueInfo {
    pub(crate) name: String,
    /// The elements' type; `None` of a sequence, a map or an optional value.
    pub(crate) data_type: Option<i64>,
    /// The dimensions; `None` where not even their number is known.
    pub(crate) shape: Option<Vec<Dim>>,
}

/// A dimension.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Dim {
    Known(i64),
    /// By name; an empty one is unknown.
    Symbol(String),
}

/// Reads all fields of a message.
macro_rules! each_field {
    ($message:literal, $bytes:expr, $field:ident => { $($number:literal => $read:expr,)* }) => {
        let mut fields = Fields::new($message, $bytes);
        while let Some($field) = fields.next()? {
            match $field.number {
                $($number => $read,)*
                _ => {}
            }
        }
    };
}

fn push<T>(to: &mut Vec<T>, item: T, message: &'static str, what: &'static str) -> Result<(), WireError> {
    if to.len() == MAX_PARTS {
        return Err(WireError::Many { message, what, limit: MAX_PARTS });
    }
    to.push(item);
    Ok(())
}

impl<'a> Model<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut model = Self::default();
        each_field!("the model", bytes, field => {
            1 => model.ir_version = field.int()?,
            2 => model.producer = field.text()?,
            3 => model.producer_version = field.text()?,
            7 => model.graph = Some(Graph::read(field.bytes()?)?),
            8 => push(&mut model.opsets, read_opset(field.bytes()?)?, "the model", "operator sets")?,
            14 => push(&mut model.metadata, read_entry(field.bytes()?)?, "the model", "metadata")?,
        });
        Ok(model)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.int(1, self.ir_version);
        to.text(2, &self.producer);
        to.text(3, &self.producer_version);
        if let Some(graph) = &self.graph {
            to.message(7, |to| graph.write(to));
        }
        for (domain, version) in &self.opsets {
            to.message(8, |to| {
                to.text(1, domain);
                to.int(2, *version);
            });
        }
        for entry in &self.metadata {
            to.message(14, |to| write_entry(entry, to));
        }
        to.0
    }
}

fn read_opset(bytes: &[u8]) -> Result<(String, i64), WireError> {
    let (mut domain, mut version) = (String::new(), 0);
    each_field!("an operator set", bytes, field => {
        1 => domain = field.text()?,
        2 => version = field.int()?,
    });
    Ok((domain, version))
}

fn read_entry(bytes: &[u8]) -> Result<(String, String), WireError> {
    let (mut key, mut value) = (String::new(), String::new());
    each_field!("an entry", bytes, field => {
        1 => key = field.text()?,
        2 => value = field.text()?,
    });
    Ok((key, value))
}

fn write_entry((key, value): &(String, String), to: &mut Writer) {
    to.text(1, key);
    to.text(2, value);
}

impl<'a> Graph<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut graph = Self::default();
        each_field!("the graph", bytes, field => {
            1 => push(&mut graph.nodes, Node::read(field.bytes()?)?, "the graph", "nodes")?,
            2 => graph.name = field.text()?,
            5 => push(&mut graph.initializers, Tensor::read(field.bytes()?)?, "the graph", "initializers")?,
            11 => push(&mut graph.inputs, ValueInfo::read(field.bytes()?)?, "the graph", "inputs")?,
            12 => push(&mut graph.outputs, ValueInfo::read(field.bytes()?)?, "the graph", "outputs")?,
            15 => graph.sparse = true,
        });
        Ok(graph)
    }

    fn write(&self, to: &mut Writer) {
        for node in &self.nodes {
            to.message(1, |to| node.write(to));
        }
        to.text(2, &self.name);
        for tensor in &self.initializers {
            to.message(5, |to| tensor.write(to));
        }
        for (number, infos) in [(11, &self.inputs), (12, &self.outputs)] {
            for info in infos {
                to.message(number, |to| info.write(to));
            }
        }
    }
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut node = Self::default();
        each_field!("a node", bytes, field => {
            1 => push(&mut node.inputs, field.text()?, "a node", "inputs")?,
            2 => push(&mut node.outputs, field.text()?, "a node", "outputs")?,
            3 => node.name = field.text()?,
            4 => node.op = field.text()?,
            5 => push(&mut node.attributes, Attribute::read(field.bytes()?)?, "a node", "attributes")?,
            7 => node.domain = field.text()?,
        });
        Ok(node)
    }

    fn write(&self, to: &mut Writer) {
        // Names left out are written too: they hold the place.
        self.inputs.iter().for_each(|name| to.bytes(1, name.as_bytes()));
        self.outputs.iter().for_each(|name| to.bytes(2, name.as_bytes()));
        to.text(3, &self.name);
        to.text(4, &self.op);
        for attribute in &self.attributes {
            to.message(5, |to| attribute.write(to));
        }
        to.text(7, &self.domain);
    }
}

impl<'a> Attribute<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (mut name, mut kind, mut other) = (String::new(), 0, false);
        let (mut float, mut int, mut text, mut tensor) = (None, None, None, None);
        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        each_field!("an attribute", bytes, field => {
            1 => name = field.text()?,
            2 => float = Some(field.float()?),
            3 => int = Some(field.int()?),
            4 => text = Some(field.text()?),
            5 => tensor = Some(Tensor::read(field.bytes()?)?),
            7 => field.floats(&mut floats)?,
            8 => field.ints(&mut ints)?,
            20 => kind = field.int()?,
            // A reference to a function's attribute.
            21 => other = true,
        });
        // Files from before the type was kept have the one field that is there.
        let value = match kind {
            _ if other => AttributeValue::Other,
            0 if tensor.is_some() => AttributeValue::Tensor(tensor.unwrap_or_default()),
            0 if text.is_some() => AttributeValue::Text(text.unwrap_or_default()),
            0 if float.is_some() => AttributeValue::Float(float.unwrap_or_default()),
            0 if int.is_some() => AttributeValue::Int(int.unwrap_or_default()),
            0 if !floats.is_empty() => AttributeValue::Floats(floats),
            0 if !ints.is_empty() => AttributeValue::Ints(ints),
            1 => AttributeValue::Float(float.unwrap_or_default()),
            2 => AttributeValue::Int(int.unwrap_or_default()),
            3 => AttributeValue::Text(text.unwrap_or_default()),
            4 => AttributeValue::Tensor(tensor.unwrap_or_default()),
            6 => AttributeValue::Floats(floats),
            7 => AttributeValue::Ints(ints),
            _ => AttributeValue::Other,
        };
        Ok(Self { name, value })
    }

    fn write(&self, to: &mut Writer) {
        to.text(1, &self.name);
        let kind = match &self.value {
            AttributeValue::Float(value) => {
                to.float(2, *value);
                1
            }
            AttributeValue::Int(value) => {
                to.int(3, *value);
                2
            }
            AttributeValue::Text(value) => {
                to.bytes(4, value.as_bytes());
                3
            }
            AttributeValue::Tensor(value) => {
                to.message(5, |to| value.write(to));
                4
            }
            AttributeValue::Floats(values) => {
                values.iter().for_each(|value| to.float(7, *value));
                6
            }
            AttributeValue::Ints(values) => {
                values.iter().for_each(|value| to.int(8, *value));
                7
            }
            AttributeValue::Other => 0,
        };
        to.int(20, kind);
    }
}

impl<'a> Tensor<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut tensor = Self::default();
        let (mut external, mut location) = (Vec::new(), 0);
        each_field!("a tensor", bytes, field => {
            1 => {
                field.ints(&mut tensor.dims)?;
                if tensor.dims.len() > MAX_RANK {
                    return Err(WireError::Many { message: "a tensor", what: "dimensions", limit: MAX_RANK });
                }
            },
            2 => tensor.data_type = field.int()?,
            4 => field.floats(&mut tensor.floats)?,
            5 => field.ints(&mut tensor.ints)?,
            7 => field.ints(&mut tensor.ints)?,
            8 => tensor.name = field.text()?,
            9 => tensor.raw = Some(Cow::Borrowed(field.bytes()?)),
            10 => field.doubles(&mut tensor.floats)?,
            11 => field.ints(&mut tensor.ints)?,
            13 => push(&mut external, read_entry(field.bytes()?)?, "a tensor", "entries")?,
            14 => location = field.int()?,
        });
        tensor.external = (location == 1).then_some(external);
        Ok(tensor)
    }

    fn write(&self, to: &mut Writer) {
        to.ints(1, &self.dims);
        to.int(2, self.data_type);
        to.text(8, &self.name);
        if let Some(raw) = &self.raw {
            to.bytes(9, raw);
        }
    }
}

/// The most dimensions of a tensor.
pub(crate) const MAX_RANK: usize = 32;

impl ValueInfo {
    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut info = Self::default();
        each_field!("a value", bytes, field => {
            1 => info.name = field.text()?,
            2 => (info.data_type, info.shape) = read_type(field.bytes()?)?,
        });
        Ok(info)
    }

    fn write(&self, to: &mut Writer) {
        to.text(1, &self.name);
        to.message(2, |to| {
            to.message(1, |to| {
                to.int(1, self.data_type.unwrap_or_default());
                to.message(2, |to| {
                    for dim in self.shape.iter().flatten() {
                        to.message(1, |to| match dim {
                            Dim::Known(size) => to.int(1, *size),
                            Dim::Symbol(name) => to.text(2, name),
                        });
                    }
                });
            });
        });
    }
}

type ReadType = (Option<i64>, Option<Vec<Dim>>);

fn read_type(bytes: &[u8]) -> Result<ReadType, WireError> {
    let (mut data_type, mut shape) = (None, None);
    each_field!("a type", bytes, field => {
        1 => {
            each_field!("a tensor's type", field.bytes()?, field => {
                1 => data_type = Some(field.int()?),
                2 => shape = Some(read_shape(field.bytes()?)?),
            });
        },
    });
    Ok((data_type, shape))
}

fn read_shape(bytes: &[u8]) -> Result<Vec<Dim>, WireError> {
    let mut dims = Vec::new();
    each_field!("a shape", bytes, field => {
        1 => {
            let mut dim = Dim::Symbol(String::new());
            each_field!("a dimension", field.bytes()?, field => {
                1 => dim = Dim::Known(field.int()?),
                2 => dim = Dim::Symbol(field.text()?),
            });
            if dims.len() == MAX_RANK {
                return Err(WireError::Many { message: "a shape", what: "dimensions", limit: MAX_RANK });
            }
            dims.push(dim);
        },
    });
    Ok(dims)
}
