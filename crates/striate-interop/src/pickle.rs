//! Python's pickles, as far as tensors in dictionaries need them: a machine with a stack that builds values and executes
//! nothing. Whatever a pickle asks for beyond that is refused by its name.
//!
//! The opcodes are those of protocols 2 to 5 that `torch.save` emits for state dicts (CPython's `Lib/pickletools.py`
//! describes each). Nothing recurses, and memory is bounded: at most [`MAX_VALUES`] values and as many bytes of text as
//! the pickle has.

use std::collections::HashMap;
use std::rc::Rc;

use thiserror::Error;

use crate::elements::Dtype;

/// The most values that a pickle may push, and the most that its dictionaries may be copied from lists.
const MAX_VALUES: usize = 1 << 22;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 16;
/// The longest name of something foreign that a message repeats, in characters.
const MAX_NAME: usize = 200;

/// Why a pickle is not read; places in bytes from its begin.
#[derive(Debug, PartialEq, Error)]
pub enum PickleProblem {
    /// It ends before it says so.
    #[error("the pickle ends too early, at byte {at}")]
    Cut {
        /// Its length.
        at: usize,
    },
    /// An instruction that tensors do not need.
    #[error("the pickle's instruction {code:#04x} at byte {at} is not one that tensors are written with")]
    Opcode {
        /// The instruction.
        code: u8,
        /// Where.
        at: usize,
    },
    /// Something other than tensors in dictionaries.
    #[error(
        "the pickle asks for {name}, which is refused: only tensors in dictionaries are read, nothing is executed; with \
         PyTorch, save the parameters alone: torch.save(model.state_dict(), 'parameters.pth')"
    )]
    Global {
        /// Module and name.
        name: String,
    },
    /// An instruction whose operands are not what it needs.
    #[error("the pickle is damaged: {what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// More values than any file of parameters has.
    #[error("the pickle builds more than {MAX_VALUES} values")]
    TooLarge,
}

/// A value of the machine.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// None, a number or bytes: what a state dict holds beside tensors.
    Other,
    Int(i64),
    Text(Rc<str>),
    Global(Global),
    /// A list, tuple or dictionary, by its number.
    Container(usize),
    Storage(Rc<Storage>),
    Tensor(Rc<TensorRef>),
}

/// What a pickle may ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Global {
    OrderedDict,
    Size,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

const GLOBALS: [(&str, Global); 14] = [
    ("collections OrderedDict", Global::OrderedDict),
    ("torch Size", Global::Size),
    ("torch._utils _rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils _rebuild_parameter", Global::RebuildParameter),
    ("torch FloatStorage", Global::Storage(Dtype::F32)),
    ("torch HalfStorage", Global::Storage(Dtype::F16)),
    ("torch BFloat16Storage", Global::Storage(Dtype::Bf16)),
    ("torch DoubleStorage", Global::Storage(Dtype::F64)),
    ("torch CharStorage", Global::Storage(Dtype::I8)),
    ("torch ByteStorage", Global::Storage(Dtype::U8)),
    ("torch ShortStorage", Global::Storage(Dtype::I16)),
    ("torch IntStorage", Global::Storage(Dtype::I32)),
    ("torch LongStorage", Global::Storage(Dtype::I64)),
    ("torch BoolStorage", Global::Storage(Dtype::Bool)),
];

/// Elements in an entry of their own.
#[derive(Debug)]
pub(crate) struct Storage {
    /// The name of its entry.
    pub(crate) key: Rc<str>,
    pub(crate) dtype: Dtype,
    /// The number of elements.
    pub(crate) len: usize,
}

/// A view of a storage; distances in elements.
#[derive(Debug)]
pub(crate) struct TensorRef {
    pub(crate) storage: Rc<Storage>,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

#[derive(Debug)]
pub(crate) enum Container {
    /// A list or a tuple.
    Sequence(Vec<Value>),
    Dict(Vec<(Value, Value)>),
}

/// What a pickle builds: a value, and the containers that values name. They may contain themselves.
#[derive(Debug)]
pub(crate) struct Pickled {
    pub(crate) root: Value,
    pub(crate) containers: Vec<Container>,
}

impl Pickled {
    /// The entries of a dictionary.
    pub(crate) fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Container(id) => match &self.containers[*id] {
                Container::Dict(entries) => Some(entries),
                Container::Sequence(_) => None,
            },
            _ => None,
        }
    }
}

/// Runs a pickle.
///
/// # Errors
/// What is wrong with it, or what it asks for that is refused.
pub(crate) fn load(bytes: &[u8]) -> Result<Pickled, PickleProblem> {
    let mut machine = Machine {
        bytes,
        at: 0,
        begin: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        containers: Vec::new(),
        values: 0,
    };
    let root = machine.run()?;
    Ok(Pickled { root, containers: machine.containers })
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    /// Where the current instruction begins.
    begin: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    containers: Vec<Container>,
    /// How many values have been made.
    values: usize,
}

type Step<T> = Result<T, PickleProblem>;

impl<'a> Machine<'a> {
    fn run(&mut self) -> Step<Value> {
        loop {
            self.begin = self.at;
            let [code] = self.array()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Step<()> {
        match code {
            // PROTO and FRAME: which protocol, and how much follows.
            0x80 => self.array::<1>().map(|_| ()),
            0x95 => self.array::<8>().map(|_| ()),
            b'(' => {
                self.count(1)?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_mark().map(|_| ()),
            // None, True, False, a float.
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'G' => {
                self.array::<8>()?;
                self.push(Value::Other)
            }
            b'J' => self.array().and_then(|bytes| self.push(Value::Int(i32::from_le_bytes(bytes).into()))),
            b'K' => self.array().and_then(|[byte]| self.push(Value::Int(byte.into()))),
            b'M' => self.array().and_then(|bytes| self.push(Value::Int(u16::from_le_bytes(bytes).into()))),
            0x8a => {
                let [len] = self.array()?;
                self.long(len.into())
            }
            // Text, long and short.
            b'X' => self.length::<4>().and_then(|len| self.text(len)),
            0x8c => self.length::<1>().and_then(|len| self.text(len)),
            0x8d => self.length::<8>().and_then(|len| self.text(len)),
            // Bytes, of Python 2 and 3.
            b'T' | b'B' => self.length::<4>().and_then(|len| self.skip(len)),
            b'U' | b'C' => self.length::<1>().and_then(|len| self.skip(len)),
            0x8e => self.length::<8>().and_then(|len| self.skip(len)),
            b')' | b']' => self.container(Container::Sequence(Vec::new())),
            b'}' => self.container(Container::Dict(Vec::new())),
            b't' | b'l' => self.pop_mark().and_then(|items| self.container(Container::Sequence(items))),
            b'd' => {
                let entries = self.pop_mark().and_then(|items| self.pairs(items))?;
                self.container(Container::Dict(entries))
            }
            // Tuples of 1, 2, 3.
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84));
                let floor = self.floor();
                let from =
                    from.filter(|from| *from >= floor).ok_or_else(|| self.malformed("an empty stack"))?;
                let items = self.stack.split_off(from);
                self.container(Container::Sequence(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' => self.pop_mark().and_then(|items| self.append(items)),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])
            }
            b'u' => {
                let entries = self.pop_mark().and_then(|items| self.pairs(items))?;
                self.set(entries)
            }
            b'q' => self.array().and_then(|[id]| self.remember(id.into())),
            b'r' => self.array().and_then(|bytes| self.remember(u32::from_le_bytes(bytes))),
            // MEMOIZE: under the next number.
            0x94 => self.remember(self.memo.len() as u32),
            b'h' => self.array().and_then(|[id]| self.recall(id.into())),
            b'j' => self.array().and_then(|bytes| self.recall(u32::from_le_bytes(bytes))),
            b'c' => {
                let name = [self.line()?, self.line()?].map(|part| String::from_utf8_lossy(part));
                self.global(&name[0], &name[1])
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (module, name) {
                    (Value::Text(module), Value::Text(name)) => self.global(&module, &name),
                    _ => Err(self.malformed("a global without name")),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(&id)
            }
            b'R' => {
                let (args, call) = (self.pop()?, self.pop()?);
                self.reduce(&call, &args)
            }
            // BUILD gives an OrderedDict its attributes: state dicts keep the versions of their modules there.
            b'b' => {
                self.pop()?;
                match self.top()? {
                    Value::Container(_) => Ok(()),
                    _ => Err(self.malformed("attributes of something that has none")),
                }
            }
            code => Err(PickleProblem::Opcode { code, at: self.begin }),
        }
    }

    fn malformed(&self, what: &'static str) -> PickleProblem {
        PickleProblem::Malformed { what, at: self.begin }
    }

    fn count(&mut self, more: usize) -> Step<()> {
        self.values += more;
        if self.values > MAX_VALUES { Err(PickleProblem::TooLarge) } else { Ok(()) }
    }

    fn take(&mut self, len: usize) -> Step<&'a [u8]> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..len).ok_or(PickleProblem::Cut { at: self.bytes.len() })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length of `N` bytes.
    fn length<const N: usize>(&mut self) -> Step<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| self.malformed("a length"))
    }

    /// The bytes up to the next line feed.
    fn line(&mut self) -> Step<&'a [u8]> {
        let left = &self.bytes[self.at..];
        let len = left.iter().position(|byte| *byte == b'\n');
        let line = self.take(len.ok_or(PickleProblem::Cut { at: self.bytes.len() })?)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Step<()> {
        self.count(1)?;
        self.stack.push(value);
        Ok(())
    }

    /// Below this nothing may be taken from the stack.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Value> {
        let value = (self.stack.len() > self.floor()).then(|| self.stack.pop()).flatten();
        value.ok_or_else(|| self.malformed("an empty stack"))
    }

    fn top(&self) -> Step<&Value> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.ok_or_else(|| self.malformed("an empty stack"))
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let height = self.marks.pop().ok_or_else(|| self.malformed("no mark"))?;
        Ok(self.stack.split_off(height))
    }

    fn pairs(&self, items: Vec<Value>) -> Step<Vec<(Value, Value)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.malformed("a key without value"));
        }
        let mut items = items.into_iter();
        let mut entries = Vec::with_capacity(items.len() / 2);
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(entries)
    }

    fn long(&mut self, len: usize) -> Step<()> {
        let bytes = self.take(len)?;
        if len > 8 {
            return Err(self.malformed("a number of more than 64 bits"));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..len].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, len: usize) -> Step<()> {
        let text = String::from_utf8_lossy(self.take(len)?);
        self.push(Value::Text(text.into()))
    }

    fn skip(&mut self, len: usize) -> Step<()> {
        self.take(len)?;
        self.push(Value::Other)
    }

    fn container(&mut self, container: Container) -> Step<()> {
        let id = self.containers.len();
        self.containers.push(container);
        self.push(Value::Container(id))
    }

    /// The list on top of the stack grows.
    fn append(&mut self, items: Vec<Value>) -> Step<()> {
        if let Value::Container(id) = *self.top()?
            && let Container::Sequence(list) = &mut self.containers[id]
        {
            list.extend(items);
            return Ok(());
        }
        Err(self.malformed("no list to append to"))
    }

    /// The dictionary on top of the stack grows.
    fn set(&mut self, entries: Vec<(Value, Value)>) -> Step<()> {
        if let Value::Container(id) = *self.top()?
            && let Container::Dict(dict) = &mut self.containers[id]
        {
            dict.extend(entries);
            return Ok(());
        }
        Err(self.malformed("no dictionary to fill"))
    }

    fn remember(&mut self, id: u32) -> Step<()> {
        self.count(1)?;
        let top = self.top()?.clone();
        self.memo.insert(id, top);
        Ok(())
    }

    fn recall(&mut self, id: u32) -> Step<()> {
        match self.memo.get(&id).cloned() {
            Some(value) => self.push(value),
            None => Err(self.malformed("a value that was never kept")),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let full = format!("{module} {name}");
        match GLOBALS.iter().find(|(known, _)| *known == full) {
            Some((_, global)) => self.push(Value::Global(*global)),
            None => {
                let shown = |part: &str| part.chars().take(MAX_NAME / 2).collect::<String>();
                Err(PickleProblem::Global { name: format!("{}.{}", shown(module), shown(name)) })
            }
        }
    }

    fn sequence(&self, value: &Value) -> Step<&[Value]> {
        if let Value::Container(id) = value
            && let Container::Sequence(items) = &self.containers[*id]
        {
            return Ok(items);
        }
        Err(self.malformed("no tuple where one is needed"))
    }

    /// A size, a stride, an offset.
    fn size(&self, value: &Value) -> Step<usize> {
        match value {
            Value::Int(int) => usize::try_from(*int).map_err(|_| self.malformed("a negative size")),
            _ => Err(self.malformed("a size that is no number")),
        }
    }

    fn sizes(&self, value: &Value) -> Step<Vec<usize>> {
        let items = self.sequence(value)?;
        if items.len() > MAX_RANK {
            return Err(self.malformed("a tensor of more dimensions than any has"));
        }
        items.iter().map(|item| self.size(item)).collect()
    }

    /// `('storage', type, key, location, elements)`.
    fn persistent(&mut self, id: &Value) -> Step<()> {
        let storage = match self.sequence(id)? {
            [Value::Text(kind), Value::Global(Global::Storage(dtype)), Value::Text(key), _, len]
                if &**kind == "storage" =>
            {
                Storage { key: key.clone(), dtype: *dtype, len: self.size(len)? }
            }
            _ => return Err(self.malformed("a reference to something other than a storage")),
        };
        self.push(Value::Storage(Rc::new(storage)))
    }

    /// What a call of one of the known functions gives.
    fn reduce(&mut self, call: &Value, args: &Value) -> Step<()> {
        let Value::Global(global) = call else {
            return Err(self.malformed("a call of something that is no function"));
        };
        let args = self.sequence(args)?;
        match (global, args) {
            (Global::OrderedDict, []) => self.container(Container::Dict(Vec::new())),
            (Global::OrderedDict, [list]) => {
                let items = self.sequence(list)?;
                let len = items.len();
                let pair = |item| match self.sequence(item)? {
                    [key, value] => Ok((key.clone(), value.clone())),
                    _ => Err(self.malformed("no pair of key and value")),
                };
                if self.values + len > MAX_VALUES {
                    return Err(PickleProblem::TooLarge);
                }
                let entries = items.iter().map(pair).collect::<Step<_>>()?;
                self.count(len)?;
                self.container(Container::Dict(entries))
            }
            (Global::Size, [sizes @ Value::Container(_)]) => {
                let sizes = sizes.clone();
                self.push(sizes)
            }
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => {
                let tensor = tensor.clone();
                self.push(tensor)
            }
            (Global::RebuildTensor, [Value::Storage(storage), offset, shape, strides, ..]) => {
                let (offset, storage) = (self.size(offset)?, storage.clone());
                let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
                if shape.len() != strides.len() {
                    return Err(self.malformed("sizes and strides that do not go together"));
                }
                self.push(Value::Tensor(Rc::new(TensorRef { storage, offset, shape, strides })))
            }
            _ => Err(self.malformed("a call with other arguments than the function has")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_lists_and_numbers() {
        // pickle.dumps({'a': [1, -2, 70000, 2**40], 'b': (None, True, 1.5, 'x')}, 2)
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x8a\x06\
            \x00\x00\x00\x00\x00\x01eX\x01\x00\x00\x00bq\x03(N\x88G?\xf8\x00\x00\x00\x00\x00\x00X\x01\x00\x00\x00xq\x04tq\x05u.";
        let pickled = load(bytes).unwrap();
        let entries = pickled.dict(&pickled.root).unwrap();
        let [(Value::Text(a), Value::Container(list)), (Value::Text(b), Value::Container(_))] = entries
        else {
            panic!("{entries:?}")
        };
        assert_eq!((&**a, &**b), ("a", "b"));
        let Container::Sequence(list) = &pickled.containers[*list] else { panic!() };
        let ints: Vec<i64> =
            list.iter().map(|item| if let Value::Int(int) = item { *int } else { panic!() }).collect();
        assert_eq!(ints, [1, -2, 70000, 1 << 40]);
    }

    #[test]
    fn everything_foreign_is_refused_by_name() {
        // What executes code when Python reads it: os.system("true"), with GLOBAL and with STACK_GLOBAL.
        for bytes in [
            &b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."[..],
            b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
        ] {
            let error = load(bytes).unwrap_err();
            assert_eq!(error, PickleProblem::Global { name: "posix.system".into() });
            assert!(error.to_string().contains("torch.save(model.state_dict()"), "{error}");
        }
        let long = [b"c", &[b'm'; 1000][..], b"\n", &[b'n'; 1000], b"\n."].concat();
        let Err(PickleProblem::Global { name }) = load(&long) else { panic!() };
        assert_eq!(name.len(), MAX_NAME + 1);
        // INST and OBJ call classes, EXT1 looks one up in a registry.
        for code in [b'i', b'o', 0x81, 0x82, 0x92] {
            assert_eq!(load(&[code]).unwrap_err(), PickleProblem::Opcode { code, at: 0 });
        }
    }

    #[test]
    fn damage_is_told_with_its_place() {
        for (bytes, what) in [
            (&b""[..], "ends too early, at byte 0"),
            (b"\x80\x02X\xff\xff\xff\xffabc", "ends too early"),
            (b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff", "ends too early"),
            (b".", "an empty stack at byte 0"),
            (b"(0.", "an empty stack at byte 1"),
            (b"]K\x01K\x02s.", "no dictionary to fill at byte 5"),
            (b"}(K\x01u.", "a key without value"),
            (b"h\x05.", "never kept"),
            (b"NNR.", "no function"),
            (b"ccollections\nOrderedDict\nNR.", "no tuple"),
            (b"NQ.", "no tuple"),
            (b")Q.", "other than a storage"),
            (b"\x8a\x09123456789.", "more than 64 bits"),
        ] {
            let error = load(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }

    #[test]
    fn what_a_pickle_can_build_is_bounded() {
        let pushes = [vec![b'N'; MAX_VALUES + 1], b".".to_vec()].concat();
        assert_eq!(load(&pushes).unwrap_err(), PickleProblem::TooLarge);
        let marks = vec![b'('; MAX_VALUES + 1];
        assert_eq!(load(&marks).unwrap_err(), PickleProblem::TooLarge);
        // A list of 2^11 pairs, made into a dictionary 2^11 times.
        let list = [&b"]("[..], &b"))\x86".repeat(1 << 11), b"eq\x00"].concat();
        let calls = b"ccollections\nOrderedDict\nh\x00\x85R".repeat(1 << 11);
        assert_eq!(load(&[list, calls].concat()).unwrap_err(), PickleProblem::TooLarge);
        // A list in itself is a value like others: nothing follows it.
        assert!(load(b"]q\x00h\x00a.").is_ok());
    }
}
