//! Counts of one Rust file. Closures, call chains and tests are found in its syntax tree,
//! documentation and comments in its lines.

use std::ops::RangeInclusive;

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Token};

use crate::tidy::lexer::{self, CommentKind};

/// Openings of a doc comment that describe by circumlocution.
const ODD_OPENINGS: [&str; 6] = ["What", "Where", "Who", "How", "Those", "The same"];
/// Words that make a person of code.
const PERSONIFYING: [&str; 24] = [
    "know", "knows", "known", "ask", "asks", "asked", "told", "tell", "tells", "say", "says",
    "said", "nobody", "company", "meet", "meets", "met", "look", "looks", "hears", "want", "wants",
    "wanted", "minds",
];
/// Columns that a line should not exceed.
pub const MAX_COLUMNS: usize = 100;
/// Method calls in a row that make a chain.
const CHAIN: usize = 3;

/// Counts over some files.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Doc comments.
    pub docs: usize,
    /// Doc comments with one of [`ODD_OPENINGS`].
    pub odd_docs: usize,
    /// Words of documentation outside code.
    pub doc_words: usize,
    /// Words of [`PERSONIFYING`] among them.
    pub personifying_words: usize,
    /// Closures outside tests.
    pub closures: usize,
    /// Chains of [`CHAIN`] or more method calls outside tests.
    pub chains: usize,
    /// Lines outside tests that are a plain comment.
    pub comment_lines: usize,
    /// Lines of more than [`MAX_COLUMNS`].
    pub long_lines: usize,
    /// Files whose syntax tree could not be read: closures, chains and tests in them are not found.
    pub unparsed_files: usize,
    /// Length of each code line outside tests.
    lengths: Vec<usize>,
}

/// A counted place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path of the file.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Description of the counted thing.
    pub what: String,
}

impl Counts {
    /// Adds the counts over other files.
    pub fn add(&mut self, other: &Self) {
        self.docs += other.docs;
        self.odd_docs += other.odd_docs;
        self.doc_words += other.doc_words;
        self.personifying_words += other.personifying_words;
        self.closures += other.closures;
        self.chains += other.chains;
        self.comment_lines += other.comment_lines;
        self.long_lines += other.long_lines;
        self.unparsed_files += other.unparsed_files;
        self.lengths.extend(&other.lengths);
    }

    /// Code lines outside tests.
    pub fn code_lines(&self) -> usize {
        self.lengths.len()
    }

    /// Percentile of the code lines' lengths; 0 without any.
    pub fn line_length(&self, percentile: usize) -> usize {
        let mut sorted = self.lengths.clone();
        sorted.sort_unstable();
        let at = sorted.len() * percentile / 100;
        sorted.get(at).copied().unwrap_or(0)
    }
}

/// Adds the counts of a file; returns the counted places.
pub fn add_file(counts: &mut Counts, path: &str, text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut find = |line: usize, what: String| {
        let path = path.to_owned();
        places.push(Place { path, line, what });
    };
    let syntax = Syntax::read(text);
    counts.unparsed_files += usize::from(syntax.is_none());
    let syntax = syntax.unwrap_or_default();
    let is_test_file = is_test_path(path);
    if !is_test_file {
        counts.closures += syntax.closures.len();
        counts.chains += syntax.chains.len();
        for &line in &syntax.closures {
            find(line, "closure".into());
        }
        for &line in &syntax.chains {
            find(line, format!("{CHAIN} or more chained calls"));
        }
    }
    let mut doc = DocState::default();
    for (i, (line, raw)) in lexer::lines(text).iter().zip(text.lines()).enumerate() {
        let number = i + 1;
        let length = raw.chars().count();
        if length > MAX_COLUMNS {
            counts.long_lines += 1;
            find(number, format!("{length} columns"));
        }
        let text = match &line.comment {
            Some((CommentKind::Doc, text)) => text,
            _ => {
                doc = DocState::default();
                if !is_test_file && !syntax.is_test(number) {
                    if line.has_code {
                        counts.lengths.push(length);
                    } else if line.comment.is_some() {
                        counts.comment_lines += 1;
                    }
                }
                continue;
            }
        };
        let text = text.trim();
        if !doc.is_open && !text.is_empty() {
            doc.is_open = true;
            counts.docs += 1;
            if has_odd_opening(text) {
                counts.odd_docs += 1;
                find(number, format!("odd opening: {text}"));
            }
        }
        if text.starts_with("```") {
            doc.is_fenced = !doc.is_fenced;
        } else if !doc.is_fenced {
            let (words, personifying) = doc_words(text);
            counts.doc_words += words;
            counts.personifying_words += personifying.len();
            for word in personifying {
                find(number, format!("personifying \"{word}\": {text}"));
            }
        }
    }
    places
}

/// Position in the doc comment of the lines before.
#[derive(Default)]
struct DocState {
    /// Whether its first text was read.
    is_open: bool,
    /// Whether a code block is open.
    is_fenced: bool,
}

fn has_odd_opening(text: &str) -> bool {
    ODD_OPENINGS.iter().any(|opening| {
        text.strip_prefix(opening)
            .is_some_and(|rest| !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric()))
    })
}

/// The number of words outside backticks, and the personifying ones.
fn doc_words(text: &str) -> (usize, Vec<String>) {
    let mut count = 0;
    let mut personifying = Vec::new();
    for prose in text.split('`').step_by(2) {
        for word in prose.split(|c: char| c != '\'' && !c.is_alphabetic()) {
            if !word.contains(char::is_alphabetic) {
                continue;
            }
            count += 1;
            let lower = word.to_lowercase();
            if PERSONIFYING.contains(&lower.as_str()) {
                personifying.push(word.to_owned());
            }
        }
    }
    (count, personifying)
}

/// Whether all of a file is tests or benches.
fn is_test_path(path: &str) -> bool {
    let mut folders = path.split('/');
    let file = folders.next_back().unwrap_or_default();
    file == "tests.rs" || folders.any(|folder| folder == "tests" || folder == "benches")
}

/// Lines of interest of a file's syntax tree.
#[derive(Default)]
struct Syntax {
    closures: Vec<usize>,
    chains: Vec<usize>,
    tests: Vec<RangeInclusive<usize>>,
}

impl Syntax {
    /// Reads a file; `None` if it cannot be parsed.
    fn read(text: &str) -> Option<Self> {
        let file = syn::parse_file(text).ok()?;
        let mut syntax = Self::default();
        syntax.visit_file(&file);
        Some(syntax)
    }

    fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|lines| lines.contains(&line))
    }
}

impl<'ast> Visit<'ast> for Syntax {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_test_attribute) {
            let span = item.span();
            self.tests.push(span.start().line..=span.end().line);
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.closures.push(closure.span().start().line);
        visit::visit_expr_closure(self, closure);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let mut calls = 1;
        let mut receiver = &*call.receiver;
        self.visit_arguments(call);
        loop {
            receiver = match receiver {
                Expr::MethodCall(inner) => {
                    calls += 1;
                    self.visit_arguments(inner);
                    &inner.receiver
                }
                Expr::Try(inner) => &inner.expr,
                Expr::Await(inner) => &inner.base,
                Expr::Field(inner) => &inner.base,
                _ => break,
            };
        }
        self.visit_expr(receiver);
        if calls >= CHAIN {
            self.chains.push(call.method.span().start().line);
        }
    }

    /// Arguments of a macro that are expressions, as those of `format!` and `vec!`.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
        for argument in call.parse_body_with(parser).iter().flatten() {
            // The parsed arguments do not outlive this call, so another visitor reads them.
            let mut inner = Self::default();
            inner.visit_expr(argument);
            self.closures.append(&mut inner.closures);
            self.chains.append(&mut inner.chains);
        }
    }
}

impl Syntax {
    fn visit_arguments<'ast>(&mut self, call: &'ast syn::ExprMethodCall)
    where
        Self: Visit<'ast>,
    {
        for argument in &call.args {
            self.visit_expr(argument);
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(syn::ItemConst { attrs, .. })
        | Item::Enum(syn::ItemEnum { attrs, .. })
        | Item::Fn(syn::ItemFn { attrs, .. })
        | Item::Impl(syn::ItemImpl { attrs, .. })
        | Item::Macro(syn::ItemMacro { attrs, .. })
        | Item::Mod(syn::ItemMod { attrs, .. })
        | Item::Static(syn::ItemStatic { attrs, .. })
        | Item::Struct(syn::ItemStruct { attrs, .. })
        | Item::Trait(syn::ItemTrait { attrs, .. })
        | Item::Type(syn::ItemType { attrs, .. })
        | Item::Use(syn::ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}

/// Whether an attribute is `#[test]` or a `#[cfg(..)]` that names `test` and negates nothing.
fn is_test_attribute(attribute: &Attribute) -> bool {
    if attribute.path().is_ident("test") {
        return true;
    }
    let Ok(list) = attribute.meta.require_list() else {
        return false;
    };
    let condition = list.tokens.to_string();
    let mut words = condition.split(|c: char| c != '_' && !c.is_alphanumeric());
    list.path.is_ident("cfg") && words.clone().any(|w| w == "test") && !words.any(|w| w == "not")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Counts {
        let mut counts = Counts::default();
        add_file(&mut counts, "src/lib.rs", text);
        assert_eq!(counts.unparsed_files, 0, "{text}");
        counts
    }

    fn closures(body: &str) -> usize {
        counts(&format!("fn f() {{\n{body}\n}}\n")).closures
    }

    #[test]
    fn closures_over_several_lines_and_in_macros_count() {
        let multi_line =
            "let x = xs\n    .iter()\n    .map(\n        |x| x + 1,\n    )\n    .sum();";
        assert_eq!(closures(multi_line), 1);
        assert_eq!(
            closures("let f = move || 1;\nlet g = |&(a, _), b: u8| -> u8 { a | b };"),
            2
        );
        assert_eq!(
            closures("println!(\"{}\", xs.map(|x| x));\nassert!(xs.any(|x| x > 1));"),
            2
        );
        assert_eq!(closures("async { g(|x| h(|y| x + y)).await };"), 2);
    }

    #[test]
    fn bars_that_are_no_closures_do_not_count() {
        assert_eq!(closures("let x = a || b | c;"), 0);
        assert_eq!(
            closures("match x {\n    | A | B => 1,\n    C(D | E) if p || q => 2,\n}"),
            0
        );
        assert_eq!(
            closures("let s = r#\"xs.map(|x| x)\"#;\nlet t = \"|x| x\"; // |x| x"),
            0
        );
        assert_eq!(
            closures("if let A | B = x { matches!(y, C | D) } else { false }"),
            0
        );
    }

    #[test]
    fn tests_count_for_documentation_alone() {
        let text = "//! Noun.\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    /// What it is.\n    \
                    // plain\n    fn g() { h(|x| x) }\n}\n#[cfg(all(test, unix))]\nfn k() {}\n";
        let counts = counts(text);
        assert_eq!(
            (counts.code_lines(), counts.closures, counts.comment_lines),
            (1, 0, 0)
        );
        assert_eq!((counts.docs, counts.odd_docs), (2, 1));
        let mut of_file = Counts::default();
        add_file(
            &mut of_file,
            "crates/a/tests/it/main.rs",
            "//! Doc.\nfn f() { g(|x| x) }\n",
        );
        assert_eq!(
            (of_file.code_lines(), of_file.closures, of_file.docs),
            (0, 0, 1)
        );
    }

    #[test]
    fn negated_conditions_are_no_tests() {
        assert_eq!(counts("#[cfg(not(test))]\nfn f() {}\n").code_lines(), 2);
        assert_eq!(
            counts("#[cfg(feature = \"latest\")]\nfn f() {}\n").code_lines(),
            2
        );
    }

    #[test]
    fn odd_openings_are_whole_words_of_the_first_line() {
        let text = "/// What it is.\n/// Where it is.\nfn f() {}\n/// However.\nfn g() {}\n\
                    /// \n/// The same as `f`.\nfn h() {}\n";
        let counts = counts(text);
        assert_eq!((counts.docs, counts.odd_docs), (3, 2));
    }

    #[test]
    fn personifying_words_in_code_do_not_count() {
        let text = "/// It knows `what it asked`, nobody's company.\n/// ```\n/// // nobody\n/// ```\n\
                    /// Told.\nfn f() {}\n";
        let counts = counts(text);
        assert_eq!((counts.doc_words, counts.personifying_words), (5, 3));
    }

    #[test]
    fn a_chain_counts_once_however_long() {
        let chains = |body: &str| counts(&format!("fn f() {{\n{body};\n}}\n")).chains;
        assert_eq!(chains("a.b().c()"), 0);
        assert_eq!(chains("a.b().c()?.d()"), 1);
        assert_eq!(chains("a\n    .b()\n    .c.d()\n    .e()\n    .f().g()"), 1);
        assert_eq!(chains("a.b(x.y().z().w()).c().d()"), 2);
        assert_eq!(chains("a(b.c()).d().e()"), 0);
    }

    #[test]
    fn line_lengths_are_of_code_and_long_lines_of_all() {
        let long = "x".repeat(101);
        let text = format!("//! Doc.\n// {long}\nfn f() {{}}\nfn gg() {{}}\n");
        let counts = counts(&text);
        assert_eq!(
            (
                counts.long_lines,
                counts.comment_lines,
                counts.line_length(90)
            ),
            (1, 1, 10)
        );
        assert_eq!(Counts::default().line_length(90), 0);
    }

    #[test]
    fn a_file_that_does_not_parse_is_counted_by_its_lines() {
        let mut counts = Counts::default();
        add_file(&mut counts, "src/a.rs", "//! Doc.\nfn (\n");
        assert_eq!(
            (counts.unparsed_files, counts.docs, counts.code_lines()),
            (1, 1, 1)
        );
    }
}
