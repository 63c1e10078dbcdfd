//! Tables that fit the terminal.

use console::{Term, measure_text_width, style};
use std::io::{self, Write};

/// A column: its head, which side its cells stand on, and how gladly it goes where the terminal is narrow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    head: &'static str,
    right: bool,
    /// 0 stays; of the others the greatest goes first.
    dispensable: u8,
}

/// A column of words.
pub(crate) const fn left(head: &'static str) -> Column {
    Column { head, right: false, dispensable: 0 }
}

/// A column of numbers.
pub(crate) const fn right(head: &'static str) -> Column {
    Column { head, right: true, dispensable: 0 }
}

impl Column {
    /// Goes where there is no room, before those of a lower `rank`.
    pub(crate) const fn dispensable(self, rank: u8) -> Self {
        Self { dispensable: rank, ..self }
    }
}

/// Rows of cells under heads.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    /// What the columns are called, where it is not known beforehand.
    heads: Option<Vec<String>>,
    rows: Vec<Vec<String>>,
    /// Before these rows stands a line.
    lines: Vec<usize>,
}

const GAP: usize = 2;

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), heads: None, rows: Vec::new(), lines: Vec::new() }
    }

    /// The same with other heads, one for each column.
    pub(crate) fn heads(self, heads: Vec<String>) -> Self {
        debug_assert_eq!(heads.len(), self.columns.len());
        Self { heads: Some(heads), ..self }
    }

    fn head(&self, at: usize) -> &str {
        self.heads.as_ref().map_or(self.columns[at].head, |heads| &heads[at])
    }

    /// Appends a row; it has a cell for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// Appends a line across the table.
    pub(crate) fn line(&mut self) {
        self.lines.push(self.rows.len());
    }

    /// Writes the table for the terminal that standard output is, or in full where it is none.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let room = Term::stdout().size_checked().map_or(usize::MAX, |(_, columns)| columns as usize);
        self.write_within(room, out)
    }

    fn write_within(&self, room: usize, out: &mut impl Write) -> io::Result<()> {
        let width = |at: usize| {
            let cells = self.rows.iter().map(|row| measure_text_width(&row[at]));
            cells.max().unwrap_or(0).max(measure_text_width(self.head(at)))
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        // A column without a word in it says nothing.
        let said = |at: &usize| self.rows.iter().any(|row| !row[*at].is_empty());
        let mut shown: Vec<usize> = (0..self.columns.len()).filter(said).collect();
        let total =
            |shown: &[usize]| shown.iter().map(|at| widths[*at] + GAP).sum::<usize>().saturating_sub(GAP);
        while total(&shown) > room {
            let rank = |at: &usize| self.columns[*at].dispensable;
            let Some(index) = (0..shown.len()).max_by_key(|index| rank(&shown[*index])) else { break };
            if rank(&shown[index]) == 0 {
                break;
            }
            shown.remove(index);
        }
        let heads: Vec<&str> = (0..self.columns.len()).map(|at| self.head(at)).collect();
        writeln!(out, "{}", style(self.pad(&shown, &widths, &heads)).bold())?;
        for (index, row) in self.rows.iter().enumerate() {
            if self.lines.contains(&index) {
                writeln!(out, "{}", style("─".repeat(total(&shown).min(room))).dim())?;
            }
            writeln!(out, "{}", self.pad(&shown, &widths, row))?;
        }
        Ok(())
    }

    fn pad(&self, shown: &[usize], widths: &[usize], cells: &[impl AsRef<str>]) -> String {
        let mut text = String::new();
        for (index, at) in shown.iter().enumerate() {
            let cell = cells[*at].as_ref();
            let space = " ".repeat(widths[*at] - measure_text_width(cell));
            text += &" ".repeat(if index > 0 { GAP } else { 0 });
            text += &if self.columns[*at].right { space + cell } else { cell.to_string() + &space };
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(room: usize) -> String {
        let mut table =
            Table::new([left("name"), right("params"), right("field").dispensable(1), left("note")]);
        table.row(["conv1".into(), "1,792".into(), "3×3".into(), String::new()]);
        table.line();
        table.row(["sum".into(), "10".into(), String::new(), String::new()]);
        let mut text = Vec::new();
        table.write_within(room, &mut text).unwrap();
        console::strip_ansi_codes(&String::from_utf8(text).unwrap()).into_owned()
    }

    #[test]
    fn columns_stand_in_line_and_empty_ones_go() {
        let line = "─".repeat(20);
        assert_eq!(
            written(80),
            format!("name   params  field\nconv1   1,792    3×3\n{line}\nsum        10\n")
        );
    }

    #[test]
    fn a_narrow_terminal_loses_what_can_be_spared() {
        let line = "─".repeat(13);
        assert_eq!(written(19), format!("name   params\nconv1   1,792\n{line}\nsum        10\n"));
        let line = "─".repeat(5);
        assert_eq!(written(5), format!("name   params\nconv1   1,792\n{line}\nsum        10\n"));
    }
}
