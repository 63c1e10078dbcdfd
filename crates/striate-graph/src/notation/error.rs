//! What is wrong with a text, and where.

use std::fmt;
use std::ops::Range;
use thiserror::Error;

/// The most errors that one text gets.
const MAX_ERRORS: usize = 100;

/// One thing wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {message}; {help}")]
pub struct NotationError {
    /// The place, in bytes.
    pub span: Range<usize>,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

/// Everything wrong with a text (up to 100 errors), in its order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct NotationErrors(pub Vec<NotationError>);

impl fmt::Display for NotationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(NotationError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl NotationErrors {
    /// The errors with the lines of `text` they are in, the places underlined.
    ///
    /// ```
    /// let text = "conv3-64 - relu\ncovn3-64";
    /// let errors = striate_graph::notation::parse(text).unwrap_err();
    /// assert_eq!(errors.render("small.net", text), "\
    /// error: unknown layer 'covn3'
    ///   --> small.net:2:1
    ///   |
    /// 2 | covn3-64
    ///   | ^^^^^
    ///   = did you mean 'conv3'?
    /// ");
    /// ```
    pub fn render(&self, source_name: &str, text: &str) -> String {
        let blocks: Vec<String> = self.0.iter().map(|error| error.render(source_name, text)).collect();
        blocks.join("\n")
    }
}

impl NotationError {
    fn render(&self, source_name: &str, text: &str) -> String {
        /// The most characters of a line shown before the place, and underlined.
        const BEFORE: usize = 60;
        const MARKED: usize = 60;
        let clamp =
            |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let start = clamp(self.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = clamp(self.span.end).clamp(start, line_end);
        let visible = |c: char| if c.is_control() { ' ' } else { c };

        let before: Vec<char> = text[line_start..start].chars().map(visible).collect();
        let hidden = before.len().saturating_sub(BEFORE);
        let before: String = before[hidden..].iter().collect();
        let after: String = text[start..line_end].trim_end().chars().map(visible).take(MARKED + 20).collect();
        let lead = if hidden > 0 { "… " } else { "" };
        let marked = text[start..end].chars().count().clamp(1, MARKED);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let blank = " ".repeat(lead.chars().count() + before.chars().count());
        format!(
            "error: {}\n{margin} --> {source_name}:{}:{}\n{margin} |\n{number} | {lead}{before}{after}\n{margin} | {blank}{}\n{margin} = {}\n",
            self.message,
            self.line,
            self.column,
            "^".repeat(marked),
            self.help,
        )
    }
}

/// Collects errors.
pub(super) struct Report<'a> {
    text: &'a str,
    errors: Vec<NotationError>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, errors: Vec::new() }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            let before = &self.text[..span.start];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            self.errors.push(NotationError {
                span,
                line,
                column,
                message: message.into(),
                help: help.into(),
            });
        }
    }

    /// Whether this place has an error already, or no more are wanted.
    pub(super) fn covers(&self, span: &Range<usize>) -> bool {
        self.errors.len() >= MAX_ERRORS || self.errors.iter().any(|error| error.span == *span)
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The errors in the order of the text.
    pub(super) fn finish(mut self) -> Result<(), NotationErrors> {
        self.errors.sort_by_key(|error| error.span.start);
        if self.errors.is_empty() { Ok(()) } else { Err(NotationErrors(self.errors)) }
    }
}
