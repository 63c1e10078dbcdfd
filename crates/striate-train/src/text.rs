//! Small text forms, such as `onecycle:pct=0.3,anneal=linear`: a name, then arguments by place or by key.

use std::str::FromStr;

/// The argument list of a text form; every argument must be taken before [`Args::finish`].
pub(crate) struct Args<'a> {
    /// What the form is called.
    pub(crate) name: &'a str,
    /// Key (empty where the argument is given by place), value.
    left: Vec<(&'a str, &'a str)>,
    /// The keys asked for so far.
    known: Vec<&'static str>,
}

impl<'a> Args<'a> {
    /// Splits `name:value,key=value`.
    pub(crate) fn split(text: &'a str) -> Self {
        let (name, list) = text.split_once(':').unwrap_or((text, ""));
        let arguments = list.split(',').map(str::trim).filter(|argument| !argument.is_empty());
        let left = arguments.map(|argument| match argument.split_once('=') {
            Some((key, value)) => (key.trim(), value.trim()),
            None => ("", argument),
        });
        Self { name: name.trim(), left: left.collect(), known: Vec::new() }
    }

    /// The argument `key`, or else the first one given by place.
    pub(crate) fn take<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>, String> {
        self.known.push(key);
        let by_key = self.left.iter().position(|(given, _)| *given == key);
        let Some(at) = by_key.or_else(|| self.left.iter().position(|(given, _)| given.is_empty())) else {
            return Ok(None);
        };
        self.parse(at, key)
    }

    /// The argument `key`, never one given by place.
    pub(crate) fn take_key<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>, String> {
        self.known.push(key);
        match self.left.iter().position(|(given, _)| *given == key) {
            Some(at) => self.parse(at, key),
            None => Ok(None),
        }
    }

    /// Whether the word `key` is given.
    pub(crate) fn take_flag(&mut self, key: &'static str) -> bool {
        self.known.push(key);
        let at = self.left.iter().position(|argument| *argument == ("", key));
        at.map(|at| self.left.remove(at)).is_some()
    }

    fn parse<T: FromStr>(&mut self, at: usize, key: &str) -> Result<Option<T>, String> {
        let (_, value) = self.left.remove(at);
        let parsed = value.parse();
        parsed.map(Some).map_err(|_| format!("'{value}' does not do as '{key}' of '{}'", self.name))
    }

    /// All arguments given by place that are left.
    pub(crate) fn take_places<T: FromStr>(&mut self, key: &'static str) -> Result<Vec<T>, String> {
        let mut values = Vec::new();
        while self.left.iter().any(|(given, _)| given.is_empty()) {
            values.extend(self.take(key)?);
        }
        Ok(values)
    }

    /// Complains of arguments that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), String> {
        let Some((key, value)) = self.left.first() else {
            return Ok(());
        };
        let what = if key.is_empty() { format!("argument '{value}'") } else { format!("'{key}'") };
        Err(match &self.known[..] {
            [] => format!("'{}' takes no arguments, {what} was given", self.name),
            known => format!("'{}' does not know {what}; it takes {}", self.name, known.join(", ")),
        })
    }
}

/// The one of `names` that `text` was most likely meant to be.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let distances = names.into_iter().map(|name| (strsim::damerau_levenshtein(&text, name), name));
    distances.filter(|(distance, name)| *distance <= 1 + name.len() / 4).min().map(|(_, name)| name)
}
