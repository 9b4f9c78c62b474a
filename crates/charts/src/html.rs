//! HTML fragments of the page. All text passes through maud, which escapes it, so nothing in a log
//! can become a tag. Line breaks after block elements keep diffs of a committed page readable.

use maud::{Markup, html};

/// Text with `code` between backticks.
pub fn prose(text: &str) -> Markup {
    html! {
        @for (i, piece) in text.split('`').enumerate() {
            @if i % 2 == 1 {
                code { (piece) }
            } @else {
                (piece)
            }
        }
    }
}

/// A list of sentences, each with [`prose`] markup.
pub fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> Markup {
    html! {
        ul {
            @for item in items {
                li { (prose(item)) }
            }
        }
        "\n"
    }
}

/// A section that is collapsed at first.
pub fn details(summary: &str, content: Markup) -> Markup {
    html! {
        details {
            summary { (summary) }
            "\n"
            (content)
        }
        "\n"
    }
}

/// A table that scrolls horizontally in its own box, so that the page never does. `name` is its
/// label for screen readers.
pub fn table(name: &str, header: &[&str], rows: Markup) -> Markup {
    html! {
        div class="scroll" role="region" aria-label=(name) tabindex="0" {
            table {
                thead {
                    tr {
                        @for cell in header {
                            th scope="col" { (cell) }
                        }
                    }
                }
                "\n"
                tbody { (rows) }
            }
        }
        "\n"
    }
}

/// A number with narrow non-breaking spaces between its thousands.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_in_elements_and_attributes() {
        assert_eq!(
            prose("run `prl <x>` & see").into_string(),
            "run <code>prl &lt;x&gt;</code> &amp; see"
        );
        assert_eq!(list(["<b>"]).into_string(), "<ul><li>&lt;b&gt;</li></ul>\n");
        let inside = details("<i>", html! {}).into_string();
        assert!(inside.contains("&lt;i&gt;"), "{inside}");
        let table = table("\"t", &["<h>"], html! {}).into_string();
        assert!(table.contains("aria-label=\"&quot;t\""), "{table}");
        assert!(
            table.contains("<th scope=\"col\">&lt;h&gt;</th>"),
            "{table}"
        );
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(
            [1, 999, 1000, 1_176_680].map(thousands),
            ["1", "999", "1\u{202f}000", "1\u{202f}176\u{202f}680"]
        );
    }
}
