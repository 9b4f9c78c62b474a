//! Lines of a Rust file, each split into code and comment.
//!
//! Strings, raw strings, character literals and nested block comments are recognised, so that a
//! `//` in a string is no comment and a word in a string is no code.

/// Kind of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommentKind {
    /// `//` or `/* */`.
    Plain,
    /// `///`, `//!`, `/** */` or `/*! */`.
    Doc,
}

/// One line of a Rust file.
#[derive(Debug, Default)]
pub struct Line {
    /// Code without comments and without the contents of strings.
    pub code: String,
    /// Whether anything but a comment is on the line, the contents of a string included.
    pub has_code: bool,
    /// Kind and text (without its marker) of the comment on the line.
    pub comment: Option<(CommentKind, String)>,
}

#[derive(Clone, Copy)]
enum State {
    Code,
    Text,
    RawText { hashes: usize },
    LineComment(CommentKind),
    BlockComment { kind: CommentKind, depth: usize },
}

/// Splits a Rust file into its lines.
pub fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Line::default();
    let mut state = State::Code;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '\n' {
            lines.push(std::mem::take(&mut line));
            rest = &rest[1..];
            match state {
                State::LineComment(_) => state = State::Code,
                State::BlockComment { kind, .. } => line.comment = Some((kind, String::new())),
                _ => {}
            }
            continue;
        }
        let length;
        (state, length) = match state {
            State::Code => code_token(rest, &mut line),
            State::Text => text_token(rest, &mut line),
            State::RawText { hashes } => raw_text_token(rest, hashes, &mut line),
            State::LineComment(_) => {
                push_comment(&mut line, c);
                (state, c.len_utf8())
            }
            State::BlockComment { kind, depth } => comment_token(rest, kind, depth, &mut line),
        };
        rest = &rest[length..];
    }
    if !text.is_empty() && !text.ends_with('\n') {
        lines.push(line);
    }
    lines
}

/// Reads one token of code; returns the state behind it and its length in bytes.
fn code_token(rest: &str, line: &mut Line) -> (State, usize) {
    if let Some(state) = comment_start(rest) {
        let (State::LineComment(kind) | State::BlockComment { kind, .. }) = state else {
            return (state, 2);
        };
        line.comment = Some((kind, String::new()));
        return (state, if kind == CommentKind::Doc { 3 } else { 2 });
    }
    let c = rest.chars().next().unwrap_or_default();
    line.has_code |= !c.is_whitespace();
    if let Some(hashes) = raw_text_start(rest, &line.code) {
        line.code.push('"');
        let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
        return (State::RawText { hashes }, prefix + hashes + 1);
    }
    if c == '\'' {
        let length = char_literal_length(rest);
        line.code.push_str(if length > 1 { "' '" } else { "'" });
        return (State::Code, length);
    }
    line.code.push(c);
    let state = if c == '"' { State::Text } else { State::Code };
    (state, c.len_utf8())
}

fn comment_start(rest: &str) -> Option<State> {
    let is_doc = |outer: &str, inner: &str, no_doc: [&str; 2]| {
        let is_outer = rest.starts_with(outer) && !no_doc.iter().any(|no| rest.starts_with(no));
        if is_outer || rest.starts_with(inner) {
            CommentKind::Doc
        } else {
            CommentKind::Plain
        }
    };
    if rest.starts_with("//") {
        Some(State::LineComment(is_doc("///", "//!", ["////", "////"])))
    } else if rest.starts_with("/*") {
        let kind = is_doc("/**", "/*!", ["/***", "/**/"]);
        Some(State::BlockComment { kind, depth: 1 })
    } else {
        None
    }
}

/// The number of hashes if a raw string starts here, behind the code of the line so far.
fn raw_text_start(rest: &str, before: &str) -> Option<usize> {
    let is_in_word = before.ends_with(|c: char| c == '_' || c.is_alphanumeric());
    let prefix = ["r", "br", "cr"].iter().find(|&&p| {
        rest.strip_prefix(p)
            .is_some_and(|behind| behind.starts_with(['"', '#']))
    });
    let behind = rest.strip_prefix(*prefix?)?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    (!is_in_word && behind[hashes..].starts_with('"')).then_some(hashes)
}

/// Length in bytes of the character literal that starts here; 1 for the quote of a lifetime.
fn char_literal_length(rest: &str) -> usize {
    let inner = &rest[1..];
    let Some(first) = inner.chars().next() else {
        return 1;
    };
    if first == '\\' {
        // Behind the escaped character, which may be a quote itself.
        let escaped = inner[1..].chars().next().map_or(0, char::len_utf8);
        let end = inner[1 + escaped..].find('\'');
        return end.map_or(1, |at| 1 + 1 + escaped + at + 1);
    }
    let behind = 1 + first.len_utf8();
    if rest[behind..].starts_with('\'') {
        behind + 1
    } else {
        1
    }
}

fn text_token(rest: &str, line: &mut Line) -> (State, usize) {
    line.has_code = true;
    let mut chars = rest.chars();
    match chars.next() {
        Some('"') => {
            line.code.push('"');
            (State::Code, 1)
        }
        // An escaped line break stays: the caller ends the line there.
        Some('\\') => match chars.next() {
            Some('\n') | None => (State::Text, 1),
            Some(escaped) => (State::Text, 1 + escaped.len_utf8()),
        },
        c => (State::Text, c.map_or(1, char::len_utf8)),
    }
}

fn raw_text_token(rest: &str, hashes: usize, line: &mut Line) -> (State, usize) {
    line.has_code = true;
    let is_end = rest
        .strip_prefix('"')
        .is_some_and(|behind| behind.len() - behind.trim_start_matches('#').len() >= hashes);
    if is_end {
        line.code.push('"');
        return (State::Code, 1 + hashes);
    }
    let length = rest.chars().next().map_or(1, char::len_utf8);
    (State::RawText { hashes }, length)
}

fn comment_token(rest: &str, kind: CommentKind, depth: usize, line: &mut Line) -> (State, usize) {
    if rest.starts_with("*/") {
        let depth = depth - 1;
        let state = if depth == 0 {
            State::Code
        } else {
            State::BlockComment { kind, depth }
        };
        return (state, 2);
    }
    if rest.starts_with("/*") {
        let depth = depth + 1;
        return (State::BlockComment { kind, depth }, 2);
    }
    let c = rest.chars().next().unwrap_or_default();
    push_comment(line, c);
    (State::BlockComment { kind, depth }, c.len_utf8())
}

fn push_comment(line: &mut Line, c: char) {
    if let Some((_, text)) = &mut line.comment {
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        let mut code = Vec::new();
        for line in lines(text) {
            code.push(line.code.trim().to_owned());
        }
        code
    }

    #[test]
    fn string_contents_are_no_code() {
        assert_eq!(
            code(r#"let s = "a // \" b"; f(); // c"#),
            [r#"let s = ""; f();"#]
        );
        assert_eq!(code("f(\"one\n  // two\");"), ["f(\"", "\");"]);
        let raw = "let s = r#\"a \" // b\"#; g();\nlet r#type = br\"\\\"; h();";
        assert_eq!(code(raw), ["let s = \"\"; g();", "let r#type = \"\"; h();"]);
    }

    #[test]
    fn character_literals_and_lifetimes_differ() {
        assert_eq!(code("f('\"', '\\'', '/'); // x"), ["f(' ', ' ', ' ');"]);
        assert_eq!(
            code("fn f<'a>(x: &'a str) {} // '"),
            ["fn f<'a>(x: &'a str) {}"]
        );
    }

    #[test]
    fn comments_have_kind_and_text() {
        let text = "//! a\n/// b\n//// c\nf(); // d\n/* e\n /* f */ g */ h();\n/*!\ni\n*/\n";
        let lines = lines(text);
        let mut found = Vec::new();
        for line in &lines {
            let (kind, text) = line.comment.clone().unwrap();
            found.push((
                kind == CommentKind::Doc,
                text.trim().to_owned(),
                line.has_code,
            ));
        }
        let wanted = [
            (true, "a", false),
            (true, "b", false),
            (false, "// c", false),
            (false, "d", true),
            (false, "e", false),
            (false, "f  g", true),
            (true, "", false),
            (true, "i", false),
            (true, "", false),
        ];
        assert_eq!(
            found,
            wanted.map(|(doc, text, code)| (doc, text.to_owned(), code))
        );
    }

    #[test]
    fn every_line_is_returned_once() {
        let text = "a\n\n\"b\\\nc\"\nd";
        assert_eq!(lines(text).len(), 5);
        assert!(lines("").is_empty());
    }
}
