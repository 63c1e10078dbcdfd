//! Why a command ends before it is done, and what to do about it.

use std::any::Any;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::signals::INTERRUPTED;

/// What a verb returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command ended before it was done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The reader of the output went away: nothing to tell anyone.
    OutputClosed,
    /// It has been told already.
    Told,
    /// It was asked to stop and did.
    Stopped {
        /// Where it stands.
        text: String,
        /// How to go on.
        advice: String,
    },
    /// To be told.
    Message {
        /// What went wrong; every line of a longer text begins a new thought.
        text: String,
        /// What to do next.
        advice: Option<String>,
        /// Whether the command line was wrong, not what it led to.
        usage: bool,
    },
}

impl Failure {
    /// Something went wrong.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Failure::Message { text: text.into(), advice: None, usage: false }
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Failure::Message { text: text.into(), advice: None, usage: true }
    }

    /// The same with what to do next.
    pub(crate) fn advise(self, next: impl Into<String>) -> Self {
        match self {
            Failure::Message { text, usage, .. } => {
                Failure::Message { text, advice: Some(next.into()), usage }
            }
            other => other,
        }
    }

    /// The same as a fault of the command line.
    pub(crate) fn of_usage(self) -> Self {
        match self {
            Failure::Message { text, advice, .. } => Failure::Message { text, advice, usage: true },
            other => other,
        }
    }

    /// Tells it on standard error; 1 where something failed, 2 where the command line was wrong, 130 where it was
    /// asked to stop.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Failure::OutputClosed => ExitCode::SUCCESS,
            Failure::Told => ExitCode::FAILURE,
            Failure::Stopped { text, advice } => {
                note(&text);
                let label = console::style("next:").cyan().bold().for_stderr();
                let _ = writeln!(io::stderr().lock(), "{label} {advice}");
                ExitCode::from(INTERRUPTED)
            }
            Failure::Message { text, advice, usage } => {
                let mut err = io::stderr().lock();
                // Texts with their place in a source already begin with the word.
                let text = text.trim_end();
                let text = text.strip_prefix("error: ").unwrap_or(text);
                let label = console::style("error:").red().bold().for_stderr();
                let _ = writeln!(err, "{label} {text}");
                if let Some(advice) = advice {
                    let label = console::style("next:").cyan().bold().for_stderr();
                    let _ = writeln!(err, "{label} {advice}");
                }
                ExitCode::from(if usage { 2 } else { 1 })
            }
        }
    }
}

/// Tells on standard error what is no failure but should be known.
pub(crate) fn note(text: &str) {
    let label = console::style("note:").yellow().bold().for_stderr();
    let _ = writeln!(io::stderr().lock(), "{label} {text}");
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let io = (&error as &dyn Any).downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return Failure::OutputClosed;
        }
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = error.source();
        }
        Failure::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_are_told_once_in_one_line() {
        let Failure::Message { text, .. } = Outer(io::Error::other("inner")).into() else { panic!() };
        assert_eq!(text, "outer: inner");
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(closed.into(), Failure::OutputClosed));
    }
}
