//! Text to tokens.

use super::error::Report;
use super::words;
use std::ops::Range;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// Letters, digits, `_` and `.`: a word, a name, a number, a size (`3x5`), a range (`0..3`), sides (`0+1`).
    Atom,
    /// A quoted name, without quotes and escapes.
    Quoted(String),
    /// `-`: between layers, or between a layer and its number.
    Dash,
    /// `,` or `->`.
    Comma,
    Newline,
    Slash,
    Star,
    Question,
    Colon,
    At,
    Pipe,
    /// `[` or `(`.
    Open,
    /// `]` or `)`.
    Close,
}

pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
    /// Whether white space stands before it.
    pub(super) spaced: bool,
}

/// The tokens of `text`; comments and white space are left out, what is not a token is reported.
pub(super) fn lex(text: &str, report: &mut Report<'_>) -> Vec<Token> {
    let hyphenated: Vec<&str> = words::hyphenated().collect();
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    let mut spaced = true;
    let mut stray: Option<Range<usize>> = None;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        at += c.len_utf8();
        let kind = match c {
            '\n' => TokenKind::Newline,
            c if c.is_whitespace() => {
                spaced = true;
                continue;
            }
            '#' => {
                at = text[at..].find('\n').map_or(text.len(), |end| at + end);
                continue;
            }
            '-' if text[at..].starts_with('>') => {
                at += 1;
                TokenKind::Comma
            }
            '-' | '–' | '—' | '−' => TokenKind::Dash,
            ',' | '→' => TokenKind::Comma,
            '/' => TokenKind::Slash,
            '*' | '×' => TokenKind::Star,
            '?' => TokenKind::Question,
            ':' => TokenKind::Colon,
            '@' => TokenKind::At,
            '|' => TokenKind::Pipe,
            '[' | '(' => TokenKind::Open,
            ']' | ')' => TokenKind::Close,
            '"' => {
                let (name, end) = quoted(text, at);
                at = end;
                let Some(name) = name else {
                    report.error(
                        start..at,
                        "a quoted name that does not end well",
                        "close it with \" in the same line; \\\\ and \\\" stand for \\ and \"",
                    );
                    continue;
                };
                TokenKind::Quoted(name)
            }
            c if is_atom(c) => {
                at = atom(text, start, &hyphenated);
                TokenKind::Atom
            }
            _ => {
                match &mut stray {
                    Some(range) if range.end == start => range.end = at,
                    _ => report_stray(text, stray.replace(start..at), report),
                }
                continue;
            }
        };
        tokens.push(Token { kind, span: start..at, spaced });
        spaced = false;
    }
    report_stray(text, stray, report);
    tokens
}

fn report_stray(text: &str, stray: Option<Range<usize>>, report: &mut Report<'_>) {
    if let Some(span) = stray {
        let shown: String =
            text[span.clone()].chars().take(20).map(|c| if c.is_control() { '�' } else { c }).collect();
        report.error(
            span,
            format!("'{shown}' means nothing here"),
            "take it out, or put a name that holds it in \"quotes\"",
        );
    }
}

fn is_atom(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// The end of the atom that begins at `start`.
fn atom(text: &str, start: usize, hyphenated: &[&str]) -> usize {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mut end = start;
    while let Some(c) = text[end..].chars().next() {
        let (before, behind) = (&text[start..end], text[end + c.len_utf8()..].chars().next());
        let exponent = matches!(c, '-' | '+')
            && before.strip_suffix(['e', 'E']).is_some_and(|mantissa| {
                digit(mantissa.chars().next()) && mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            });
        let between_digits = matches!(c, '+' | '×') && digit(before.chars().last());
        if !is_atom(c) && !((exponent || between_digits) && digit(behind)) {
            break;
        }
        end += c.len_utf8();
    }
    let whole = |word: &&str| {
        text.get(start..start + word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
            && word.find('-') == Some(end - start)
            && !text[start + word.len()..].starts_with(|c: char| c.is_alphabetic() || c == '_')
    };
    match hyphenated.iter().find(|word| whole(word)) {
        Some(word) => {
            let size = text[start + word.len()..].find(|c| !is_atom(c));
            size.map_or(text.len(), |size| start + word.len() + size)
        }
        None => end,
    }
}

/// The name whose text begins at `at`, behind the quote, and the end of the token; `None` where it does not end in
/// its line or has an unknown escape.
fn quoted(text: &str, at: usize) -> (Option<String>, usize) {
    let mut name = String::new();
    let mut good = true;
    let mut chars = text[at..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' => return (good.then_some(name), at + offset + 1),
            '\n' => return (None, at + offset),
            '\\' => match chars.clone().next() {
                Some((_, c @ ('"' | '\\'))) => {
                    chars.next();
                    name.push(c);
                }
                Some((_, 'u')) => {
                    let rest = &text[at + offset + 2..];
                    let digits = rest
                        .strip_prefix('{')
                        .and_then(|rest| rest.split_once('}'))
                        .map(|(digits, _)| digits);
                    let code = digits
                        .filter(|digits| digits.len() <= 6)
                        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    match code.and_then(char::from_u32) {
                        Some(c) => {
                            name.push(c);
                            while chars.next().is_some_and(|(_, c)| c != '}') {}
                        }
                        None => good = false,
                    }
                }
                _ => good = false,
            },
            c => name.push(c),
        }
    }
    (None, text.len())
}
